"""`layers_to_transform` with numbers of layers that the model does not have."""

from __future__ import annotations

from collections.abc import Iterator

from kaitoc.compiler.core.findings import Severity
from kaitoc.compiler.core.wording import join_names
from kaitoc.compiler.job.faults import Fault
from kaitoc.compiler.job.job import Job
from kaitoc.rules._hazards import AFTER_LOADING

CODE = "KT454"
NAME = "unmatched-layers"
SEVERITY = Severity.ERROR
FIX = None
SINCE = "0.1.0"


def check(job: Job) -> Iterator[Fault]:
    """Yield a fault when some or all numbers are those of no layer."""
    option, value = job.option("LoraConfig", "layers_to_transform"), job.value("LoraConfig", "layers_to_transform")
    if option is None or job.model is None or not isinstance(value, (list, tuple)):
        return
    model = job.model.value
    written = [number for number in value if isinstance(number, int)]
    missing = [number for number in written if not 0 <= number < model.num_layers]
    if not missing:
        return
    numbers = join_names(str(number) for number in missing)
    is_none_left = len(missing) == len(written)
    effect = f"nothing is trained: {AFTER_LOADING}" if is_none_left else "these are silently ignored"
    yield Fault(
        job.place_of(option),
        f"{model.name} has the layers 0 to {model.num_layers - 1}, not {numbers}; {effect}",
        help=f"the last layer is {model.num_layers - 1}",
        severity=Severity.ERROR if is_none_left else Severity.WARNING,
    )
