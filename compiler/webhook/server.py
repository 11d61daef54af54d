"""Serves the webhook over TLS: certificates that may be renewed, slow clients, a shutdown that loses nothing."""

from __future__ import annotations

import asyncio
import gc
import os
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from types import FrameType
from typing import Any

import uvicorn
from starlette.applications import Starlette
from uvicorn.protocols.http.h11_impl import H11Protocol

from kaitoc.compiler.admission.partners import Partners
from kaitoc.compiler.core.errors import KaitocError
from kaitoc.compiler.core.records import dataclass
from kaitoc.compiler.webhook.app import Webhook
from kaitoc.compiler.webhook.judging import JudgingError
from kaitoc.compiler.webhook.log import LOGGER, log_start, log_stop

_POLL_SECONDS = 2.0
_KEEP_ALIVE_SECONDS = 75
_MAX_HEADER_BYTES = 16 << 10
_SHUTDOWN_SECONDS = 30


class CertificateError(KaitocError):
    """A certificate or key that cannot be loaded."""


class AddressError(KaitocError):
    """A host and port that cannot be listened on."""


@dataclass(frozen=True, slots=True)
class Address:
    """Where to listen, and with which certificate; without one plain HTTP is spoken, for a proxy that ends TLS."""

    host: str
    port: int
    certificate: str
    key: str
    head_seconds: float = 10.0


def _collect_often() -> None:
    """Collect cycles as often as Python does by default; the command line does so seldom, which suits short runs."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(700, 10, 10)


def serve(webhook: Webhook, partners: Partners, address: Address, drain_seconds: float) -> None:
    """Serve until SIGTERM or SIGINT; raises `CertificateError` and `AddressError`.

    After the signal `/readyz` fails and answers close their connections, and reviews are still answered for
    `drain_seconds`, until the cluster has noticed; then open requests are finished.
    """
    certificate = Certificate(address, webhook.metrics.certificate_loads.inc) if address.certificate else None
    config = uvicorn.Config(
        webhook.app(_lifespan(webhook, partners, certificate, address)),
        host=address.host,
        port=address.port,
        http=_protocol(address.head_seconds),
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_keep_alive=_KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=_SHUTDOWN_SECONDS,
        h11_max_incomplete_event_size=_MAX_HEADER_BYTES,
        backlog=2048,
    )
    config.load()
    if certificate is not None:
        config.ssl = certificate.context
    _collect_often()
    try:
        _Server(config, webhook, drain_seconds).run()
    except SystemExit as error:  # uvicorn's end where it cannot listen, once it has said why
        raise AddressError(f"cannot listen on {address.host}:{address.port}") from error


class Certificate:
    """A certificate in files, loaded again when they change; connections that are open keep the old one."""

    def __init__(self, address: Address, on_load: Callable[[], Any]) -> None:
        self._files = (address.certificate, address.key)
        self._on_load = on_load
        self.context = _context(*self._files)
        self._stamp = self._stamps()
        on_load()

    def refresh(self) -> None:
        """Load the files if they changed and belong together; half-written ones are looked at again later."""
        stamp = self._stamps()
        if stamp == self._stamp:
            return
        try:
            _context(*self._files)
            _load(self.context, *self._files)
        except (CertificateError, OSError) as error:
            LOGGER.warning("cannot load the new certificate, keeping the old one: %s", error)
            return
        self._stamp = stamp
        self._on_load()
        LOGGER.warning("the certificate was reloaded")

    def _stamps(self) -> tuple[tuple[int, int, int], ...]:
        with suppress(OSError):
            stats = [os.stat(file) for file in self._files]
            return tuple((status.st_mtime_ns, status.st_ino, status.st_size) for status in stats)
        return ()


def _context(certificate: str, key: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        _load(context, certificate, key)
    except (OSError, ssl.SSLError) as error:
        raise CertificateError(f"{certificate}, {key}: cannot be loaded as certificate and key: {error}") from error
    return context


def _load(context: ssl.SSLContext, certificate: str, key: str) -> None:
    """Load a certificate and a key; one that is encrypted is an error, since nobody is there to type a passphrase."""
    context.load_cert_chain(certificate, key, password="")


def _lifespan(
    webhook: Webhook, partners: Partners, certificate: Certificate | None, address: Address
) -> Callable[[Starlette], Any]:
    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        tasks = [asyncio.create_task(_start(webhook, address)), asyncio.create_task(_poll(partners, certificate))]
        yield
        for task in tasks:
            task.cancel()
        webhook.close()
        log_stop()

    return lifespan


async def _start(webhook: Webhook, address: Address) -> None:
    try:
        await webhook.start()
        log_start(address.host, address.port)
    except JudgingError as error:
        LOGGER.error("kaitoc cannot check reviews and will not be ready: %s", error)


async def _poll(partners: Partners, certificate: Certificate | None) -> None:
    while True:
        await asyncio.sleep(_POLL_SECONDS)
        if certificate is not None:
            certificate.refresh()
        await asyncio.get_running_loop().run_in_executor(None, partners.refresh)


class _Server(uvicorn.Server):
    """Begins its shutdown by failing `/readyz`, and ends `drain_seconds` later."""

    def __init__(self, config: uvicorn.Config, webhook: Webhook, drain_seconds: float) -> None:
        super().__init__(config)
        self._webhook = webhook
        self._drain_seconds = drain_seconds

    def handle_exit(self, _sig: int, _frame: FrameType | None) -> None:
        """Drain at the first signal, stop at the second."""
        if self._webhook.is_draining:
            self.should_exit = self.force_exit = True
            return
        self._webhook.is_draining = True
        asyncio.get_running_loop().call_later(self._drain_seconds, self._end)

    def _end(self) -> None:
        self.should_exit = True


def _protocol(head_seconds: float) -> type[H11Protocol]:
    return type("TimedProtocol", (_TimedProtocol,), {"head_seconds": head_seconds})


class _TimedProtocol(H11Protocol):
    """Closes connections whose request's head does not come in time (slow loris)."""

    head_seconds: float
    _deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        """Wait for the first request."""
        super().connection_made(transport)
        self._deadline = self.loop.call_later(self.head_seconds, self._give_up)

    def data_received(self, data: bytes) -> None:
        """Read on; between requests the server's keep-alive time holds, within a head ours."""
        super().data_received(data)
        is_answering = self.cycle is not None and not self.cycle.response_complete
        if is_answering and self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
        elif not is_answering and self._deadline is None:
            self._deadline = self.loop.call_later(self.head_seconds, self._give_up)

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the deadline."""
        if self._deadline is not None:
            self._deadline.cancel()
        super().connection_lost(exc)

    def _give_up(self) -> None:
        self._deadline = None
        if self.transport is not None and not self.transport.is_closing():
            self.transport.close()
