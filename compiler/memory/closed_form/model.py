"""The whole training step on sizes: embedding, layers, head, loss and backward pass."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

from kaitoc.compiler.catalog.library_changes import LibraryChange, changes
from kaitoc.compiler.core.records import replace
from kaitoc.compiler.memory.closed_form.attention import probability
from kaitoc.compiler.memory.closed_form.dtypes import autocast_bytes, compute_bytes
from kaitoc.compiler.memory.closed_form.effects import Effects
from kaitoc.compiler.memory.closed_form.elementwise import Precision
from kaitoc.compiler.memory.closed_form.head import LossHead
from kaitoc.compiler.memory.closed_form.held import Scope
from kaitoc.compiler.memory.closed_form.layers import Decoder
from kaitoc.compiler.memory.closed_form.layout import Layer, Plan
from kaitoc.compiler.memory.closed_form.linear import Adapter
from kaitoc.compiler.memory.closed_form.op import Part, Stream
from kaitoc.compiler.memory.closed_form.ops import Ops
from kaitoc.compiler.memory.closed_form.plan import plan_for
from kaitoc.compiler.memory.closed_form.scratch import together
from kaitoc.compiler.memory.closed_form.size import FLOAT32_BYTES, INT64_BYTES, ZERO, Size, fixed, per_pair, per_token
from kaitoc.compiler.memory.closed_form.stream import StreamBuilder
from kaitoc.compiler.memory.closed_form.tensor import Tensor
from kaitoc.compiler.memory.sharding.model import Wrap
from kaitoc.compiler.memory.stacks import find_stack
from kaitoc.compiler.memory.workload import Attention, Lora, Reference, Workload
from kaitoc.compiler.memory.workload_key import AWQ_PRODUCT_TOKENS, SORTED_EMBEDDING_TOKENS, key_of_stream

NUM_INPUT_TENSORS = 3
_EMBEDDING_DROPOUTS = {
    "gpt2": ("embd_pdrop",), "gpt_bigcode": ("embd_pdrop",), "phi": ("embd_pdrop",),
    "starcoder2": ("embedding_dropout",), "gpt_neox": ("hidden_dropout",),
}  # fmt: skip
"""The probability of dropping out what is embedded, by the model types whose code does so."""


def stream_of(workload: Workload) -> Stream:
    """Return one training step of a workload, derived once for every batch and sequence length that is like it."""
    return _derive(key_of_stream(workload))


def reference_stream_of(workload: Workload) -> Stream | None:
    """Return the forward pass of the reference, frozen and without adapters; None where a step has none.

    TRL's `DPOTrainer` runs it once the policy's loss is there, without checkpointing (trl/trainer/dpo_trainer.py,
    `_compute_loss`).
    """
    if workload.reference is Reference.NONE:
        return None
    frozen = replace(workload.lora or Lora(), targets=(), modules_to_save=(), dropout=0.0)
    return stream_of(replace(workload, lora=frozen, gradient_checkpointing=False))


@lru_cache(maxsize=16)
def _derive(workload: Workload) -> Stream:
    stream = StreamBuilder()
    model = DecoderModel(stream, Ops(stream, precision_of(workload)), plan_for(workload), workload)
    return stream.stream(model.forward())


def precision_of(workload: Workload) -> Precision:
    """Return the numeric behaviour of a run."""
    stack = find_stack(workload.stack)
    return Precision(
        autocast_bytes(workload.autocast),
        compute_bytes(workload),
        retains_quantized_inputs=stack.retains_quantized_inputs,
        double_quant=workload.double_quant,
        group_size=workload.group_size,
        casts_gptq_input=changes()[LibraryChange.GPTQ_CASTS_INPUT].includes(stack.peft),
        num_sequences=workload.batch_size,
        fills_awq_product=workload.batch_size * workload.seq_len_tokens >= AWQ_PRODUCT_TOKENS,
        recomputes=workload.gradient_checkpointing and not stack.reentrant_checkpointing,
    )


class DecoderModel:
    """The whole model on one stream."""

    def __init__(self, stream: StreamBuilder, ops: Ops, plan: Plan, workload: Workload) -> None:
        self.stream = stream
        self.ops = ops
        self.plan = plan
        self.workload = workload
        self.decoder = Decoder(stream, ops, plan, workload)
        self.head = LossHead(stream, ops, plan, workload)
        self._variables: list[Tensor] = []
        """What variables of the decoder's `forward` hold until it returns."""

    def forward(self) -> Tensor:
        """Return the loss, which the caller sends back."""
        self._inputs()
        self.stream.begin(Part.EMBEDDING)
        hidden = self._positioned(self.embed())
        self._linger(hidden)
        self.stream.begin(Part.LAYERS, hidden)
        for layer, count in self.plan.layers:
            run = self._layer_runner(layer)
            hidden = self.stream.repeat(run, hidden, count, layer.gradient_bytes, layer)
        narrowed = self._autocast_cache()
        self.stream.begin(Part.TAIL, hidden)
        normed = self.decoder.norm(hidden)
        if self.workload.cast_units is Wrap.TAIL:
            normed = self._narrowed(normed)
        self.stream.drop(hidden)
        self.stream.leave(Scope.DECODER)
        self.stream.drop(*self._variables)
        self.stream.enter_loss()
        loss = self.head.run(normed)
        self.stream.drop(*narrowed)
        self.stream.drop_cache()
        return loss

    def _autocast_cache(self) -> list[Tensor]:
        """Half copies of float32 weights in training, which autocast keeps until the forward pass has ended.

        `cached_cast` of `aten/src/ATen/autocast_mode.cpp`; checkpointed layers do not save them. Entered here at once,
        after all layers, although they come with each.
        """
        num_bytes = self.ops.precision.autocast_bytes if self.workload.gradient_checkpointing else None
        if num_bytes is None:
            return []
        return [
            self.stream.new(fixed(layer.num_float32_trained), num_bytes, False)
            for layer, count in self.plan.layers
            for _ in range(count)
        ]

    def _layer_runner(self, layer: Layer) -> Callable[[Tensor], Tensor]:
        def run(hidden: Tensor) -> Tensor:
            return self.decoder.layer(layer, hidden)

        def run_again_later(hidden: Tensor) -> Tensor:
            return self.stream.checkpoint(run, hidden, keeps_output=self.plan.stack.reentrant_checkpointing)

        runner = run_again_later if self.workload.gradient_checkpointing else run
        return runner if self.workload.cast_units is None else lambda hidden: self._narrowed(runner(hidden))

    def _narrowed(self, result: Tensor) -> Tensor:
        """Cast the result of a unit of FSDP2 to the type that weights are put together in."""
        num_bytes = self.ops.precision.autocast_bytes or result.num_bytes
        return self.stream.replace(self.ops.cast(result, num_bytes), result)

    def _inputs(self) -> None:
        """Token ids, labels, masks and the tables of the rotary embedding live through the step."""
        plan, masks = self.plan, self._masks()
        sizes = [per_token(INT64_BYTES)] * NUM_INPUT_TENSORS
        if plan.family.rotary:
            sizes += [Size(per_position=plan.architecture.head_dim * plan.norm_bytes)] * 2
        self.stream.new(sum((*sizes, *masks), ZERO), 1, False, detail=tuple(sizes))

    def _linger(self, hidden: Tensor) -> None:
        """Read tensor by tensor, the mask is a variable of the decoder, which checkpoints keep with their arguments.

        That of eager attention is made from one of truth values (`eager_mask` of transformers' `masking_utils.py`).
        """
        masks = tuple(self._masks())
        if self.decoder.attention.kind is Attention.EAGER:
            self.stream.linger(Scope.STATEMENT, sizes=(per_pair(1),))
        if masks and self.workload.gradient_checkpointing:
            self.stream.new(ZERO, 1, False, detail=masks)
            masks = ()
        self.stream.linger(Scope.DECODER, *(() if self._variables else (hidden,)), sizes=masks)
        self.stream.leave(Scope.STATEMENT)

    def _masks(self) -> list[Size]:
        """Return the size of the mask that the layers share, if there is one."""
        plan, kind = self.plan, self.decoder.attention.kind
        if kind is Attention.EAGER:
            return [per_pair(plan.norm_bytes)]
        if kind is Attention.SDPA and any(layer.is_masked for layer, _ in plan.layers):
            return [per_pair(1 if plan.stack.masks_are_boolean else plan.norm_bytes)]
        return []

    def embed(self) -> Tensor:
        """Look the tokens up; a gradient flows back to the result where training needs one without training it."""
        stream, plan = self.stream, self.plan
        hidden_size = plan.architecture.hidden_size
        num_bytes = plan.architecture.vocab_size * hidden_size * plan.embedding_bytes
        trains = plan.embedding_trainable
        adds = trains and plan.architecture.tied_embeddings and plan.trains_base
        source = stream.new(ZERO, 1, True)
        effects = Effects(
            gradients=(None,) if trains else (),
            parameter_gradients=num_bytes if trains and not adds else 0,
            is_tied=adds,
            backward_pieces=together(
                *([fixed(num_bytes)] if adds else ()), *(self._embedding_sums() if trains else ())
            ),
        )
        hidden = stream.apply([source] if trains else [], per_token(hidden_size), plan.embedding_bytes, effects)
        if plan.embedding_adapter is not None:
            hidden = self._adapted_embedding(source, hidden, plan.embedding_adapter)
        if self.workload.gradient_checkpointing or self.workload.kbit_prep:
            hidden = stream.require_grad(hidden)
            if not trains:
                stream.leaf(hidden)
            if self.workload.loaded_dtype is not None and not (trains or self.workload.gradient_checkpointing):
                stream.hold(hidden)  # a leaf of the graph; elsewhere a float32 norm or the checkpoint saves it anyway
        if plan.family.scales_embedding:
            scaled = self.ops.copy(hidden)
            if trains or not plan.family.scales_outside_embedding:
                stream.drop(hidden)
            return scaled
        return hidden

    def _positioned(self, hidden: Tensor) -> Tensor:
        """Add learned positions, of one row, and drop out what goes into the first layer; `inputs_embeds` stays.

        Adapters' runs on stacks that checkpoint reentrantly were measured without either (santacoder in 4 bit on
        transformers 4.45 and 4.48), for which no reason was found.
        """
        stream, plan, given = self.stream, self.plan, hidden
        if plan.stack.reentrant_checkpointing and not plan.trains_base:
            return given
        if plan.family.positions:
            hidden = self.ops.add(given, self._positions(given.elements.per_token))
        if probability(plan.config, *_EMBEDDING_DROPOUTS.get(plan.architecture.model_type, ())):
            dropped = self.ops.dropout(hidden)
            hidden = dropped if hidden is given else stream.replace(dropped, hidden)
        if hidden is not given:
            self._variables.append(given)
            if given.needs_grad and not plan.embedding_trainable:
                stream.hold(given)  # a leaf of the graph, as in `embed`
        return hidden

    def _positions(self, hidden_size: int) -> Tensor:
        stream, plan = self.stream, self.plan
        table_bytes = plan.architecture.max_position_embeddings * hidden_size * plan.norm_bytes
        source = stream.new(ZERO, 1, plan.trains_base)
        looks_up = Effects(gradients=(None,), parameter_gradients=table_bytes if plan.trains_base else 0)
        positions = stream.apply([source], Size(per_position=hidden_size), plan.norm_bytes, looks_up)
        self._variables.append(positions)
        return positions

    def _adapted_embedding(self, source: Tensor, hidden: Tensor, adapter: Adapter) -> Tensor:
        """PEFT's `Embedding`: rows of a table as narrow as the rank, widened, scaled and added to the frozen rows."""
        stream, architecture = self.stream, self.plan.architecture
        size = adapter.rank * adapter.num_bytes
        looks_up = Effects(gradients=(None,), parameter_gradients=size * architecture.vocab_size)
        narrow = stream.apply([source], per_token(adapter.rank), adapter.num_bytes, looks_up)
        widens = Effects(saves=(narrow,), parameter_gradients=size * architecture.hidden_size)
        wide = stream.apply([narrow], hidden.elements, adapter.num_bytes, widens)
        stream.drop(narrow)
        scaled = stream.replace(self.ops.copy(wide), wide)
        total = self.ops.add(hidden, scaled)
        stream.drop(scaled, hidden)
        return stream.replace(self.ops.cast(total, hidden.num_bytes), total)

    def _embedding_sums(self) -> tuple[Size, ...]:
        """Partial sums per word of an embedding's gradient, in float32, and those of long runs of one word.

        `grad_weight_per_segment` of `EmbeddingBackwardKernel.cu`: a row per word that occurs, and one per ten tokens
        (`NROWS_PER_THREAD`). Every token is taken to be another word, as far as there are words.
        """
        architecture = self.plan.architecture
        num_tokens = self.workload.batch_size * self.workload.seq_len_tokens
        if num_tokens < SORTED_EMBEDDING_TOKENS:
            return ()
        row_bytes = architecture.hidden_size * FLOAT32_BYTES
        has_all_words = num_tokens > architecture.vocab_size
        words = fixed(architecture.vocab_size * row_bytes) if has_all_words else per_token(row_bytes)
        return words, per_token(row_bytes // 10)

    def _enables_input_grads(self) -> bool:
        return self.workload.kbit_prep
