"""What a job has for rules to be about. Most rules find something in few jobs only, and are loaded for those."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from kaitoc.compiler.core.annotations import TypeAlias
from kaitoc.compiler.core.tuples import NamedTuple
from kaitoc.compiler.job.job import Job
from kaitoc.compiler.job.memory import batch_size_of, footprint_of, verdict_of, workload_of
from kaitoc.compiler.job.possible import missing_gpus
from kaitoc.compiler.job.run import memo_of_run
from kaitoc.compiler.job.unknown_options import Unknown
from kaitoc.compiler.kaito.arguments import ArgProblemKind
from kaitoc.compiler.manifest.training_config import SECTIONS
from kaitoc.compiler.memory.result import Verdict
from kaitoc.compiler.memory.workload import Attention, Dtype
from kaitoc.compiler.yaml.placeholders import UnknownValueError
from kaitoc.compiler.yaml.tree import Mapping, Scalar

Subject: TypeAlias = "str | ArgProblemKind"
"""An option that a config may write (`Section.name`), a field that a Workspace may have (`tuning.input`), one of both
that it lacks (`lacks`), what the parser says of an option, or one of the situations below.
"""
Subjects: TypeAlias = "frozenset[Subject]"

PRICES = "prices"
"""What an hour of an instance type costs, which settings may state."""
KNOWN_LENGTHS = "rows whose lengths are stated"
NO_WORKSPACE = "no Workspace"
TEMPLATE = "a default template of Kaito's as the config"
SEVERAL_GPUS = "several GPUs"
IMPOSSIBLE_GPUS = "GPUs that cannot be the job's, or cannot share its model"
SEVERAL_SEQUENCES = "several sequences in a batch"
NO_PRESET = "no preset"
NO_INSTANCE_TYPE = "no instance type"
NO_ROOT = "no `training_config` in the ConfigMap"
UNKNOWN_SECTION = "a section that Kaito does not have"
UNMAPPED_SECTION = "a section that is no mapping"
EAGER = "eager attention"
FLOAT32 = "weights in float32"
NO_CHECKPOINTING = "no gradient checkpointing"
GPU_WITHOUT_BFLOAT16 = "a GPU without bfloat16"
TIGHT = Verdict.TIGHT.value
DOES_NOT_FIT = Verdict.DOES_NOT_FIT.value

SITUATIONS = (
    *(PRICES, KNOWN_LENGTHS, NO_WORKSPACE, TEMPLATE, SEVERAL_GPUS, SEVERAL_SEQUENCES, NO_PRESET),
    *(NO_INSTANCE_TYPE, NO_ROOT),
    *(UNKNOWN_SECTION, UNMAPPED_SECTION, EAGER, FLOAT32, NO_CHECKPOINTING, GPU_WITHOUT_BFLOAT16, TIGHT, DOES_NOT_FIT),
    IMPOSSIBLE_GPUS,
)
"""What a job can be besides what it writes and leaves out."""

_LACKS = "no "


def lacks(path: str) -> str:
    """Name the subject of jobs without this option, or Workspaces without this field, for rules about unset values."""
    return f"{_LACKS}{path}"


def path_of(subject: Subject) -> str:
    """Return the option or field that a subject is about, present or not; empty for other subjects."""
    if not isinstance(subject, str) or subject in SITUATIONS:
        return ""
    return subject.removeprefix(_LACKS)


def is_option(path: str) -> bool:
    """Return whether a path names an option, as its section does, not a field of a Workspace."""
    return path.partition(".")[0] in SECTIONS


def subjects_of_run(job: Job, options: tuple[str, ...]) -> Subjects:
    """List the subjects of a job's run: of its config, the watched options that it leaves unset, and its situations."""
    return memo_of_run(job).get(("subjects", options), lambda: _config_subjects(job, options).union(_situations(job)))


def _config_subjects(job: Job, options: tuple[str, ...]) -> Subjects:
    config = job.config
    if config is None:
        return frozenset(lacks(option) for option in options)
    sections = config.sections
    written = (option for section in sections for option in section.options)
    subjects: set[Subject] = {f"{option.section}.{option.name}" for option in written}
    set_options = set()
    for section, parse in job.parsed.items():
        for name, parsed in parse.values.items():
            if isinstance(parsed.value, Unknown):
                subjects.add(f"{section}.{name}")
            elif parsed.entry_index is not None:
                set_options.add(f"{section}.{name}")
        subjects.update(problem.kind for problem in parse.problems)
    subjects |= set_options
    subjects.update(lacks(option) for option in options if option not in set_options)
    if any(section.name not in SECTIONS for section in sections):
        subjects.add(UNKNOWN_SECTION)
    if not all(section.is_mapping for section in sections):
        subjects.add(UNMAPPED_SECTION)
    return frozenset(subjects)


class WatchedField(NamedTuple):
    """A field of a Workspace, with those below it, of which late rules are about some.

    `present` and `lacking` are what having it and lacking it mean, `all_lacking` what lacking it and so all below
    means, `all_unknown` what may be where it is not known.
    """

    name: str
    present: Subjects
    lacking: Subjects
    below: tuple[WatchedField, ...]
    all_lacking: Subjects
    all_unknown: Subjects


def watched_fields(paths: Iterable[tuple[str, ...]], parent: str = "") -> tuple[WatchedField, ...]:
    """Arrange the paths that late rules are about as a tree of the fields to look for in every Workspace."""
    tails: dict[str, list[tuple[str, ...]]] = {}
    for first, *rest in paths:
        tails.setdefault(first, []).append(tuple(rest))
    return tuple(_watched(name, f"{parent}{name}", found) for name, found in sorted(tails.items()))


def _watched(name: str, path: str, tails: list[tuple[str, ...]]) -> WatchedField:
    present: Subjects = frozenset([path] if () in tails else [])
    lacking: Subjects = frozenset(lacks(subject) for subject in present if isinstance(subject, str))
    below = watched_fields([tail for tail in tails if tail], f"{path}.")
    all_lacking = lacking.union(*(field.all_lacking for field in below))
    all_unknown = (present | lacking).union(*(field.all_unknown for field in below))
    return WatchedField(name, present, lacking, below, all_lacking, all_unknown)


def subjects_of_fields(workspace: Mapping, fields: tuple[WatchedField, ...]) -> set[Subject]:
    """List the fields that a Workspace has and those it lacks, as both where that is not known yet."""
    subjects: set[Subject] = set()
    for field in fields:
        entry = workspace.get(field.name)
        if entry is None:
            subjects |= field.all_lacking
            continue
        value = entry.value
        subjects |= field.present
        if isinstance(value, Mapping):
            subjects |= subjects_of_fields(value, field.below)
            continue
        if isinstance(value, Scalar):  # null, which is the same as none, is a scalar
            subjects |= field.lacking
        is_unknown = isinstance(value, Scalar) and value.placeholder
        for below in field.below:
            subjects |= below.all_unknown if is_unknown else below.all_lacking
    return subjects


def _situations(job: Job) -> Iterator[Subject]:
    """Yield which of the situations a job's run is in."""
    if job.assumptions.prices.usd_per_hour:
        yield PRICES
    if job.assumptions.rows is not None:
        yield KNOWN_LENGTHS
    if job.uses_template:
        yield TEMPLATE
    if job.num_gpus > 1:
        yield SEVERAL_GPUS
    if _has_several_sequences(job):
        yield SEVERAL_SEQUENCES
    if job.preset is None:
        yield NO_PRESET
    if job.instance_type is None:
        yield NO_INSTANCE_TYPE
    if job.config is None or job.config.root is None:
        yield NO_ROOT
    if job.gpu is not None and not job.gpu.value.has_bf16:
        yield GPU_WITHOUT_BFLOAT16
    yield from _situations_of_step(job)


def _has_several_sequences(job: Job) -> bool:
    try:
        return batch_size_of(job) > 1
    except UnknownValueError:
        return False  # no rule judges a batch that is not known yet


def _situations_of_step(job: Job) -> Iterator[Subject]:
    workload, fit = workload_of(job), verdict_of(job)
    if workload is None:
        if missing_gpus(job):
            yield IMPOSSIBLE_GPUS
        return
    if footprint_of(job) is None:
        yield IMPOSSIBLE_GPUS
    if workload.attention is Attention.EAGER:
        yield EAGER
    if workload.dtype in (Dtype.FLOAT32, Dtype.FLOAT64):
        yield FLOAT32
    if not workload.gradient_checkpointing:
        yield NO_CHECKPOINTING
    if fit is not None:
        yield fit.value
