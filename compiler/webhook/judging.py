"""Judges reviews in processes of their own, so that the server stays responsive and all cores work."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from functools import lru_cache
from typing import Any

from kaitoc.compiler.admission import Policy, answer
from kaitoc.compiler.admission_review import Answer, Request, read_review
from kaitoc.compiler.manifests import ManifestFile, read_manifests
from kaitoc.compiler.partners import Partners
from kaitoc.compiler.records import dataclass
from kaitoc.compiler.source import Source

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


class JudgingError(Exception):
    """A review that could not be judged: it took too long, or the process that judged it failed."""


@dataclass(frozen=True, slots=True)
class Partner:
    """The text of an object that belongs to the one under review."""

    path: str
    text: str


class Judges:
    """A pool of processes that judge reviews; `options` are those of `policy_of`."""

    def __init__(self, options: Mapping[str, Any], num_processes: int) -> None:
        self._options = dict(options)
        self._num_processes = num_processes
        self._pool = self._new_pool()

    async def warm_up(self) -> None:
        """Let every process judge once; raises `JudgingError`."""
        sample = json.dumps(_SAMPLE).encode()
        await asyncio.gather(
            *(self.judge(sample, (), is_complete=False, mutates=False, timeout_seconds=120.0)
              for _ in range(self._num_processes))
        )  # fmt: skip

    async def judge(
        self, data: bytes, partners: Sequence[Partner], *, is_complete: bool, mutates: bool, timeout_seconds: float
    ) -> Answer:
        """Return the answer to a review; raises `JudgingError`."""
        loop, pool = asyncio.get_running_loop(), self._pool
        try:
            task = loop.run_in_executor(pool, _judge, data, tuple(partners), is_complete, mutates)
            return await asyncio.wait_for(task, timeout_seconds)
        except asyncio.TimeoutError as error:
            raise JudgingError(f"judging took longer than {timeout_seconds:g} seconds") from error
        except BrokenProcessPool as error:
            if self._pool is pool:
                self._pool = self._new_pool()
            raise JudgingError("the judging process ended") from error
        except Exception as error:
            raise JudgingError(f"{type(error).__name__}: {error}") from error

    def close(self) -> None:
        """End the processes."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _new_pool(self) -> ProcessPoolExecutor:
        from multiprocessing import get_context

        return ProcessPoolExecutor(
            self._num_processes, get_context("spawn"), initializer=_start, initargs=(self._options,)
        )


class _Handed:
    """The partners that came with a review."""

    def __init__(self, files: Sequence[ManifestFile], is_complete: bool) -> None:
        self._files = files
        self.is_complete = is_complete

    def config_map(self, namespace: str, name: str) -> ManifestFile | None:
        return self._files[0] if self._files else None

    def workspaces_using(self, namespace: str, name: str) -> Sequence[ManifestFile]:
        return self._files


_policies: dict[bool, Policy] = {}


def _start(options: dict[str, Any]) -> None:
    """Prepare a process: one policy that mutates and one that does not."""
    import signal

    from kaitoc.compiler.cli.admission_options import policy_of

    # A signal to the whole group, such as Ctrl-C, is the server's to act on: it lets accepted reviews end.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    for mutates in (False, True):
        _policies[mutates] = policy_of(options, mutates=mutates)


def _judge(data: bytes, partners: tuple[Partner, ...], is_complete: bool, mutates: bool) -> Answer:
    given = _Handed([_read(partner) for partner in partners], is_complete)
    return answer(read_review(data), _policies[mutates], given)


@lru_cache(maxsize=128)
def _read(partner: Partner) -> ManifestFile:
    """Return a partner's objects; the same ConfigMap is asked for again and again."""
    return read_manifests(Source(partner.path, partner.text))


def partners_of(request: Request, partners: Partners) -> list[Partner]:
    """Return the texts of the objects that belong to the one under review."""
    content = request.object or {}
    metadata, tuning = content.get("metadata"), content.get("tuning")
    stated = metadata.get("namespace") if isinstance(metadata, dict) else None
    namespace = stated if isinstance(stated, str) and stated else request.namespace
    files: list[ManifestFile] = []
    if request.kind == "Workspace" and isinstance(tuning, dict) and isinstance(tuning.get("config"), str):
        found = partners.config_map(namespace, tuning["config"])
        files = [found] if found is not None else []
    elif request.kind == "ConfigMap":
        name = metadata.get("name") if isinstance(metadata, dict) else None
        files = list(partners.workspaces_using(namespace, name if isinstance(name, str) else request.name))
    return [Partner(file.source.path, file.source.text) for file in files]
