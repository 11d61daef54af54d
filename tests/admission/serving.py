"""A real webhook process on the loopback interface, with a certificate authority made for the test."""

from __future__ import annotations

import http.client
import os
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import trustme

HOST = "127.0.0.1"
JSON = {"Content-Type": "application/json"}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


def write_certificate(authority: trustme.CA, folder: Path) -> str:
    """Write a new certificate and key, each in one step; return its serial number as TLS tells it."""
    issued = authority.issue_cert(HOST, "localhost")
    for name, blob in (("key.pem", issued.private_key_pem), ("cert.pem", issued.cert_chain_pems[0])):
        blob.write_to_path(str(folder / f"new-{name}"))
        os.replace(folder / f"new-{name}", folder / name)
    return issued.cert_chain_pems[0].bytes().decode()


@dataclass
class Server:
    """A running webhook."""

    port: int
    folder: Path
    authority: trustme.CA
    process: subprocess.Popen[bytes]

    @property
    def context(self) -> ssl.SSLContext:
        context = ssl.create_default_context()
        self.authority.configure_trust(context)
        return context

    def request(
        self, method: str, path: str, body: bytes | None = None, headers: dict[str, str] | None = None
    ) -> tuple[int, str]:
        connection = http.client.HTTPSConnection(HOST, self.port, timeout=120, context=self.context)
        try:
            connection.request(method, path, body, headers or {})
            response = connection.getresponse()
            return response.status, response.read().decode()
        finally:
            connection.close()

    def review(self, body: bytes, path: str = "/validate") -> tuple[int, str]:
        return self.request("POST", path, body, JSON)

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout=120)


@contextmanager
def serving(folder: Path, *options: str) -> Iterator[Server]:
    """Start a webhook and wait until it is ready; stop it afterwards."""
    authority = trustme.CA()
    write_certificate(authority, folder)
    port = free_port()
    command = [sys.executable, "-m", "kaitoc.compiler", "webhook", "--isolated", "--host", HOST, "--port", str(port),
               "--cert", str(folder / "cert.pem"), "--key", str(folder / "key.pem"), *options]  # fmt: skip
    with open(folder / "log.txt", "w") as log:
        process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
    server = Server(port, folder, authority, process)
    try:
        _wait_until_ready(server)
        yield server
    finally:
        if process.poll() is None:
            server.stop()


def _wait_until_ready(server: Server) -> None:
    for _ in range(600):
        if server.process.poll() is not None:
            raise RuntimeError(f"the webhook ended: {(server.folder / 'log.txt').read_text()}")
        try:
            if server.request("GET", "/readyz")[0] == 200:
                return
        except OSError:
            pass
        time.sleep(0.1)
    raise RuntimeError("the webhook did not become ready")
