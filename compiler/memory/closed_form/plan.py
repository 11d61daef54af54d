"""Resolve a workload into what each layer holds: weights, adapters, trainable parameters, numeric types."""

from __future__ import annotations

import re
from functools import lru_cache
from itertools import groupby

from kaitoc.compiler.catalog.architecture import Architecture, UnknownModelTypeError
from kaitoc.compiler.catalog.families import Family, find_family, masked_window
from kaitoc.compiler.catalog.parameter_count import has_bias
from kaitoc.compiler.catalog.sites import (
    Site,
    attention_sites,
    expert_sites,
    matches,
    mlp_sites,
)
from kaitoc.compiler.core.records import replace
from kaitoc.compiler.memory.closed_form.dtypes import (
    adapter_bytes,
    norm_bytes,
    quantized_bytes,
    table_bytes,
    vocabulary_bytes,
)
from kaitoc.compiler.memory.closed_form.layout import Experts, Layer, Plan
from kaitoc.compiler.memory.closed_form.linear import Adapter, Linear
from kaitoc.compiler.memory.stacks import Stack, find_stack
from kaitoc.compiler.memory.workload import Lora, Quantization, Workload, WorkloadError
from kaitoc.compiler.memory.workload_key import key_of_plan


def plan_for(workload: Workload) -> Plan:
    """Resolve a workload; raises `WorkloadError` for an unknown model type or stack, or for unmatched targets."""
    return _plan(key_of_plan(workload))


@lru_cache(maxsize=256)
def _plan(workload: Workload) -> Plan:
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
        self.norm_bytes = norm_bytes(workload)
        self.vocabulary_bytes = vocabulary_bytes(workload, stack)
        self.trains_base = workload.lora is None
        self.trainable: dict[tuple[int, int], int] = {}
        self.linear_bytes = 0
        self.num_linear = 0

    def plan(self) -> Plan:
        """Resolve all layers and what surrounds them."""
        architecture = self.architecture
        layers = tuple((layer, len(list(same))) for layer, same in groupby(self._layers()))
        embedding_trainable = self.trains_base or self._saves(self.family.embedding)
        num_vocab_weights = architecture.vocab_size * architecture.hidden_size
        head_trainable = self.trains_base or self._saves(self.family.head)
        head = Linear(
            architecture.hidden_size,
            architecture.vocab_size,
            self.vocabulary_bytes,
            trainable=head_trainable,
            is_tied=self.trains_base and architecture.tied_embeddings,
        )
        if not self.trains_base:
            self._train(num_vocab_weights, self.vocabulary_bytes, embedding_trainable + head_trainable)
        embedding_rank = 0 if embedding_trainable else self._embedding_rank()
        self._train(embedding_rank * architecture.vocab_size, self.adapter_size, min(embedding_rank, 1))
        self._train(embedding_rank * architecture.hidden_size, self.adapter_size, min(embedding_rank, 1))
        if self.trains_base:
            self._train_base()
        elif self._lora.targets and not self.trainable:
            raise WorkloadError(
                f"none of the target modules {', '.join(self._lora.targets)} exists in "
                f"{architecture.name}; its linear layers are {', '.join(self._names())}"
            )
        matrices = 1 if architecture.tied_embeddings else 2
        num_small = architecture.num_parameters - self.num_linear - matrices * num_vocab_weights
        weights = self.linear_bytes + matrices * num_vocab_weights * self.vocabulary_bytes + num_small * self.norm_bytes
        weights += table_bytes(self.workload, self.stack)
        trained_bytes = sum(count * elements * size for (elements, size), count in self.trainable.items())
        return Plan(
            architecture=architecture,
            config={**dict(self.family.defaults), **architecture.config},
            family=self.family,
            stack=self.stack,
            layers=layers,
            head=head,
            embedding_trainable=embedding_trainable,
            embedding_bytes=self.vocabulary_bytes,
            embedding_adapter=Adapter(embedding_rank, self.adapter_size, has_dropout=False, dora=False)
            if embedding_rank
            else None,
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

    def _layers(self) -> list[Layer]:
        """Resolve the layers in order; where nothing tells them apart by their paths, the first and its like."""
        count = self.architecture.num_layers
        if self._tells_layers_apart:
            return [self._layer(index) for index in range(count)]
        layer = self._layer(0)
        self.trainable = {tensor: copies * count for tensor, copies in self.trainable.items()}
        self.linear_bytes *= count
        self.num_linear *= count
        by_mask = {is_masked: replace(layer, is_masked=is_masked) for is_masked in (False, True)}
        return [by_mask[self._is_masked(index)] for index in range(count)]

    @property
    def _tells_layers_apart(self) -> bool:
        """Return whether an adapter may concern some layers alone: names without dots end the paths of all alike."""
        lora = self.workload.lora
        return lora is not None and (bool(lora.rank_pattern) or any("." in target for target in lora.targets))

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
        fused = self.stack.fused_experts
        sites = expert_sites(self.architecture, self.family, index, fused=fused)
        if fused:
            per_expert = tuple(self._fused(site, sites.num_experts) for site in sites.per_expert)
            router = self._fused(sites.router, 1)
        else:
            per_expert = tuple(self._linear(site, copies=sites.num_experts) for site in sites.per_expert)
            router = self._linear(sites.router)
        adapter = self._expert_adapter(per_expert, router, sites.num_experts) if fused else None
        shared = tuple(self._linear(site) for site in sites.shared)
        gate = self._linear(sites.shared_gate) if sites.shared_gate is not None else None
        return Experts(router, per_expert, sites.num_experts, sites.top_k, fused, shared, gate, adapter)

    def _fused(self, site: Site, num_stacked: int) -> Linear:
        """Return a parameter of stacked weights, which neither bitsandbytes nor PEFT's module names reach."""
        count = num_stacked * site.in_features * site.out_features
        self.num_linear += count
        self.linear_bytes += count * self.norm_bytes
        return Linear(
            site.in_features,
            site.out_features,
            self.norm_bytes,
            trainable=self.trains_base,
            num_stacked=num_stacked,
        )

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
                site.in_features, site.out_features, quantization, workload.double_quant, workload.group_size
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
            has_bias=has_bias(self.architecture, site.name),
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

    def _embedding_rank(self) -> int:
        """Return the rank of an adapter on the embedding, 0 without one."""
        lora = self.workload.lora
        is_reached = lora is not None and any(
            target.rpartition(".")[2] == self.family.embedding for target in lora.targets
        )
        return lora.rank if lora is not None and is_reached else 0

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
