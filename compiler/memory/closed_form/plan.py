"""Resolve a workload into what each layer holds: weights, adapters, trainable parameters, numeric types."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache

from kaitoc.compiler.catalog.architecture import Architecture, UnknownModelTypeError
from kaitoc.compiler.catalog.families import Family, find_family, masked_window
from kaitoc.compiler.catalog.sites import (
    Site,
    attention_sites,
    expert_block_path,
    feed_forward_sites,
    matches,
    mlp_sites,
)
from kaitoc.compiler.core.records import dataclass
from kaitoc.compiler.memory.closed_form.dtypes import adapter_bytes, quantized_bytes
from kaitoc.compiler.memory.closed_form.linear import Adapter, Linear
from kaitoc.compiler.memory.closed_form.size import FLOAT32_BYTES
from kaitoc.compiler.memory.stacks import Stack, find_stack
from kaitoc.compiler.memory.workload import Dtype, Lora, Quantization, Workload, WorkloadError
from kaitoc.compiler.memory.workload_key import WorkloadKey, key_of_plan


@dataclass(frozen=True, slots=True)
class Experts:
    """A mixture of experts: `per_expert` are the linears of one expert, `top_k` the experts a token visits.

    `adapter` is set where PEFT adds to the fused weights themselves.
    """

    router: Linear
    per_expert: tuple[Linear, ...]
    num_experts: int
    top_k: int
    fused: bool
    shared: tuple[Linear, ...] = ()
    shared_gate: Linear | None = None
    adapter: Adapter | None = None


@dataclass(frozen=True, slots=True)
class Layer:
    """One decoder layer. `gradient_bytes` are those of all its trainable parameters.

    `is_masked`: its attention gets a mask, as its window is shorter than the sequence or the batch is padded.
    """

    attention: tuple[Linear, ...]
    output: Linear
    mlp: tuple[Linear, ...]
    experts: Experts | None
    gradient_bytes: int
    is_masked: bool = False

    @property
    def num_float32_trained(self) -> int:
        """Return how many float32 weights of linear layers, adapters included, are trained."""
        experts = self.experts
        found = sum(linear.num_float32_trained for linear in (*self.attention, self.output, *self.mlp))
        if experts is not None and not experts.fused:
            found += experts.num_experts * sum(linear.num_float32_trained for linear in experts.per_expert)
            found += sum(linear.num_float32_trained for linear in (experts.router, *experts.shared))
        return found


@dataclass(frozen=True, slots=True)
class Plan:
    """A workload resolved. `config` has the model type's defaults where `config.json` is silent. `layers` are runs of
    equal layers with their counts.

    `trainable` are (number of elements, bytes per element) of every trainable tensor.
    """

    architecture: Architecture
    config: Mapping[str, object]
    family: Family
    stack: Stack
    layers: tuple[tuple[Layer, int], ...]
    head: Linear
    embedding_trainable: bool
    embedding_bytes: int
    norm_bytes: int
    trains_base: bool
    weights_bytes: int
    adapter_bytes: int
    gradient_bytes: int
    trainable: tuple[tuple[int, int, int], ...]

    @property
    def num_trainable(self) -> int:
        """Return the number of trainable parameters."""
        return sum(count * elements for count, elements, _ in self.trainable)


def plan_for(workload: Workload) -> Plan:
    """Resolve a workload; raises `WorkloadError` for an unknown model type or stack, or for unmatched targets."""
    return _plan(key_of_plan(workload))


@lru_cache(maxsize=256)
def _plan(key: WorkloadKey) -> Plan:
    workload = key.workload
    architecture = workload.architecture
    try:
        family = find_family(architecture.model_type)
    except UnknownModelTypeError as error:
        raise WorkloadError(str(error)) from error
    return _Planner(workload, architecture, family, find_stack(workload.stack)).plan()


class _Planner:
    def __init__(self, workload: Workload, architecture: Architecture, family: Family, stack: Stack) -> None:
        self.workload = workload
        self.architecture = architecture
        self.family = family
        self.stack = stack
        skips = family.own_linear and stack.fused_experts
        self.quantization = Quantization.NONE if skips else workload.quantization
        self.adapter_size = adapter_bytes(workload, stack)
        self.norm_bytes = self._norm_bytes()
        self.vocabulary_bytes = self._vocabulary_bytes()
        self.trains_base = workload.lora is None
        self.trainable: dict[tuple[int, int], int] = {}
        self.linear_bytes = 0
        self.num_linear = 0

    def plan(self) -> Plan:
        """Resolve all layers and what surrounds them."""
        architecture = self.architecture
        runs: list[tuple[Layer, int]] = []
        for index in range(architecture.num_layers):
            layer = self._layer(index)
            if runs and runs[-1][0] == layer:
                runs[-1] = (layer, runs[-1][1] + 1)
            else:
                runs.append((layer, 1))
        embedding_trainable = self.trains_base or self._saves(self.family.embedding)
        num_vocab_weights = architecture.vocab_size * architecture.hidden_size
        head_trainable = self.trains_base or self._saves(self.family.head)
        head = Linear(
            architecture.hidden_size, architecture.vocab_size, self.vocabulary_bytes, trainable=head_trainable
        )
        if not self.trains_base:
            self._train(num_vocab_weights, self.vocabulary_bytes, embedding_trainable + head_trainable)
        if self.trains_base:
            self._train_base()
        elif not self.trainable:
            raise WorkloadError(
                f"none of the target modules {', '.join(self._lora.targets)} exists in "
                f"{architecture.name}; its linear layers are {', '.join(self._names())}"
            )
        matrices = 1 if architecture.tied_embeddings else 2
        num_small = architecture.num_parameters - self.num_linear - matrices * num_vocab_weights
        weights = self.linear_bytes + matrices * num_vocab_weights * self.vocabulary_bytes + num_small * self.norm_bytes
        weights += self._rotary_cache_bytes() + self._mask_buffer_bytes()
        trained_bytes = sum(count * elements * size for (elements, size), count in self.trainable.items())
        return Plan(
            architecture=architecture,
            config={**dict(self.family.defaults), **architecture.config},
            family=self.family,
            stack=self.stack,
            layers=tuple(runs),
            head=head,
            embedding_trainable=embedding_trainable,
            embedding_bytes=self.vocabulary_bytes,
            norm_bytes=self.norm_bytes,
            trains_base=self.trains_base,
            weights_bytes=weights,
            adapter_bytes=0 if self.trains_base else trained_bytes,
            gradient_bytes=trained_bytes,
            trainable=tuple((count, elements, size) for (elements, size), count in self.trainable.items()),
        )

    @property
    def _lora(self) -> Lora:
        lora = self.workload.lora
        if lora is None:
            raise WorkloadError("full fine-tuning has no adapter")
        return lora

    def _norm_bytes(self) -> int:
        """Norms and biases: as loaded, or float32 after `prepare_model_for_kbit_training`."""
        workload = self.workload
        if workload.kbit_prep and workload.quantization is not Quantization.NONE:
            return FLOAT32_BYTES
        return workload.dtype.num_bytes

    def _vocabulary_bytes(self) -> int:
        """Embedding and head: like norms, unless TRL casts them back to bfloat16 (`peft_module_casting_to_bf16`)."""
        if self.stack.casts_vocabulary_back and self.workload.autocast is Dtype.BFLOAT16:
            return self.workload.dtype.num_bytes
        return self._norm_bytes()

    def _rotary_cache_bytes(self) -> int:
        """Cosine and sine tables of every layer for the longest sequence, which older code keeps."""
        if self.architecture.model_type not in self.stack.rotary_caches:
            return 0
        architecture = self.architecture
        table = architecture.max_position_embeddings * architecture.head_dim * self.workload.dtype.num_bytes
        return 2 * table * architecture.num_layers

    def _mask_buffer_bytes(self) -> int:
        """Causal masks of the longest sequence, in every layer, which older code keeps."""
        architecture = self.architecture
        keeps = architecture.model_type in self.stack.mask_buffers
        return architecture.num_layers * architecture.max_position_embeddings**2 if keeps else 0

    def _layer(self, index: int) -> Layer:
        before = self._trained_bytes()
        attention = [self._linear(site) for site in attention_sites(self.architecture, self.family, index)]
        experts = None
        mlp: tuple[Linear, ...] = ()
        if self.architecture.num_experts:
            experts = self._experts(index)
        else:
            mlp = tuple(self._linear(site) for site in mlp_sites(self.architecture, self.family, index))
        gradient_bytes = self._trained_bytes() - before
        if self.trains_base:
            gradient_bytes = self._layer_parameters(attention, mlp, experts) * self.workload.dtype.num_bytes
        return Layer(tuple(attention[:-1]), attention[-1], mlp, experts, gradient_bytes, self._is_masked(index))

    def _is_masked(self, index: int) -> bool:
        if self.workload.is_padded or self.architecture.model_type in self.stack.copies_masks:
            return True
        if masked_window(self.architecture, self.workload.seq_len_tokens) is None:
            return False
        every = self.family.full_attention_every
        return not every or (index + 1) % every != 0

    def _layer_parameters(self, attention: list[Linear], mlp: tuple[Linear, ...], experts: Experts | None) -> int:
        count = sum(linear.num_weights for linear in (*attention, *mlp))
        if experts is not None:
            count += experts.router.num_weights
            count += experts.num_experts * sum(linear.num_weights for linear in experts.per_expert)
            count += sum(linear.num_weights for linear in experts.shared)
        return count

    def _experts(self, index: int) -> Experts:
        architecture, family, config = self.architecture, self.family, self.architecture.config
        fused = self.stack.fused_experts
        hidden = architecture.hidden_size
        width = int(str(config.get("moe_intermediate_size", architecture.intermediate_size)))
        num_experts = architecture.num_experts
        top_k = int(str(config.get("num_experts_per_tok", 2)))
        path = expert_block_path(family, index, fused=fused)
        if fused:
            sites = [
                Site("gate_up_proj", f"{path}.experts.gate_up_proj", hidden, 2 * width),
                Site("down_proj", f"{path}.experts.down_proj", width, hidden),
            ]
            per_expert = tuple(
                Linear(
                    site.in_features,
                    site.out_features,
                    self.norm_bytes,
                    trainable=self.trains_base,
                    num_stacked=num_experts,
                )
                for site in sites
            )
            router = Linear(hidden, num_experts, self.norm_bytes, trainable=self.trains_base)
            count = num_experts * sum(linear.num_weights for linear in per_expert) + router.num_weights
            self.num_linear += count
            self.linear_bytes += count * self.norm_bytes
        else:
            sites = feed_forward_sites(f"{path}.experts.0", hidden, width, family)
            per_expert = tuple(self._linear(site, copies=num_experts) for site in sites)
            router = self._linear(Site("gate", f"{path}.gate", hidden, num_experts))
        adapter = self._expert_adapter(per_expert, router, num_experts) if fused else None
        shared: tuple[Linear, ...] = ()
        gate = None
        if family.shared_expert:
            shared_width = int(str(config.get("shared_expert_intermediate_size", width)))
            shared_sites = feed_forward_sites(f"{path}.shared_expert", hidden, shared_width, family)
            shared = tuple(self._linear(site) for site in shared_sites)
            gate = self._linear(Site("shared_expert_gate", f"{path}.shared_expert_gate", hidden, 1))
        return Experts(router, per_expert, num_experts, top_k, fused, shared, gate, adapter)

    def _expert_adapter(self, per_expert: tuple[Linear, ...], router: Linear, num_experts: int) -> Adapter | None:
        """PEFT gives every fused expert the rank, the joined gate and up projections twice the rank."""
        lora = self.workload.lora
        reaches = self.stack.adapts_fused_experts and self.family.adapts_experts
        if lora is None or not reaches or lora.targets != ("all-linear",):
            return None
        inward, outward = per_expert
        for linear, rank, copies in ((inward, 2 * lora.rank, num_experts), (outward, lora.rank, num_experts)):
            self._train(rank * linear.in_features * copies, self.adapter_size)
            self._train(rank * linear.out_features * copies, self.adapter_size)
        self._train(lora.rank * (router.in_features + router.out_features), self.adapter_size)
        return Adapter(lora.rank, self.adapter_size, False, False)

    def _linear(self, site: Site, copies: int = 1) -> Linear:
        workload = self.workload
        num_weights = site.in_features * site.out_features
        quantization = self.quantization
        self.num_linear += num_weights * copies
        if quantization is Quantization.NONE:
            self.linear_bytes += num_weights * self.norm_bytes * copies
        else:
            self.linear_bytes += copies * quantized_bytes(
                num_weights, site.out_features, quantization, workload.double_quant
            )
        adapter = self._adapter(site, copies)
        saved = not self.trains_base and self._saves(site.name)
        if saved:
            self._train(num_weights, workload.dtype.num_bytes, copies)
        return Linear(
            site.in_features,
            site.out_features,
            self.norm_bytes if quantization is Quantization.NONE else workload.dtype.num_bytes,
            quantization,
            self.trains_base or saved,
            adapter,
        )

    def _adapter(self, site: Site, copies: int) -> Adapter | None:
        lora = self.workload.lora
        if lora is None or not matches(site, lora.targets):
            return None
        rank = lora.rank
        for pattern, value in lora.rank_pattern:
            if re.match(rf"(.*\.)?({pattern})$", site.path):
                rank = value
                break
        self._train(rank * site.in_features, self.adapter_size, copies)
        self._train(rank * site.out_features, self.adapter_size, copies)
        if lora.dora:
            self._train(site.out_features, self.adapter_size, copies)
        return Adapter(rank, self.adapter_size, lora.dropout > 0, lora.dora)

    def _saves(self, name: str) -> bool:
        return self.workload.lora is not None and name in self.workload.lora.modules_to_save

    def _train(self, elements: int, num_bytes: int, copies: int = 1) -> None:
        if not copies:
            return
        key = (elements, num_bytes)
        self.trainable[key] = self.trainable.get(key, 0) + copies

    def _trained_bytes(self) -> int:
        return sum(count * elements * size for (elements, size), count in self.trainable.items())

    def _train_base(self) -> None:
        """Full fine-tuning: linear weights and embeddings one by one, the small rest as one."""
        architecture, num_bytes = self.architecture, self.workload.dtype.num_bytes
        vocabulary = architecture.vocab_size * architecture.hidden_size
        matrices = 1 if architecture.tied_embeddings else 2
        self._train(vocabulary, num_bytes, matrices)
        largest = max(architecture.intermediate_size, architecture.hidden_size) * architecture.hidden_size
        remaining = architecture.num_parameters - matrices * vocabulary
        self._train(largest, num_bytes, remaining // largest)
        self._train(remaining % largest, num_bytes)

    def _names(self) -> list[str]:
        attention = attention_sites(self.architecture, self.family, 0)
        return [site.name for site in (*attention, *mlp_sites(self.architecture, self.family, 0))]
