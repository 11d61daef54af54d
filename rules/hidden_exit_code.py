"""A launcher around the runtime that replaces its exit codes by 1."""

from __future__ import annotations

import re
from collections.abc import Iterator

from kaitoc.compiler.core.findings import Severity
from kaitoc.compiler.job.cluster_run import ClusterRun
from kaitoc.compiler.job.faults import Fault
from kaitoc.compiler.manifest.objects import Field, Manifest
from kaitoc.compiler.manifest.plan_objects import NODE, TRAIN_JOB, PodGroup, parts

CODE = "KT818"
NAME = "hidden-exit-code"
SEVERITY = Severity.WARNING
FIX = None
SINCE = "0.1.0"

_LAUNCHERS = frozenset({"torchrun", "accelerate", "torch.distributed.run", "torch.distributed.launch"})


def check(run: ClusterRun) -> Iterator[Fault]:
    """Yield the launcher in the command of pods whose exit codes decide about another attempt."""
    for group in run.pod_groups:
        effect, container = _effect(group), group.trainer
        if not effect or container is None:
            continue
        words = [*_words(run, container, "command"), *_words(run, container, "args")]
        launcher = next((word for word in words if _launcher_in(word.text or "")), None)
        if launcher is not None:
            yield Fault(
                launcher.value,
                f"`{_launcher_in(launcher.text or '')}` exits with 1 whatever its processes exit with: {effect}",
                help="write `command: [python, -m, kaitoc.runtime]`, which starts the processes itself",
            )


def _effect(group: PodGroup) -> str:
    """Describe what comes of exit codes that are always 1, empty where nobody asks for them."""
    if group.job is None:
        is_asked = group.holder.text("restartPolicy") == "ExitCode"
        return "a process that was killed ends the job instead of being retried" if is_asked else ""
    rules = parts(group.job, "podFailurePolicy", "rules")
    if not any(rule.given("onExitCodes") is not None for rule in rules):
        return ""
    return "`podFailurePolicy` never sees 2 and 3, and a plan that cannot run is retried on all nodes"


def _words(run: ClusterRun, container: Manifest, name: str) -> list[Field]:
    """Return a container's words, those of a TrainJob before the ones of its runtime."""
    is_trainers = run.kind == TRAIN_JOB and container.text("name") == NODE
    stated = run.manifest.fields("spec", "trainer", name) if is_trainers else []
    return stated or container.fields(name)


def _launcher_in(text: str) -> str:
    """Return the launcher among the words of a command line, empty for none."""
    words = re.split(r"[\s;&|()'\"]+", text)
    return next((word for word in words if word.rpartition("/")[2] in _LAUNCHERS), "")
