"""The frozen records that commands are called with, and those that many of them share.

A value that a record has by itself is that of an option that is left out.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from kaitoc.compiler.check.engine_options import EngineOptions, selectors_in
from kaitoc.compiler.core.annotations import TYPE_CHECKING, Any, TypeVar
from kaitoc.compiler.core.findings import Severity
from kaitoc.compiler.core.records import dataclass, field_names, replace
from kaitoc.compiler.job.assumptions import Overrides
from kaitoc.compiler.job.prices import parse_price
from kaitoc.compiler.memory.sharding.model import Offload
from kaitoc.compiler.memory.sharing import SharingRequest

if TYPE_CHECKING:
    from kaitoc.compiler.memory.row_lengths import RowLengths

T = TypeVar("T")


def rows_of(data: str | None, lengths: str | None) -> RowLengths | None:
    """Measure the rows of `--data`, or read `--lengths`; None without either.

    Raises `DataLengthError` and `LengthsError`.
    """
    if data is None and lengths is None:
        return None
    from kaitoc.compiler.memory.row_lengths import stated_rows  # few commands state them

    return stated_rows(data, lengths)


def first_given(options: Any, silent: Any, names: Iterable[str] | None = None) -> str | None:
    """Return the first option of a record that differs from those of a silent command line, as it is typed.

    The names of both records' fields are those of options, of which `names` are looked at, all unless given; None where
    no option differs.
    """
    for name in names if names is not None else field_names(type(options)):
        value = getattr(options, name)
        if value != getattr(silent, name):
            return f"--{'no-' if value is False else ''}{name.replace('_', '-')}"
    return None


@dataclass(frozen=True, slots=True)
class AssumptionOptions:
    """What to assume where manifests are silent."""

    model: str | None = None
    gpu: str | None = None
    gpu_memory: float | None = None
    kaito_version: str | None = None
    target: str | None = None
    seq_len: int | None = None
    margin: float | None = None
    prices: tuple[str, ...] = ()

    @property
    def overrides(self) -> Overrides:
        """Return the options as the engine takes them; raises `PriceError` for a price that is none."""
        return Overrides(
            model=self.model,
            gpu=self.gpu,
            gpu_memory_gib=self.gpu_memory,
            kaito_version=self.kaito_version,
            target=self.target,
            seq_len_tokens=self.seq_len,
            margin_percent=self.margin,
            prices=tuple(parse_price(text) for text in self.prices),
        )


@dataclass(frozen=True, slots=True)
class SharingOptions:
    """How many GPUs a job has, and how they share its model."""

    gpus: int | None = None
    nodes: int = 1
    sharding: str = "auto"
    shard_group: int | None = None
    reshard: bool = True
    offload: str = Offload.NONE.value

    @property
    def request(self) -> SharingRequest:
        """Build the sharding request from the sharding options."""
        return SharingRequest(self.sharding, self.nodes, self.shard_group, self.reshard, Offload(self.offload))

    def over(self, overrides: Overrides) -> Overrides:
        """Add the number of GPUs and nodes stated here to the assumptions about jobs."""
        return replace(overrides, num_gpus=self.gpus, sharing=self.request)


@dataclass(frozen=True, slots=True)
class JudgingOptions:
    """What decides how files are judged: assumptions, the selected rules, and whether settings files count."""

    assumptions: AssumptionOptions = AssumptionOptions()
    select: tuple[str, ...] = ()
    ignore: tuple[str, ...] = ()
    severity: str | None = None
    config: str | None = None
    isolated: bool = False

    @property
    def engine(self) -> EngineOptions:
        """Build the engine's options from the command line; settings files give what is unset here."""
        return EngineOptions(
            self.assumptions.overrides,
            selectors_in(self.select),
            selectors_in(self.ignore),
            self.isolated,
            self.config,
            Severity(self.severity) if self.severity is not None else None,
        )


GROUPS: Mapping[str, type] = {"assumptions": AssumptionOptions, "judging": JudgingOptions, "sharing": SharingOptions}
"""The records that many commands' options have in common, by the field that holds them."""


def record_of(record: type[T], parameters: dict[str, Any], groups: Mapping[str, type]) -> T:
    """Return parameters as a record; raises `TypeError` where one has no field, or a field no parameter."""
    made = _filled(record, parameters, groups)
    if parameters:
        raise TypeError(f"{record.__name__} has no field for {', '.join(parameters)}")
    return made


def _filled(record: type[T], parameters: dict[str, Any], groups: Mapping[str, type]) -> T:
    """Take a record's values, and those of its groups, out of the parameters."""
    values: dict[str, Any] = {}
    for name in field_names(record):
        if name in groups:
            values[name] = _filled(groups[name], parameters, groups)
        elif name in parameters:
            values[name] = parameters.pop(name)
    return record(**values)
