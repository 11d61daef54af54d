"""The peaks of one of several processes that share a model, phase by phase."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache

from kaitoc.compiler.catalog.gpus import Gpu
from kaitoc.compiler.core.records import dataclass, replace
from kaitoc.compiler.memory import device
from kaitoc.compiler.memory.closed_form.peak import Moment, categories_at
from kaitoc.compiler.memory.closed_form.sharding.derive import moments_of
from kaitoc.compiler.memory.closed_form.sharding.load import largest_saved_bytes, load_peak_bytes
from kaitoc.compiler.memory.closed_form.sharding.state import ShardState, shard_state_of
from kaitoc.compiler.memory.result import Categories, Phase, PhasePeak
from kaitoc.compiler.memory.workload import Workload


def sharded_phases(workload: Workload, sized: Workload, gpu: Gpu | None) -> tuple[Categories, tuple[PhasePeak, ...]]:
    """Compute one process's bytes through a step and the peak of each phase.

    `sized` is the workload with batch and sequence length left open, by which derivations are kept.
    """
    shared = _derive_shared(sized, workload.accumulates)
    base = _resident_shard(shared.state, gpu)
    return base, tuple(_phases(workload, shared, base))


def _resident_shard(state: ShardState, gpu: Gpu | None) -> Categories:
    return Categories(
        weights=state.weights_bytes,
        adapters=state.adapter_bytes,
        optimizer=state.optimizer_bytes,
        workspace=device.cublas_workspace_bytes(gpu),
    )


@dataclass(frozen=True, slots=True)
class _Shared:
    """A sharded workload's step with batch and sequence length left open; sizes in bytes on one process."""

    state: ShardState
    moments: Mapping[Phase, tuple[Moment, ...]]
    loading_bytes: int
    saved_bytes: int


@lru_cache(maxsize=512)
def _derive_shared(workload: Workload, accumulates: bool) -> _Shared:
    state = shard_state_of(workload, accumulates=accumulates)
    return _Shared(
        state,
        moments_of(workload, accumulates),
        max(load_peak_bytes(workload), state.weights_bytes + state.adapter_bytes),
        largest_saved_bytes(workload),
    )


def _phases(workload: Workload, shared: _Shared, base: Categories) -> list[PhasePeak]:
    batch, tokens = workload.batch_size, workload.seq_len_tokens
    state, derived, loading = shared.state, shared.moments, shared.loading_bytes
    phases = [PhasePeak(Phase.LOAD, Categories(weights=loading - state.adapter_bytes, adapters=state.adapter_bytes))]
    for name in (Phase.FORWARD, Phase.LOSS, Phase.BACKWARD):
        highest = max(derived[name], key=lambda moment: moment.total.at(batch, tokens))
        phases.append(PhasePeak(name, categories_at(base, highest, batch, tokens)))
    stepping = replace(base, gradients=state.gradient_bytes, workspace=base.workspace + state.optimizer_step_bytes)
    saving = replace(base, workspace=base.workspace + shared.saved_bytes)
    return [*phases, PhasePeak(Phase.OPTIMIZER, stepping), PhasePeak(Phase.SAVE, saving)]
