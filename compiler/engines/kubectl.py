"""The kubectl program of this machine, and what its complaints mean."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from typing import Any

from kaitoc.compiler.core.errors import KaitocError
from kaitoc.compiler.core.records import dataclass
from kaitoc.compiler.core.redaction import redacted_text

EXIT_FAILED = 1
EXIT_INTERRUPTED = 130
_REQUEST_TIMEOUT = "--request-timeout=30s"
"""An API server that accepts a connection and never answers is one that is away."""
_AWAY = re.compile(
    r"Unable to connect to the server(?!: x509)|connection to the server \S+ was refused|connection (refused|reset)"
    r"|\bEOF\b|i/o timeout|TLS handshake timeout|deadline exceeded|Client\.Timeout|http2: |etcdserver: "
    r"|\((InternalError|ServiceUnavailable|Timeout|ServerTimeout)\)"
    r"|unable to handle the request|unable to return a response"
)
_BUSY = re.compile(r"\((TooManyRequests|Expired|Gone)\)|too many requests|the object has been modified; please apply")
"""Throttling, a list that is too old, or a write that another one came before."""
_WEBHOOK = "failed calling webhook"
_BROKEN_WEBHOOK = re.compile(r"x509|service \"[^\"]*\" not found")
"""A webhook that no waiting mends, where the cluster waits for its answer (`failurePolicy: Fail`)."""
_CONFLICT = re.compile(r"conflicts? with \"(?P<manager>[^\"]+)\"[^\n]*?:(?P<fields>(?:\s+(?:- )?\.\S+)+)")
_FIELD = re.compile(r"\.\S+")


class ClusterError(KaitocError):
    """A run on a cluster that cannot start, failed, or is no longer followed; `str(error)` is for the user."""

    exit_code = EXIT_FAILED


class AwayError(ClusterError):
    """An API server that did not answer, or whose answer says to ask again; `trouble` says which."""

    trouble = "the API server does not answer"


class BusyError(AwayError):
    """An API server that answered that the same request may pass later."""

    trouble = "the API server asks to try again"


class WebhookAwayError(AwayError):
    """A webhook that did not answer the API server, which serves all that the webhook is not asked about."""

    trouble = "a webhook does not answer"


class RefusedError(ClusterError):
    """A request that the API server answered with a refusal."""


@dataclass(frozen=True, slots=True)
class Kubectl:
    """Runs kubectl; an empty namespace is that of its context."""

    program: str
    namespace: str = ""

    @classmethod
    def find(cls, namespace: str = "") -> Kubectl:
        """Return the kubectl on the path; raises `ClusterError` when there is none."""
        program = shutil.which("kubectl")
        if program is None:
            raise ClusterError("kubectl is not on PATH; it is needed to run on a cluster")
        return cls(program, namespace)

    @property
    def namespace_options(self) -> list[str]:
        """Return the options by which kubectl finds the namespace."""
        return ["--namespace", self.namespace] if self.namespace else []

    def run(self, *arguments: str, text: str | None = None) -> str:
        """Return the output of a command that is given `text` on standard input.

        Raises `AwayError` when the API server is away and `RefusedError` with what it complains about.
        """
        command = [self.program, _REQUEST_TIMEOUT, *arguments]
        done = subprocess.run(command, capture_output=True, text=True, input=text, check=False)  # noqa: S603
        if done.returncode == 0:
            return done.stdout
        complaint = redacted_text(done.stderr.strip()) or f"exit code {done.returncode}"
        raise _kind_of(complaint)(_conflicts_of(complaint) or f"kubectl {arguments[0]}: {complaint}")

    def all_of(self, *arguments: str, text: str | None = None) -> list[dict[str, Any]]:
        """Return the objects that `kubectl get` finds, none for those that are not there; raises `ClusterError`."""
        printed = self.run("get", *arguments, "--ignore-not-found", "--output=json", text=text)
        try:
            return list(_documents(printed))
        except ValueError as error:
            raise ClusterError(f"kubectl get {arguments[0]}: its answer is not JSON") from error

    def named(self, *places: str) -> list[dict[str, Any]]:
        """Return objects of the namespace by `RESOURCE/NAME`, in that order, empty where there is none."""
        found: dict[str, dict[str, Any]] = {}
        for content in self.all_of(*places, *self.namespace_options):
            kind = content.get("kind", "").lower()
            found |= {f"{kind}{ending}": content for ending in ("s", "es")}
        return [found.get(place.partition("/")[0].partition(".")[0], {}) for place in places]

    def stored(self, manifest: str) -> dict[str, Any]:
        """Fetch the stored object with a manifest's name; empty when there is none."""
        return next(iter(self.all_of("--filename", "-", text=manifest)), {})

    def objects_of(self, folder: str) -> list[dict[str, Any]]:
        """Return the objects of a folder's manifests as kubectl reads them, each with its namespace.

        Raises `RefusedError` where the cluster does not know a kind.
        """
        read = ["create", "--dry-run=client", "--validate=false", "--output=json", "--filename", folder]
        return list(_documents(self.run(*read, *self.namespace_options)))


def _kind_of(complaint: str) -> type[ClusterError]:
    if _WEBHOOK in complaint:
        return RefusedError if _BROKEN_WEBHOOK.search(complaint) else WebhookAwayError
    if _BUSY.search(complaint):
        return BusyError
    return AwayError if _AWAY.search(complaint) else RefusedError


def _documents(text: str) -> Iterator[dict[str, Any]]:
    """Yield the objects of JSON documents that follow each other, those in lists too."""
    decoder, place = json.JSONDecoder(), 0
    while text[place:].strip():
        place += len(text[place:]) - len(text[place:].lstrip())
        content, place = decoder.raw_decode(text, place)
        yield from content["items"] if content.get("kind", "").endswith("List") and "items" in content else [content]


def _conflicts_of(complaint: str) -> str:
    """Return a refused apply in words when other managers own its fields, empty for any other complaint."""
    if "Apply failed with" not in complaint:
        return ""
    owners = [
        f"{', '.join(_FIELD.findall(match['fields']))} (field manager `{match['manager']}`)"
        for match in _CONFLICT.finditer(complaint)
    ]
    if not owners:
        return ""
    return f"another manager owns {' and '.join(owners)}; `--force-conflicts` takes these fields over"
