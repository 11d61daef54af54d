"""Judges reviews in processes of their own, so that the server stays responsive and all cores work."""

from __future__ import annotations

import asyncio
import json
import os
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool

from kaitoc.admitting import judge_among
from kaitoc.compiler.admission.partners import RelatedObjects
from kaitoc.compiler.admission.policy import Policy, PolicyOptions, policy_of
from kaitoc.compiler.admission.review import Answer
from kaitoc.compiler.core.memo import SizedCache
from kaitoc.compiler.core.records import dataclass
from kaitoc.compiler.core.source import Source
from kaitoc.compiler.manifest.objects import ManifestFile
from kaitoc.compiler.manifest.reading import read_manifests

_SAMPLE = {
    "apiVersion": "admission.k8s.io/v1",
    "kind": "AdmissionReview",
    "request": {
        "uid": "warm-up",
        "kind": {"group": "kaito.sh", "version": "v1beta1", "kind": "Workspace"},
        "operation": "CREATE",
        "object": {
            "apiVersion": "kaito.sh/v1beta1",
            "kind": "Workspace",
            "metadata": {"name": "warm-up"},
            "resource": {"instanceType": "Standard_NC24ads_A100_v4", "labelSelector": {}},
            "tuning": {"preset": {"name": "phi-3-mini-128k-instruct"}, "method": "qlora", "input": {}, "output": {}},
        },
    },
}
"""A review that loads what judging needs: rules, catalogs, a first memory derivation."""


_REMEMBERED_CHARACTERS = 300_000
"""How much text of partners is kept read; a tuning's ConfigMap has about 2,500 characters."""


class JudgingError(Exception):
    """A review that could not be judged: it took too long, or the process that judged it failed."""


@dataclass(frozen=True, slots=True)
class Partner:
    """The text of an object that belongs to the one under review."""

    path: str
    text: str


class Judges:
    """A pool of processes that judge reviews by one policy."""

    def __init__(self, options: PolicyOptions, num_processes: int) -> None:
        self._options = options
        self._num_processes = num_processes
        self._pool = self._new_pool()

    async def warm_up(self) -> None:
        """Let every process judge once; raises `JudgingError`."""
        sample = json.dumps(_SAMPLE).encode()
        await asyncio.gather(
            *(self.judge(sample, RelatedObjects(), mutates=False, timeout_seconds=120.0)
              for _ in range(self._num_processes))
        )  # fmt: skip

    async def judge(
        self, data: bytes, surroundings: RelatedObjects, *, mutates: bool, timeout_seconds: float
    ) -> Answer:
        """Return the answer to a review; raises `JudgingError`."""
        loop, pool = asyncio.get_running_loop(), self._pool
        try:
            partners = tuple(Partner(file.source.path, file.source.text) for file in surroundings.files)
            task = loop.run_in_executor(pool, _judge, data, partners, surroundings.is_complete, mutates)
            return await asyncio.wait_for(task, timeout_seconds)
        except asyncio.TimeoutError as error:
            raise JudgingError(f"the check took longer than {timeout_seconds:g} seconds") from error
        except BrokenProcessPool as error:
            if self._pool is pool:
                self._pool = self._new_pool()
            raise JudgingError("the checking process ended") from error
        except Exception as error:
            raise JudgingError(f"{type(error).__name__}: {error}") from error

    def close(self) -> None:
        """Shut the worker processes down without waiting; queued reviews are cancelled."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _new_pool(self) -> ProcessPoolExecutor:
        from multiprocessing import get_context

        return ProcessPoolExecutor(
            self._num_processes, get_context("spawn"), initializer=_start, initargs=(self._options,)
        )


_policies: dict[bool, Policy] = {}


def _start(options: PolicyOptions) -> None:
    """Prepare a process: one policy that mutates and one that does not."""
    import signal
    import threading

    # A signal to the whole group, such as Ctrl-C, is the server's to act on: it lets accepted reviews end.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_the_server, daemon=True).start()
    for mutates in (False, True):
        _policies[mutates] = policy_of(options, mutates=mutates)


def _end_with_the_server() -> None:
    """End this process when the server is gone, which cannot tell its pool so when it is killed."""
    from multiprocessing import parent_process

    server = parent_process()
    if server is not None:
        server.join()
        os._exit(1)


def _judge(data: bytes, partners: tuple[Partner, ...], is_complete: bool, mutates: bool) -> Answer:
    surroundings = RelatedObjects(tuple(_read(partner) for partner in partners), is_complete)
    return judge_among(data, _policies[mutates], surroundings)


_partners: SizedCache[Partner, ManifestFile] = SizedCache(_REMEMBERED_CHARACTERS)


def _read(partner: Partner) -> ManifestFile:
    """Return a partner's objects; the same ConfigMap is asked for again and again."""
    manifests = _partners.get(partner)
    if manifests is None:
        manifests = read_manifests(Source(partner.path, partner.text))
        _partners.put(partner, manifests, len(partner.text))
    return manifests
