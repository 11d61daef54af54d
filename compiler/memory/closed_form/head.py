"""The output layer and the loss: full logits, logits in chunks that are computed again, and fused kernels."""

from __future__ import annotations

from kaitoc.compiler.core.records import replace
from kaitoc.compiler.memory.closed_form.detail import NO_DETAIL, Detail
from kaitoc.compiler.memory.closed_form.effects import Effects
from kaitoc.compiler.memory.closed_form.kernel import Group, Kernel, Launch, launch, traffic
from kaitoc.compiler.memory.closed_form.layout import Plan
from kaitoc.compiler.memory.closed_form.loss import ChunkedLoss
from kaitoc.compiler.memory.closed_form.op import HANDED_ON, Part
from kaitoc.compiler.memory.closed_form.ops import Ops
from kaitoc.compiler.memory.closed_form.product import MatrixProduct
from kaitoc.compiler.memory.closed_form.scratch import LastChunk, Piece, in_turn, most, together
from kaitoc.compiler.memory.closed_form.size import FLOAT32_BYTES, INT64_BYTES, ZERO, Size, fixed, per_token
from kaitoc.compiler.memory.closed_form.stream import StreamBuilder
from kaitoc.compiler.memory.closed_form.tensor import Kind, Tensor
from kaitoc.compiler.memory.workload import Loss, Workload
from kaitoc.compiler.memory.workload_key import (
    CHUNK_TOKENS,
    TILE_TOKENS,
    has_chunks,
    liger_chunk_tokens,
    liger_parts,
    num_scored_tokens,
    scores_last,
)

TILE_WORDS = 32768
NUM_TILE_STATISTICS = 8
CHUNK_LOGIT_BYTES = 18
CHUNK_LOGIT_BACKWARD_BYTES = 26
FUSED_LOGIT_BYTES = 6
"""Bytes per logit that the kernels after the product move: widened 6, log-softmax in float32 12, its backward with the
zeros that the loss fills 20, narrowed 6. The fused kernel reads twice and writes once in half precision."""


class LossHead:
    """The output layer with its loss on one stream."""

    def __init__(self, stream: StreamBuilder, ops: Ops, plan: Plan, workload: Workload) -> None:
        self.stream = stream
        self.ops = ops
        self.plan = plan
        self.workload = workload

    def run(self, normed: Tensor) -> Tensor:
        """Compute the loss by the implementation of the workload; drops `normed`."""
        if self.workload.loss is Loss.CHUNKED:
            return self._chunked(normed)
        if self.workload.loss is Loss.FUSED:
            return self._fused(normed)
        if self.workload.loss is Loss.LIGER:
            return self._liger(normed)
        if self.workload.loss is Loss.CCE:
            return self._cut(normed)
        return self._full(normed)

    def _full(self, normed: Tensor) -> Tensor:
        """Widen and shift the logits as the stack does, and take PyTorch's cross-entropy of them.

        Rows of logits do not fit the shared memory of a block, so that log-softmax passes over them once more for
        their sum, both ways (`SoftMax.cu`, `cunn_SoftMaxForward`, `cunn_SoftMaxBackward`).
        """
        stream, ops, plan = self.stream, self.ops, self.plan
        logits = self._logits(normed)
        own_loss = plan.family.own_loss and plan.stack.own_losses
        if plan.stack.widens_logits_in_model and not own_loss:
            logits = stream.replace(ops.cast(logits, FLOAT32_BYTES), logits)
        if self.workload.holds_outputs:
            stream.keep(logits)
        wide = stream.hold(logits) if own_loss else ops.cast(logits, FLOAT32_BYTES)
        shifted = ops.copy(wide) if plan.stack.copies_shifted_logits else stream.hold(wide)
        given = ops.cast(shifted, FLOAT32_BYTES) if self.workload.autocast else stream.hold(shifted)
        effects = Effects(saves_output=True, kind=Kind.LOGITS, reads_again=given.size)
        log_probabilities = stream.apply([given], given.elements, given.num_bytes, effects)
        stream.drop(given)
        loss = stream.apply([log_probabilities], fixed(1), FLOAT32_BYTES)
        stream.drop(log_probabilities, shifted, wide, logits, normed)
        return loss

    def _logits(self, normed: Tensor) -> Tensor:
        """Take the head's product, scaled and soft-capped where the family does so."""
        stream, ops, plan = self.stream, self.ops, self.plan
        logits = stream.relabel(ops.linear(normed, plan.head, Group.HEAD), Kind.LOGITS)
        stream.begin(Part.LOGITS, logits)
        if plan.family.scales_logits:
            logits = stream.replace(ops.copy(logits), logits)
        return ops.softcapped(logits) if self._has_softcap else logits

    def _chunked(self, normed: Tensor) -> Tensor:
        """TRL 1.7 to 1.14 (`_chunked_cross_entropy_loss`): checkpointed chunks of 256 tokens.

        Tokens are copied once to drop the last position, which a single sequence needs no copy for, and once to put
        valid ones first. Every chunk's gradient is padded to all tokens and added up; that of an only one comes when
        all else is over. Each chunk's logits are computed again going back. Variables hold the hidden states through
        the loss.
        """
        stream, is_single = self.stream, self.workload.batch_size == 1
        widens_head, autocast_bytes = self.plan.stack.widens_chunked_head, self.ops.precision.autocast_bytes
        chunk = ChunkedLoss(self.plan.head, normed.num_bytes, autocast_bytes, widens_head, self._has_softcap)
        shifted = stream.view(normed, normed.elements) if is_single else self.ops.copy(normed)
        packed = stream.replace(self.ops.copy(shifted), shifted)
        parts = stream.replace(stream.view(packed, packed.elements), packed)
        product = self._product()
        logits = (product.output(), self._per_logit(CHUNK_LOGIT_BYTES))
        backward = launch(*logits, self._per_logit(CHUNK_LOGIT_BACKWARD_BYTES), *self._gradients(product))
        if not has_chunks(self.workload):
            only = replace(chunk, num_tokens=per_token(1) - fixed(self.workload.batch_size))
            pieces = only.forward(), only.backward()
            loss = self._over(parts, *pieces, launch(*logits), backward, scratch_first=True)
            return stream.replace(loss, normed)
        last = replace(chunk, num_tokens=LastChunk(1, CHUNK_TOKENS))
        pieces = in_turn(chunk.forward(), last.forward()), last.backward()
        later = chunk.backward(is_added=True)
        loss = self._over(parts, *pieces, launch(*logits), backward, later)
        return stream.replace(loss, normed)

    def _fused(self, normed: Tensor) -> Tensor:
        """TRL 1.15 and later (`ChunkedLogProbFunction`): tiles of 4,096 tokens by 32,768 words, statistics per token.

        The forward pass takes the logits' gradient at once; the backward pass gathers gradients in float32 and narrows
        them at the end, which hands on as they are those of float32 hidden states and of a float32 head (`Tensor.to`).
        """
        head = self.plan.head
        width = min(TILE_WORDS, head.out_features)
        tile_bytes = self.ops.precision.autocast_bytes or normed.num_bytes
        fills_tile = self.workload.batch_size * self.workload.seq_len_tokens >= TILE_TOKENS
        tile = fixed(TILE_TOKENS * width * tile_bytes) if fills_tile else per_token(width * tile_bytes)
        valid = self.ops.copy(normed)
        statistics = (per_token(FLOAT32_BYTES),) * NUM_TILE_STATISTICS
        tile_pieces = [tile]
        if normed.num_bytes != tile_bytes:
            rows = tile.scaled(head.in_features, width)
            tile_pieces.append(rows)
        if head.weight_bytes != tile_bytes:
            tile_pieces.append(fixed(width * head.in_features * tile_bytes))
        gathered = [(valid.elements, valid.num_bytes)]
        if head.trainable:
            gathered.append((fixed(head.num_weights), head.weight_bytes))
        wide = [elements * FLOAT32_BYTES for elements, num_bytes in gathered if num_bytes != FLOAT32_BYTES]
        product = self._product()
        forward = launch(product.output(), self._per_logit(FUSED_LOGIT_BYTES), *self._gradients(product))
        pieces = together(*statistics, *tile_pieces), together(*wide, *tile_pieces)
        loss = self._over(valid, *pieces, forward, None, detail=Detail(gradients_first=not wide))
        return self.stream.replace(loss, normed)

    def _liger(self, normed: Tensor) -> Tensor:
        """Liger Kernel's fused linear cross-entropy, as its patched models call it (`closed_form/liger.py`)."""
        from kaitoc.compiler.memory.closed_form.liger import LigerLoss  # for few runs

        workload, head = self.workload, self.plan.head
        loss = LigerLoss(workload.liger_version, head, normed.num_bytes, self.ops.precision.autocast_bytes)
        is_copied = loss.copies_hidden and workload.batch_size > 1
        given = self.ops.copy(normed) if is_copied else self.stream.hold(normed)
        product = self._product()
        effects = Effects(
            computes=(given.size, *([fixed(loss.saved_bytes)] if loss.saved_bytes else ())),
            gradients=(HANDED_ON,),
            forward_pieces=loss.pieces(*self._liger_chunks()),
            parameter_gradients=head.num_weights * head.weight_bytes if head.trainable else 0,
            is_tied=head.is_tied,
            forward=launch(product.output(), self._per_logit(FUSED_LOGIT_BYTES), *self._gradients(product)),
            backward=launch(traffic(Group.HEAD, given.size * 2)),
        )
        result = self.stream.apply([given], fixed(1), FLOAT32_BYTES, effects)
        self.stream.drop(given, normed)
        return result

    def _liger_chunks(self) -> tuple[Size | LastChunk, ...]:
        """Return the tokens of Liger's first two chunks and of the last one."""
        architecture, num_tokens = self.plan.architecture, num_scored_tokens(self.workload)
        num_unscored = 0 if scores_last(self.workload) else 1
        scored = per_token(1) - fixed(self.workload.batch_size * num_unscored)
        chunk_tokens = liger_chunk_tokens(architecture, num_tokens)
        if liger_parts(architecture) == 1:
            return (scored,)
        chunk = fixed(chunk_tokens)
        if num_tokens <= 2 * chunk_tokens:
            return chunk, scored - chunk
        return chunk, chunk, LastChunk(1, chunk_tokens, num_unscored)

    def _cut(self, normed: Tensor) -> Tensor:
        """Apple's cut cross-entropy (`cut_cross_entropy/cce.py` and `cce_backward.py`, 25.1.1), labels shifted by it.

        It computes logits in registers, both ways, and keeps a float32 sum per token, the valid positions in int64,
        and a float32 mean per word. Going back sorts the words by that mean, counts locks in int32 per token and word,
        and takes the head's gradient in the hidden states' type.
        """
        head, num_words = self.plan.head, self.plan.head.out_features
        product = self._product()
        narrow = head.num_weights * normed.num_bytes if head.trainable and head.weight_bytes != normed.num_bytes else 0
        effects = Effects(
            saves=(normed,),
            saves_size=per_token(FLOAT32_BYTES + INT64_BYTES) + fixed(num_words * FLOAT32_BYTES),
            forward_temporary=per_token(FLOAT32_BYTES),
            backward_temporary=per_token(FLOAT32_BYTES) + fixed(narrow + num_words * 2 * FLOAT32_BYTES),
            parameter_gradients=head.num_weights * head.weight_bytes if head.trainable else 0,
            is_tied=head.is_tied,
            forward=launch(product.output()),
            backward=launch(product.output(), *self._gradients(product)),
        )
        return self.stream.replace(self.stream.apply([normed], fixed(1), FLOAT32_BYTES, effects), normed)

    def _over(
        self,
        given: Tensor,
        forward_pieces: tuple[Piece, ...],
        backward_pieces: tuple[Piece, ...],
        forward: Launch,
        backward: Launch | None,
        later_pieces: tuple[Piece, ...] = (),
        detail: Detail = NO_DETAIL,
        *,
        scratch_first: bool = False,
    ) -> Tensor:
        """Return a loss that keeps its input and computes logits only in scratch memory, both ways."""
        head = self.plan.head
        effects = Effects(
            saves=(given,),
            forward_pieces=forward_pieces,
            backward_pieces=backward_pieces,
            later_pieces=later_pieces,
            scratch_first=scratch_first,
            detail=detail,
            backward_temporary=most(later_pieces) - most(backward_pieces) if later_pieces else ZERO,
            parameter_gradients=head.num_weights * head.weight_bytes if head.trainable else 0,
            is_tied=head.is_tied,
            forward=forward,
            backward=backward,
        )
        return self.stream.replace(self.stream.apply([given], fixed(1), FLOAT32_BYTES, effects), given)

    @property
    def _has_softcap(self) -> bool:
        return self.plan.config.get("final_logit_softcapping") is not None

    def _product(self) -> MatrixProduct:
        head = self.plan.head
        num_bytes = self.ops.precision.autocast_bytes or head.weight_bytes
        return MatrixProduct(Group.HEAD, per_token(head.in_features), head.in_features, head.out_features, num_bytes)

    def _gradients(self, product: MatrixProduct) -> list[Kernel]:
        """Return the products of the gradients of the hidden states, and of the weight where it is trained."""
        return [product.input_gradient(), *([product.weight_gradient()] if self.plan.head.trainable else [])]

    def _per_logit(self, num_bytes: int) -> Kernel:
        return traffic(Group.HEAD, per_token(self.plan.head.out_features * num_bytes))
