"""The intermediate representation of one tuning run.

A `Job` is a Workspace, its ConfigMap (or Kaito's default template), the model, the GPU and the Kaito release,
resolved. Every value says where it comes from: a place in a file, or the default of a release.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from enum import Enum
from functools import cached_property

from kaitoc.compiler.catalog.architecture import Architecture
from kaitoc.compiler.catalog.gpus import Gpu, InstanceType
from kaitoc.compiler.catalog.releases import Release
from kaitoc.compiler.core.annotations import TYPE_CHECKING, Generic, TypeVar
from kaitoc.compiler.core.memo import Memo
from kaitoc.compiler.core.records import dataclass, field
from kaitoc.compiler.job.prices import NO_PRICES, Prices
from kaitoc.compiler.job.unknown_options import Unknown, parse_with_unknowns
from kaitoc.compiler.kaito.argument_table import ParsedValue
from kaitoc.compiler.kaito.arguments import ArgProblem, SectionParse
from kaitoc.compiler.manifest.objects import Manifest, Place
from kaitoc.compiler.manifest.training_config import SECTIONS, Option, TrainingConfig, config_text
from kaitoc.compiler.memory.sharing import AS_THE_STACK_DOES, SharingRequest
from kaitoc.compiler.yaml.placeholders import UnknownValueError

if TYPE_CHECKING:
    from kaitoc.compiler.memory.row_lengths import RowLengths

T = TypeVar("T")
LARGEST_INTEGER = 2**63 - 1
"""Tensors cannot be larger (`int64_t` of PyTorch's sizes), and YAML's integers have no bound at all."""


class Target(str, Enum):
    """The runtime a manifest is meant for: Kaito's own tuning image, or ours, which takes more."""

    KAITO = "kaito"
    BUNDLED = "bundled"


@dataclass(frozen=True, slots=True)
class Assumptions:
    """What the user states on the command line or in settings where manifests are silent.

    `model` and `gpu` are catalog entries that replace what a Workspace says; `seq_len_tokens` is the length to assume
    instead of the one the release truncates to; `rows` is what is known of the data's rows; `margin` is the share of
    the GPU's memory to keep free; `prices` are those of instance types. `instance_type` is the one that `gpu` was named
    by, if it was. `num_gpus` are those of the whole job, None for all that the instance type has on each of the nodes
    of `sharing`.
    """

    release: Release
    target: Target = Target.KAITO
    model: Architecture | None = None
    gpu: Gpu | None = None
    instance_type: InstanceType | None = None
    seq_len_tokens: int | None = None
    attention: str | None = None
    margin: float = 0.05
    prices: Prices = NO_PRICES
    num_gpus: int | None = None
    sharing: SharingRequest = AS_THE_STACK_DOES
    rows: RowLengths | None = None


@dataclass(frozen=True, slots=True)
class Setting(Generic[T]):
    """A value and where it comes from: `place` when a file states it, else `origin` says whose default it is."""

    value: T
    place: Place | None
    origin: str

    @property
    def is_stated(self) -> bool:
        """Return whether a file states the value."""
        return self.place is not None


@dataclass(frozen=True, eq=False)
class Job:
    """One tuning run, resolved. Parts that are missing or unknown are None; rules say so.

    `config` is None when the ConfigMap is missing, has no training config or one that is not known. `template` is the
    name of Kaito's default template when the Workspace names no ConfigMap. `idle_workspaces` are those beside a
    ConfigMap that nobody uses which could use it. `may_name_unknown`: a ConfigMap in the Workspace's file has a name
    that is not known yet. `is_served` finds out whether something at hand serves the adapter.
    """

    workspace: Manifest | None
    config_map: Manifest | None
    config: TrainingConfig | None
    template: str
    preset: Setting[str] | None
    model: Setting[Architecture] | None
    instance_type: Setting[str] | None
    gpu: Setting[Gpu] | None
    num_gpus: int
    method: Setting[str] | None
    assumptions: Assumptions
    idle_workspaces: tuple[Manifest, ...] = ()
    may_name_unknown: bool = False
    is_served: Callable[[], bool] = bool
    memo: Memo = field(default_factory=Memo, init=False)

    @property
    def release(self) -> Release:
        """Return the Kaito release the job is judged by."""
        return self.assumptions.release

    @property
    def target(self) -> Target:
        """Return the runtime the job is meant for."""
        return self.assumptions.target

    @property
    def manifest(self) -> Manifest:
        """Return the object that stands for the job: the Workspace, else the ConfigMap."""
        manifest = self.workspace or self.config_map
        if manifest is None:
            raise AssertionError("a job has a Workspace or a ConfigMap")
        return manifest

    @cached_property
    def parsed(self) -> Mapping[str, SectionParse]:
        """Return each section as Kaito's parser reads it; empty when the config cannot be read."""
        config, release = self.config, self.args_release
        if config is None or not config.is_readable:
            return {}
        return config.memo.get(release, lambda: _parse(config, release))

    @cached_property
    def problems(self) -> tuple[tuple[Option, ArgProblem], ...]:
        """Pair each option with the problem its parser reports, in section order."""
        return tuple(
            (self.options(section)[problem.entry_index], problem)
            for section, parse in self.parsed.items()
            for problem in parse.problems
        )

    @property
    def args_release(self) -> str:
        """Return the name of the argument tables that judge this job's options."""
        return "bundled" if self.target is Target.BUNDLED else self.release.name

    @property
    def args_owner(self) -> str:
        """Return whose arguments these are, as messages name it."""
        return "the bundled runtime" if self.target is Target.BUNDLED else self.release.name

    @cached_property
    def is_parsable(self) -> bool:
        """Return whether the runtime's parser accepts every section."""
        return bool(self.parsed) and all(section.is_accepted for section in self.parsed.values())

    def setting(self, section: str, name: str) -> Setting[object]:
        """Return the value of an option as the runtime will have it, with its place or the release it defaults in.

        Raises `UnknownValueError` where a placeholder stands for it.
        """
        parsed = self._parsed_value(section, name)
        if parsed is None:
            return Setting(None, None, f"no `{name}` in {self.args_owner}")
        if parsed.entry_index is None:
            return Setting(parsed.value, None, f"default of {self.args_owner}")
        option = self.options(section)[parsed.entry_index]
        return Setting(parsed.value, self.place_of(option), "file")

    def value(self, section: str, name: str) -> object:
        """Return the value of an option as the runtime will have it; raises `UnknownValueError`."""
        parsed = self._parsed_value(section, name)
        return parsed.value if parsed is not None else None

    def _parsed_value(self, section: str, name: str) -> ParsedValue | None:
        parse = self.parsed.get(section)
        found = parse.values.get(name) if parse is not None else None
        if found is not None and isinstance(found.value, Unknown):
            raise UnknownValueError(found.value.placeholder)
        return found

    def flag(self, section: str, name: str) -> bool:
        """Return a boolean option; one that could not be parsed counts as false."""
        return self.value(section, name) is True

    def integer(self, section: str, name: str, default: int) -> int:
        """Return an integer option, or `default` when it has none; one past 64 bits counts as the last within."""
        value = self.value(section, name)
        if not isinstance(value, int) or isinstance(value, bool):
            return default
        return max(-LARGEST_INTEGER, min(value, LARGEST_INTEGER))

    def number(self, section: str, name: str, default: float) -> float:
        """Return an option that is a number, or `default` when it is none; integers are bounded as above."""
        value = self.value(section, name)
        if isinstance(value, float):
            return value
        return float(self.integer(section, name, 0)) if isinstance(value, int) else default

    def options(self, section: str) -> tuple[Option, ...]:
        """Return the options written in a section."""
        written = self.config.section(section) if self.config is not None else None
        return written.options if written is not None else ()

    def option(self, section: str, name: str) -> Option | None:
        """Return the option that sets a name, also when it is abbreviated or hyphenated as argparse allows.

        Raises `UnknownValueError` where it is not known whether there is one.
        """
        parse = self.parsed.get(section)
        parsed = parse.values.get(name) if parse is not None else None
        if parsed is None or parsed.entry_index is None:
            if parsed is not None and isinstance(parsed.value, Unknown):
                raise UnknownValueError(parsed.value.placeholder)
            return self.config.option(section, name) if self.config is not None else None
        return self.options(section)[parsed.entry_index]

    @property
    def uses_template(self) -> bool:
        """Return whether Kaito's default template is the configuration."""
        return bool(self.template)

    def place_of(self, option: Option) -> Place:
        """Locate an option for a finding: its own span, or the Workspace's when it comes from a default template."""
        return self.config_place if self.uses_template else option.value

    @property
    def config_place(self) -> Place:
        """Locate the configuration as a whole for a finding: its ConfigMap key, else the Workspace."""
        if self.uses_template and self.workspace is not None:
            place = self.workspace.field("tuning", "config") or self.workspace.field("tuning", "preset", "name")
            tuning = place or self.workspace.field("tuning")
            return tuning.value if tuning is not None and place is not None else self.workspace.place
        if self.config_map is not None:
            place = config_text(self.config_map)
            return place.key if place is not None else self.config_map.place
        return self.manifest.place

    def section_place(self, section: str) -> Place:
        """Locate a section for a finding about an unset option."""
        written = self.config.section(section) if self.config is not None and not self.uses_template else None
        return written.key if written is not None else self.config_place


def _parse(config: TrainingConfig, release: str) -> Mapping[str, SectionParse]:
    return {name: parse_with_unknowns(config.section(name), name, release) for name in SECTIONS}
