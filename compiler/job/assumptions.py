"""From command-line options and settings to what a check assumes."""

from __future__ import annotations

from kaitoc.compiler.catalog.architecture import Architecture
from kaitoc.compiler.catalog.gpus import Gpu, InstanceType, custom_gpu, find_gpu, find_instance_type, suggest_gpus
from kaitoc.compiler.catalog.models import find_model, suggest_models
from kaitoc.compiler.catalog.releases import Release, all_releases, find_release, nearest_release, newest_release
from kaitoc.compiler.core.annotations import TYPE_CHECKING
from kaitoc.compiler.core.errors import KaitocError
from kaitoc.compiler.core.records import dataclass
from kaitoc.compiler.core.wording import did_you_mean
from kaitoc.compiler.job.bounds import GPU_MEMORY_GIB, MARGIN_PERCENT, SEQ_LEN_TOKENS
from kaitoc.compiler.job.job import Assumptions, Target
from kaitoc.compiler.job.prices import NO_PRICES, PriceError, prices_from
from kaitoc.compiler.job.settings import Settings
from kaitoc.compiler.memory.sharing import AS_THE_STACK_DOES, SHARDING_WORDS, SharingRequest
from kaitoc.compiler.memory.workload import Attention

if TYPE_CHECKING:
    from kaitoc.compiler.memory.row_lengths import RowLengths

DEFAULT_MARGIN_PERCENT = 5.0


class AssumptionError(KaitocError, ValueError):
    """A model, GPU or release that the catalog does not have; `str(error)` is for the user."""


@dataclass(frozen=True, slots=True)
class Overrides:
    """What the command line states; None leaves it to the settings, and those to the defaults.

    `prices` are US dollars per hour by instance type, beside those of the settings; `rows` are the data's.
    """

    model: str | None = None
    gpu: str | None = None
    gpu_memory_gib: float | None = None
    kaito_version: str | None = None
    target: str | None = None
    seq_len_tokens: int | None = None
    margin_percent: float | None = None
    attention: str | None = None
    prices: tuple[tuple[str, float], ...] = ()
    num_gpus: int | None = None
    sharing: SharingRequest = AS_THE_STACK_DOES
    rows: RowLengths | None = None


NOTHING_STATED = Overrides()

_BOUNDS = {
    "gpu_memory_gib": GPU_MEMORY_GIB,
    "seq_len_tokens": SEQ_LEN_TOKENS,
    "margin_percent": MARGIN_PERCENT,
}
_WORDS = {
    "target": tuple(target.value for target in Target),
    "attention": tuple(attention.value for attention in Attention),
}


def resolve_assumptions(overrides: Overrides, settings: Settings) -> Assumptions:
    """Return the assumptions for a file; raises `AssumptionError` for a name that is not in a catalog.

    The message names the settings file where the name stands there, not on the command line.
    """
    require_sensible(overrides)
    try:
        return _resolved(overrides, settings)
    except (AssumptionError, PriceError) as error:
        if not settings.path:
            raise
        _resolved(overrides, Settings())
        raise AssumptionError(f"{settings.path}: {error}") from error


def require_sensible(overrides: Overrides) -> None:
    """Raise `AssumptionError` for a value that no option would take, by the name that a caller wrote it under."""
    for name, bounds in _BOUNDS.items():
        value = getattr(overrides, name)
        if value is not None and not bounds.include(value):
            raise AssumptionError(f"{name}: expected a number {bounds.words}, got `{value}`")
    for name, words in _WORDS.items():
        value = getattr(overrides, name)
        if value is not None and value not in words:
            raise AssumptionError(f"{name}: `{value}` is not one of {', '.join(words)}")
    if overrides.sharing.word not in SHARDING_WORDS:
        raise AssumptionError(f"sharing: `{overrides.sharing.word}` is not one of {', '.join(SHARDING_WORDS)}")
    for instance_name, usd in overrides.prices:
        if not 0 < usd < float("inf"):
            raise AssumptionError(f"prices: expected USD per hour of {instance_name} above 0, got `{usd}`")


def _resolved(overrides: Overrides, settings: Settings) -> Assumptions:
    model = overrides.model or settings.model
    stated_release = overrides.kaito_version or settings.kaito_version
    margin = overrides.margin_percent if overrides.margin_percent is not None else settings.margin_percent
    return Assumptions(
        release=release_named(stated_release) if stated_release else newest_release(),
        target=Target(overrides.target or settings.target),
        model=model_named(model) if model else None,
        gpu=_gpu(overrides, settings),
        instance_type=_instance_type(overrides, settings),
        seq_len_tokens=overrides.seq_len_tokens or settings.seq_len,
        attention=overrides.attention,
        margin=(DEFAULT_MARGIN_PERCENT if margin is None else margin) / 100,
        prices=prices_from((*settings.prices, *overrides.prices)) if settings.prices or overrides.prices else NO_PRICES,
        num_gpus=overrides.num_gpus,
        sharing=overrides.sharing,
        rows=overrides.rows,
    )


def model_named(name: str) -> Architecture:
    """Return a model by name; raises `AssumptionError` that names the closest ones."""
    model = find_model(name)
    if model is None:
        raise AssumptionError(f"the model `{name}` is not in the catalog{did_you_mean(suggest_models(name))}")
    return model


def stated_gpu(overrides: Overrides) -> Gpu | None:
    """Return the GPU that is stated by name or by memory, None where none is; raises `AssumptionError` for both."""
    if overrides.gpu is not None:
        if overrides.gpu_memory_gib is not None:
            raise AssumptionError("--gpu and --gpu-memory both name a GPU; leave one out")
        return gpu_named(overrides.gpu)
    return custom_gpu(overrides.gpu_memory_gib) if overrides.gpu_memory_gib is not None else None


def gpu_named(name: str) -> Gpu:
    """Return a GPU by its own or an instance type's name; raises `AssumptionError`."""
    gpu = find_gpu(name)
    instance = find_instance_type(name) if gpu is None else None
    if instance is not None:
        gpu = instance.gpu
    if gpu is None:
        hint = did_you_mean(suggest_gpus(name))
        raise AssumptionError(f"the GPU or instance type `{name}` is not in the catalog{hint}")
    return gpu


def _gpu(overrides: Overrides, settings: Settings) -> Gpu | None:
    stated = stated_gpu(overrides)
    if stated is not None:
        return stated
    if settings.gpu is not None:
        return gpu_named(settings.gpu)
    return custom_gpu(settings.gpu_memory_gib) if settings.gpu_memory_gib is not None else None


def _instance_type(overrides: Overrides, settings: Settings) -> InstanceType | None:
    """Return the instance type that a GPU is named by, None where it is named by itself or by its memory."""
    name = overrides.gpu or (settings.gpu if overrides.gpu_memory_gib is None else None)
    return find_instance_type(name) if name is not None else None


def release_named(name: str) -> Release:
    """Return a Kaito release by name; raises `AssumptionError` that names those that are known and the nearest."""
    release = find_release(name)
    if release is None:
        known = ", ".join(release.name for release in all_releases())
        nearest = nearest_release(name)
        hint = f"; the nearest is {nearest.name}" if nearest is not None else ""
        raise AssumptionError(f"the Kaito release `{name}` is not known (known: {known}){hint}")
    return release
