"""Software stacks: what the versions of transformers, PEFT, TRL and bitsandbytes change in memory.

The profiles are data, `schemas/catalog/stacks.json`; a Kaito release's follows from the versions of its libraries.
"""

from __future__ import annotations

from functools import lru_cache

from kaitoc.compiler.catalog.errors import CatalogError
from kaitoc.compiler.catalog.library_changes import LibraryChange, changes, version_number
from kaitoc.compiler.catalog.releases import Release, all_releases
from kaitoc.compiler.core.patterns import pattern
from kaitoc.compiler.core.records import dataclass, replace
from kaitoc.compiler.memory.sharding.model import ShardingKind
from kaitoc.compiler.memory.workload import Dtype, Loss, Optimizer, WorkloadError
from kaitoc.schemas import read_json

_VERSION = pattern(r"transformers-(\d+)\.(\d+)(?:\.\w+)*")
_TRL_VERSION = pattern(r"trl-(1\.\d+(?:\.\w+)*)")
_TRL_STACK = "trl-chunked"
BUNDLED = "trl-chunked"
"""The stack of the bundled runtime."""
KAITO_PREFIX = "kaito-"
"""What the name of a release's stack begins with: `kaito-v0.12`."""


@dataclass(frozen=True, slots=True)
class Stack:
    """One profile. Versions are those the profile was read from; `since` is the first transformers that it covers, ""
    for stacks that are named after something else.

    `widens_logits_in_model`: the model returns float32 logits (transformers until 4.45), else the loss widens them
    while the model's own live. `copies_shifted_logits`: the loss makes a contiguous copy of all but the last
    position (until 4.49). `repeats_keys`: whether scaled dot product attention gets keys repeated for grouped queries,
    "always" or only "when masked". `flash_repeats_keys`: so does flash attention, in the families that say so (until
    4.47, `*FlashAttention2.forward` of Mistral and what was copied from it, not of Llama). `own_losses`: GPT-2,
    GPT-NeoX and Falcon compute cross-entropy in the model's type (until 4.49). `rotary_caches`: model types that keep
    rotary tables in every layer (Mixtral until 4.45). `mask_buffers`: model types that keep a causal mask of
    the longest sequence in every layer, a byte per pair. `makes_contiguous`: queries, keys and values are made
    contiguous by head before scaled dot product attention (4.48 to 4.55, `sdpa_attention.py`), so that the flash
    kernel's output is laid out by head too and copied token by token, and values are no view of a fused projection.
    `copies_masks`: model types whose scaled dot product attention always gets a mask and indexes it in every layer,
    which copies it (4.38). `casts_vocabulary_back`: after
    `prepare_model_for_kbit_training` TRL 0.9 to 0.13 returns embedding and head to bfloat16 when `bf16` is set
    (`peft_module_casting_to_bf16`). `fused_experts`: experts are 3-D parameters, out of reach for LoRA by module name
    and for bitsandbytes. `adapts_fused_experts`: PEFT reaches them after all, with "all-linear", by adding to the
    weights (0.18). `reentrant_checkpointing`: the Trainer's default variant. `adapters_follow_weights`: PEFT before
    0.12 gives adapters the type of an unquantized base weight, later ones float32. `quantized_adapter_dtype`: what
    adapters over quantized weights end up as (TRL casts them to bfloat16). `retains_quantized_inputs`: `MatMul4Bit`
    keeps its input on the context, where it lives as long as the graph (bitsandbytes before 0.43.2). `default_*` hold
    for keys that a configuration leaves out; `default_autocast` is "never", "always" (TRL since 0.20 sets `bf16`), or
    "when quantized": Trainer scripts for bitsandbytes models set `bf16` or `fp16`, as its examples and all measured
    runs do, those for half-precision models mostly neither. `default_sharding` is how several GPUs share a model when
    nobody says, AUTO where the software shards what outgrows a GPU. `ram_efficient_loading`: a sharded model is read by
    one process of a node alone, as `accelerate launch` has it (`--fsdp_cpu_ram_efficient_loading` is true in
    `commands/launch.py` of accelerate 0.28 to 1.15).
    """

    name: str
    since: str
    summary: str
    torch: str
    transformers: str
    peft: str
    trl: str
    bitsandbytes: str
    accelerate: str
    widens_logits_in_model: bool
    copies_shifted_logits: bool
    repeats_keys: str
    flash_repeats_keys: bool
    own_losses: bool
    rotary_caches: tuple[str, ...]
    mask_buffers: tuple[str, ...]
    makes_contiguous: bool
    copies_masks: tuple[str, ...]
    casts_vocabulary_back: bool
    fused_experts: bool
    adapts_fused_experts: bool
    reentrant_checkpointing: bool
    adapters_follow_weights: bool
    quantized_adapter_dtype: Dtype
    retains_quantized_inputs: bool
    default_loss: Loss
    default_autocast: str
    default_checkpointing: bool
    default_optimizer: Optimizer
    default_sharding: ShardingKind
    ram_efficient_loading: bool

    @property
    def chunked_loss(self) -> Loss:
        """What TRL's `chunked_nll` is: chunks that are computed again, or tiles in one fused pass."""
        return Loss.FUSED if self._trl_has(LibraryChange.TILED_LOSS) else Loss.CHUNKED

    @property
    def widens_chunked_head(self) -> bool:
        """Whether a chunk of the loss widens the whole output layer to float32."""
        return not self._trl_has(LibraryChange.NARROW_CHUNK_PRODUCT)

    def _trl_has(self, change: LibraryChange) -> bool:
        return bool(self.trl) and changes()[change].includes(self.trl)

    @property
    def copies_into_cache(self) -> bool:
        """Whether keys and values are copied into the key-value cache: since transformers 4.56, here from 4.54 on."""
        return self.repeats_keys == "when masked"

    @property
    def masks_are_boolean(self) -> bool:
        """Whether masks for scaled dot product attention hold truth values: since transformers 4.53
        (`masking_utils.py`), which is also when keys ceased to be repeated without one.
        """
        return self.repeats_keys == "when masked"


@lru_cache(maxsize=1)
def all_stacks() -> tuple[Stack, ...]:
    """Return every profile of the catalog, in its order, and then one for each Kaito release."""
    return (*_library_stacks(), *(_stack_of_release(release) for release in all_releases()))


@lru_cache(maxsize=32)
def find_stack(name: str) -> Stack:
    """Return the profile of that name, or the one that covers the version of transformers that it names.

    Raises `WorkloadError` naming the nearest when there is none.
    """
    by_name = {stack.name: stack for stack in all_stacks()}
    if name in by_name:
        return by_name[name]
    trl = _TRL_VERSION.fullmatch(name)
    if trl is not None:
        return _with_trl(by_name[_TRL_STACK], name, trl[1])
    asked = _VERSION.fullmatch(name)
    covering = _covering((int(asked[1]), int(asked[2]))) if asked is not None else None
    if covering is not None:
        return covering
    from difflib import get_close_matches

    nearest = get_close_matches(name, by_name, n=1, cutoff=0.0)
    raise WorkloadError(f"unknown software stack {name!r}; did you mean {nearest[0]!r}? Known: {', '.join(by_name)}")


def version_note(name: str) -> str:
    """Return the note on a stack named after a version that is newer than any that was read, empty otherwise."""
    trl, transformers = _TRL_VERSION.fullmatch(name), name.removeprefix("transformers-")
    library, version = ("TRL", trl[1]) if trl is not None else ("transformers", transformers)
    if trl is None and _VERSION.fullmatch(name) is None:
        return ""
    newest = max(
        (stack.trl if trl is not None else stack.transformers for stack in _library_stacks()), key=version_number
    )
    if version_number(version)[:2] <= version_number(newest):
        return ""
    return f"{library} {version} is newer than {newest}, the newest known; assuming that it trains as that one does"


def _with_trl(profile: Stack, name: str, version: str) -> Stack:
    """Return the profile with another TRL 1, whose default loss is in chunks from the version on that has them."""
    stack = replace(profile, name=name, trl=version, summary=f"TRL {version} on transformers {profile.transformers}")
    has_chunks = changes()[LibraryChange.CHUNKED_LOSS].includes(version)
    return replace(stack, default_loss=stack.chunked_loss if has_chunks else Loss.FULL)


@lru_cache(maxsize=1)
def _library_stacks() -> tuple[Stack, ...]:
    return tuple(_read(entry) for entry in read_json("catalog/stacks")["stacks"])


def _covering(version: tuple[int, ...]) -> Stack | None:
    """Return the newest profile up to a version of transformers, None for a major version that no profile knows."""
    by_version = {version_number(stack.since): stack for stack in _library_stacks() if stack.since}
    if version[0] > max(by_version)[0]:
        return None
    return by_version[max(since for since in by_version if since <= version)] if version >= min(by_version) else None


def _stack_of_release(release: Release) -> Stack:
    """Return a release's profile: the one that covers its transformers, with what its other libraries changed."""
    profile = _covering(version_number(release.transformers))
    if profile is None:
        raise CatalogError(
            f"schemas/catalog/stacks.json has no profile for the transformers {release.transformers} of {release.name}"
        )
    stack = replace(
        profile,
        name=f"{KAITO_PREFIX}{release.name}",
        since="",
        summary=f"Kaito {release.name}: transformers {release.transformers}, PEFT {release.peft}, TRL {release.trl}, "
        f"torch {release.torch}",
        torch=release.torch,
        transformers=release.transformers,
        peft=release.peft,
        trl=release.trl,
        bitsandbytes=release.bitsandbytes,
        accelerate=release.accelerate,
        default_sharding=ShardingKind.DDP,
        casts_vocabulary_back=release.has(LibraryChange.CASTS_VOCABULARY_BACK),
        adapts_fused_experts=release.has(LibraryChange.ADAPTED_FUSED_EXPERTS),
        adapters_follow_weights=not release.has(LibraryChange.FLOAT32_ADAPTERS),
        quantized_adapter_dtype=Dtype.BFLOAT16 if release.has(LibraryChange.BFLOAT16_ADAPTERS) else Dtype.FLOAT32,
        default_autocast="always" if release.has_sft_config else "never",
        default_checkpointing=release.has_sft_config,
        default_optimizer=Optimizer.ADAMW_FUSED if release.has(LibraryChange.FUSED_OPTIMIZER) else Optimizer.ADAMW,
    )
    return replace(stack, default_loss=stack.chunked_loss if release.has(LibraryChange.CHUNKED_LOSS) else Loss.FULL)


def _read(entry: dict[str, object]) -> Stack:
    fields = dict(entry)
    return Stack(
        **{  # type: ignore[arg-type]  # the JSON's types are held to the dataclass by tests/memory/test_stacks.py
            **fields,
            "rotary_caches": tuple(entry["rotary_caches"]),  # type: ignore[arg-type]  # as above
            "mask_buffers": tuple(entry["mask_buffers"]),  # type: ignore[arg-type]  # as above
            "copies_masks": tuple(entry["copies_masks"]),  # type: ignore[arg-type]  # as above
            "quantized_adapter_dtype": Dtype(fields["quantized_adapter_dtype"]),
            "default_loss": Loss(fields["default_loss"]),
            "default_optimizer": Optimizer(fields["default_optimizer"]),
            "default_sharding": ShardingKind(fields["default_sharding"]),
        }
    )
