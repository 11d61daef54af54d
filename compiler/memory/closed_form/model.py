"""The whole training step on sizes: embedding, layers, head, loss and the way back."""

from __future__ import annotations

from collections.abc import Callable

from kaitoc.compiler.core.records import dataclass
from kaitoc.compiler.memory.closed_form.dtypes import autocast_bytes, compute_bytes
from kaitoc.compiler.memory.closed_form.elementwise import FLOAT32_BYTES, Precision
from kaitoc.compiler.memory.closed_form.layers import Decoder
from kaitoc.compiler.memory.closed_form.loss import LossChunk
from kaitoc.compiler.memory.closed_form.ops import Ops
from kaitoc.compiler.memory.closed_form.plan import Layer, Plan, plan_for
from kaitoc.compiler.memory.closed_form.size import ZERO, Size, fixed, per_pair, per_token
from kaitoc.compiler.memory.closed_form.tape import Tape, phase
from kaitoc.compiler.memory.closed_form.value import Kind, Moment, Value
from kaitoc.compiler.memory.result import Phase
from kaitoc.compiler.memory.stacks import find_stack
from kaitoc.compiler.memory.workload import Attention, Loss, Workload
from kaitoc.compiler.memory.workload_key import SORTED_EMBEDDING_TOKENS, TILE_TOKENS

INT64_BYTES = 8
NUM_INPUT_TENSORS = 3
TILE_WORDS = 32768
NUM_TILE_STATISTICS = 8


@dataclass(frozen=True, slots=True)
class Step:
    """The moments of a step that can be its peak, per phase, on top of the resident state."""

    moments: dict[Phase, tuple[Moment, ...]]


def derive_step(workload: Workload, plan: Plan) -> Step:
    """Run one training step of the plan on sizes; batch and sequence length stay symbolic."""
    tape = Tape()
    model = _Model(tape, Ops(tape, precision_of(workload)), plan, workload)
    loss = model.forward()
    with phase(tape, Phase.BACKWARD):
        tape.seed(loss, fixed(FLOAT32_BYTES))
        tape.backward()
        tape.mark()
    return Step({name: tuple(moments) for name, moments in tape.moments.items()})


def precision_of(workload: Workload) -> Precision:
    """Return the numeric behaviour of a run."""
    return Precision(
        autocast_bytes(workload.autocast),
        compute_bytes(workload),
        retains_quantized_inputs=find_stack(workload.stack).retains_quantized_inputs,
    )


def saved_bytes(workload: Workload) -> int:
    """Return what the forward pass leaves for the backward pass: saved tensors and the step's inputs."""
    tape, plan = Tape(), plan_for(workload)
    _Model(tape, Ops(tape, precision_of(workload)), plan, workload).forward()
    return sum(size.at(workload.batch_size, workload.seq_len_tokens) for size in tape.live)


def replay_step(workload: Workload, plan: Plan, tape: Tape, ops: Ops | None = None) -> None:
    """Run one training step on a given tape, forward and backward; `ops` are the tape's own where it has some."""
    loss = _Model(tape, ops or Ops(tape, precision_of(workload)), plan, workload).forward()
    tape.seed(loss, fixed(FLOAT32_BYTES))
    tape.backward()


class _Model:
    def __init__(self, tape: Tape, ops: Ops, plan: Plan, workload: Workload) -> None:
        self.tape = tape
        self.ops = ops
        self.plan = plan
        self.workload = workload
        self.decoder = Decoder(tape, ops, plan, workload)

    def forward(self) -> Value:
        """Return the loss, which the caller sends back."""
        self._inputs()
        hidden = self._embed()
        for layer, count in self.plan.layers:
            run = self._layer_runner(layer)
            hidden = self.tape.repeat(run, hidden, count, layer.gradient_bytes)
        narrowed = self._autocast_cache()
        normed = self.decoder.norm(hidden)
        self.tape.drop(hidden)
        cache = self._kept_cache()
        with phase(self.tape, Phase.LOSS):
            loss = self._loss(normed)
        self.tape.drop(*cache, *narrowed)
        return loss

    def _autocast_cache(self) -> list[Value]:
        """Half copies of float32 weights in training, which autocast keeps until the forward pass has ended.

        `cached_cast` of `aten/src/ATen/autocast_mode.cpp`; checkpointed layers do not save them. Entered here at once,
        after all layers, although they come with each.
        """
        num_bytes = self.ops.precision.autocast_bytes if self.workload.gradient_checkpointing else None
        if num_bytes is None:
            return []
        return [
            self.tape.new(fixed(layer.num_float32_trained), num_bytes, False)
            for layer, count in self.plan.layers
            for _ in range(count)
        ]

    def _kept_cache(self) -> list[Value]:
        """Fused projections that the key-value cache's views keep alive until the model's outputs are dropped."""
        plan = self.plan
        keeps = plan.family.caches_when_checkpointing and plan.stack.own_losses and self.workload.gradient_checkpointing
        if not keeps:
            return []
        return [
            self.tape.new(per_token(linear.out_features), self.decoder.attention.projection_bytes, False)
            for layer, count in plan.layers
            for linear in layer.attention * count
        ]

    def _layer_runner(self, layer: Layer) -> Callable[[Value], Value]:
        def run(hidden: Value) -> Value:
            return self.decoder.layer(layer, hidden)

        if not self.workload.gradient_checkpointing:
            return run
        reentrant = self.plan.stack.reentrant_checkpointing
        return lambda hidden: self.tape.checkpoint(run, hidden, keeps_output=reentrant)

    def _inputs(self) -> None:
        """Token ids, labels, masks and the tables of the rotary embedding live through the step."""
        tape, architecture = self.tape, self.plan.architecture
        size = per_token(NUM_INPUT_TENSORS * INT64_BYTES)
        if self.plan.family.rotary:
            size = size.plus(Size(0, 0, 0, 2 * architecture.head_dim * self.plan.norm_bytes))
        if self.decoder.attention.kind is Attention.EAGER:
            size = size.plus(per_pair(self.plan.norm_bytes))
        elif self.decoder.attention.kind is Attention.SDPA and any(layer.is_masked for layer, _ in self.plan.layers):
            size = size.plus(per_pair(1 if self.plan.stack.masks_are_boolean else self.plan.norm_bytes))
        tape.new(size, 1, False)

    def _embed(self) -> Value:
        tape, plan = self.tape, self.plan
        hidden_size = plan.architecture.hidden_size
        num_bytes = plan.architecture.vocab_size * hidden_size * plan.embedding_bytes
        trains = plan.embedding_trainable
        adds = trains and plan.architecture.tied_embeddings and plan.trains_base
        source = tape.new(ZERO, 1, True)
        hidden = tape.apply(
            [source] if trains else [],
            per_token(hidden_size),
            plan.embedding_bytes,
            grads=[None] if trains else [],
            parameter_gradients=num_bytes if trains and not adds else 0,
            backward_temporary=(fixed(num_bytes) if adds else ZERO).plus(self._embedding_sums() if trains else ZERO),
        )
        hidden.needs_grad = trains or self.workload.gradient_checkpointing or self._enables_input_grads()
        if plan.family.scales_embedding:
            scaled = self.ops.copy(hidden)
            if trains or not plan.family.scales_outside_embedding:
                tape.drop(hidden)
            return scaled
        return hidden

    def _embedding_sums(self) -> Size:
        """Partial sums per word of an embedding's gradient, in float32, and those of long runs of one word.

        `grad_weight_per_segment` of `EmbeddingBackwardKernel.cu`: a row per word that occurs, and one per ten tokens
        (`NROWS_PER_THREAD`). Every token is taken to be another word, as far as there are words.
        """
        architecture = self.plan.architecture
        num_tokens = self.workload.batch_size * self.workload.seq_len_tokens
        if num_tokens < SORTED_EMBEDDING_TOKENS:
            return ZERO
        row_bytes = architecture.hidden_size * FLOAT32_BYTES
        has_all_words = num_tokens > architecture.vocab_size
        words = fixed(architecture.vocab_size * row_bytes) if has_all_words else per_token(row_bytes)
        return words.plus(per_token(row_bytes // 10))

    def _enables_input_grads(self) -> bool:
        return self.workload.kbit_prep

    def _loss(self, normed: Value) -> Value:
        if self.workload.loss is Loss.CHUNKED:
            return self._chunked_loss(normed)
        if self.workload.loss is Loss.FUSED:
            return self._fused_loss(normed)
        tape, ops, plan = self.tape, self.ops, self.plan
        logits = ops.linear(normed, plan.head)
        tape.relabel(logits, Kind.LOGITS)
        if plan.family.scales_logits:
            logits = self.tape.replace(ops.copy(logits), logits)
        if plan.config.get("final_logit_softcapping") is not None:
            logits = self.tape.replace(ops.copy(logits), logits)
            logits = self.tape.replace(ops.unary(logits, saves_input=False, saves_output=True), logits)
            logits = self.tape.replace(ops.copy(logits), logits)
        own_loss = plan.family.own_loss and plan.stack.own_losses
        if plan.stack.widens_logits_in_model and not own_loss:
            logits = self.tape.replace(ops.cast(logits, FLOAT32_BYTES), logits)
        wide = tape.hold(logits) if own_loss else ops.cast(logits, FLOAT32_BYTES)
        shifted = ops.copy(wide) if plan.stack.copies_shifted_logits else tape.hold(wide)
        given = ops.cast(shifted, FLOAT32_BYTES) if self.workload.autocast else tape.hold(shifted)
        log_probabilities = tape.apply([given], given.elements, given.num_bytes, saves_output=True, kind=Kind.LOGITS)
        tape.drop(given)
        loss = tape.apply([log_probabilities], fixed(1), FLOAT32_BYTES)
        tape.drop(log_probabilities, shifted, wide, logits, normed)
        return loss

    def _chunked_loss(self, normed: Value) -> Value:
        """TRL 1.7 to 1.14 (`_chunked_cross_entropy_loss`): checkpointed chunks of 256 tokens.

        Tokens are copied once to drop the last position, which a single sequence needs no copy for, and once to put
        valid ones first. Every chunk's gradient is padded to all tokens and added up.
        """
        tape, is_single = self.tape, self.workload.batch_size == 1
        chunk = LossChunk.of(
            self.plan.head, normed.num_bytes, self.ops.precision.autocast_bytes,
            softcap=self.plan.config.get("final_logit_softcapping") is not None,
        )  # fmt: skip
        shifted = tape.view(normed, normed.elements) if is_single else self.ops.copy(normed)
        packed = self.tape.replace(self.ops.copy(shifted), shifted)
        tape.drop(normed)
        parts = self.tape.replace(tape.view(packed, packed.elements), packed)
        return self._loss_over(parts, fixed(chunk.forward_bytes), fixed(chunk.backward_bytes))

    def _fused_loss(self, normed: Value) -> Value:
        """TRL 1.15 and later (`ChunkedLogProbFunction`): tiles of 4,096 tokens by 32,768 words, statistics per token.

        The backward pass gathers the hidden states' gradient in float32 and narrows it at the end.
        """
        head = self.plan.head
        width = min(TILE_WORDS, head.out_features)
        tile_bytes = self.ops.precision.autocast_bytes or normed.num_bytes
        fills_tile = self.workload.batch_size * self.workload.seq_len_tokens >= TILE_TOKENS
        tile = fixed(TILE_TOKENS * width * tile_bytes) if fills_tile else per_token(width * tile_bytes)
        if head.weight_bytes != tile_bytes:
            tile = tile.plus(fixed(width * head.in_features * tile_bytes))
        valid = self.tape.replace(self.ops.copy(normed), normed)
        statistics = per_token(NUM_TILE_STATISTICS * FLOAT32_BYTES)
        narrowed = fixed(head.num_weights * FLOAT32_BYTES) if head.trainable else ZERO
        backward = tile.plus(valid.elements.times(FLOAT32_BYTES)).plus(narrowed)
        return self._loss_over(valid, tile.plus(statistics), backward)

    def _loss_over(self, given: Value, forward: Size, backward: Size) -> Value:
        """Return a loss that keeps its input and computes logits only in scratch memory, both ways."""
        head = self.plan.head
        trained = head.num_weights if head.trainable else 0
        loss = self.tape.apply(
            [given],
            fixed(1),
            FLOAT32_BYTES,
            saves=[given],
            forward_temporary=forward,
            backward_temporary=backward,
            parameter_gradients=trained * head.weight_bytes,
        )
        self.tape.drop(given)
        return loss
