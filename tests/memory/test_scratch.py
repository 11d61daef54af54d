"""Scratch memory that an operation takes tensor by tensor."""

from __future__ import annotations

from dataclasses import replace

import pytest

from kaitoc.compiler.catalog.model_config import from_config
from kaitoc.compiler.memory.allocator.caching import CachingAllocator
from kaitoc.compiler.memory.allocator.sizes import AllocatorSettings
from kaitoc.compiler.memory.closed_form.detailed_script import DetailedScriptReader
from kaitoc.compiler.memory.closed_form.loss import ChunkedLoss
from kaitoc.compiler.memory.closed_form.model import stream_of
from kaitoc.compiler.memory.closed_form.plan import plan_for
from kaitoc.compiler.memory.closed_form.scratch import NOTHING, LastChunk, Piece, Scratch, in_turn, most, together
from kaitoc.compiler.memory.closed_form.script import ScriptReader
from kaitoc.compiler.memory.closed_form.size import ZERO, fixed, per_token
from kaitoc.compiler.memory.closed_form.step_script import script_of
from kaitoc.compiler.memory.closed_form.unroll import unroll
from kaitoc.compiler.memory.workload import Lora, Loss, Workload
from kaitoc.compiler.memory.workload_key import CHUNK_TOKENS, key_of_step

TINY = from_config(
    "tiny",
    {
        "model_type": "llama", "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2,
        "num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": 500, "max_position_embeddings": 2048,
    },
)  # fmt: skip
STEP = Workload(TINY, Lora(), 2, 300, "trl-1.12", loss=Loss.CHUNKED, gradient_checkpointing=True)


def test_most_is_taken_where_most_tensors_are_there() -> None:
    scratch = Scratch()
    first, second = scratch.take(fixed(10)), scratch.take(fixed(20))
    scratch.give_up(first)
    third = scratch.take(fixed(5))
    scratch.give_up(second, third)
    scratch.take(fixed(8))

    assert scratch.pieces() == (Piece(fixed(10), 2), Piece(fixed(20), 3), Piece(fixed(5), 3), Piece(fixed(8)))
    assert most(scratch.pieces()) == fixed(30)


def test_a_tensor_of_no_bytes_is_none_and_one_ends_once() -> None:
    scratch = Scratch()
    assert scratch.take(ZERO) == NOTHING
    number = scratch.take(fixed(1))
    scratch.give_up(number, NOTHING)
    scratch.take(fixed(2))
    scratch.give_up(number)

    assert scratch.pieces() == (Piece(fixed(1), 1), Piece(fixed(2)))


def test_tensors_that_stay_together_add_up() -> None:
    assert most(together(per_token(4), fixed(100))) == per_token(4) + fixed(100)


def test_turns_come_one_after_the_other() -> None:
    turn = (Piece(fixed(4), 1), Piece(fixed(6), 2))

    assert in_turn(turn, turn) == (*turn, Piece(fixed(4), 3), Piece(fixed(6), 4))
    assert most(in_turn(turn, turn)) == fixed(6)


@pytest.mark.parametrize(("batch_size", "seq_len_tokens", "num_tokens"), [(2, 129, 256), (2, 130, 2), (1, 101, 100)])
def test_the_last_chunk_has_what_the_others_leave(batch_size: int, seq_len_tokens: int, num_tokens: int) -> None:
    assert LastChunk(10, CHUNK_TOKENS).at(batch_size, seq_len_tokens) == 10 * num_tokens


def test_a_full_last_chunk_is_like_the_others() -> None:
    head = plan_for(STEP).head
    chunk = ChunkedLoss(head, 2, None, True, has_softcap=True)
    last = replace(chunk, num_tokens=LastChunk(1, CHUNK_TOKENS))

    for pieces, of_last in ((chunk.forward(), last.forward()), (chunk.backward(), last.backward())):
        assert [piece.largest for piece in of_last] == [piece.size for piece in pieces]
        assert [piece.until for piece in of_last] == [piece.until for piece in pieces]


class WholeRecomputation(DetailedScriptReader):
    """Computes all of a checkpoint again."""

    def _stop_early(self) -> None:
        pass


def most_live(reader: ScriptReader) -> int:
    reader.step(stream_of(key_of_step(STEP)))
    script = unroll(reader.events, reader.runs, reader.num_forward, reader.kept)
    assert script is not None
    allocator = CachingAllocator(AllocatorSettings())
    script.replay(allocator, STEP.batch_size, STEP.seq_len_tokens)
    return allocator.peak_allocated_bytes


def test_a_checkpoint_is_computed_again_once_a_saved_tensor_is_asked_for() -> None:
    """What the output's gradient passes through before that is there first, so that more is live at the peak."""
    assert most_live(WholeRecomputation(runs_all_layers=True)) > most_live(ScriptReader(runs_all_layers=True))


def test_a_checkpoint_is_computed_again_no_further_than_its_last_saved_tensor() -> None:
    assert most_live(DetailedScriptReader()) < most_live(WholeRecomputation())


def test_gradients_are_added_up_and_given_up_each_as_soon_as_it_is_complete() -> None:
    num_gradients = TINY.num_layers * 7 * 2
    alone, added = (script_of(key_of_step(STEP), adds_up=adds_up) for adds_up in (False, True))

    assert len(alone.gradients) - len(added.gradients) == num_gradients
    assert len(added.operations) - len(alone.operations) == num_gradients
