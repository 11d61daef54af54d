"""A server that listens where Kaito's probes and Service do not look."""

from __future__ import annotations

from collections.abc import Iterator

from kaitoc.compiler.core.findings import Severity
from kaitoc.compiler.job.faults import Fault
from kaitoc.compiler.job.serving_job import ServingJob

CODE = "KT727"
NAME = "unreachable-server"
SEVERITY = Severity.WARNING
FIX = None
SINCE = "0.1.0"

_PORT = 5000
_LOCAL = ("127.0.0.1", "localhost", "::1")


def check(job: ServingJob) -> Iterator[Fault]:
    """Yield a port, a host or a socket that makes the probes fail, so that the pod is killed after its start."""
    for name in ("port", "host", "uds") if job.uses_vllm else ():
        option, served = job.option_of(name), job.parsed.values.get(name)
        if option is None or served is None or served.value is None:
            continue
        if (name == "port" and served.value == _PORT) or (name == "host" and served.value not in _LOCAL):
            continue
        message = (
            f"Kaito's probes and Service use port {_PORT} of the pod: with `{option.name}: {served.word}` they fail"
        )
        yield Fault(option.key, f"{message}, and the pod is killed when its start-up time runs out", help="remove it")
