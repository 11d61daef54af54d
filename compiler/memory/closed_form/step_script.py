"""Derives the script of a step: what it allocates, for any batch size and sequence length."""

from __future__ import annotations

from functools import lru_cache

from kaitoc.compiler.memory.closed_form.model import reference_stream_of, stream_of
from kaitoc.compiler.memory.closed_form.script import Script, ScriptReader
from kaitoc.compiler.memory.closed_form.surroundings import setup_of
from kaitoc.compiler.memory.closed_form.unroll import unroll
from kaitoc.compiler.memory.workload import Workload


@lru_cache(maxsize=256)
def script_of(workload: Workload, *, adds_up: bool = False, is_detailed: bool = False) -> Script:
    """Derive a step's allocations, for any batch size and sequence length.

    `adds_up` is as in `setup_of`. `is_detailed` goes tensor by tensor; every published figure of a single
    step is without it.
    """
    stream, reference = stream_of(workload), reference_stream_of(workload)
    prepare = setup_of(workload, adds_up=adds_up)
    for runs_all_layers in (True,) if workload.offloads_activations else (False, True):
        reader = _reader(is_detailed=is_detailed, runs_all_layers=runs_all_layers)
        prepare(reader)
        reader.step(stream, reference)
        script = unroll(reader.events, reader.runs, reader.num_forward, reader.kept)
        if script is not None:
            return script
    raise RuntimeError("a recording of all layers has no groups that could differ")


def _reader(*, is_detailed: bool, runs_all_layers: bool) -> ScriptReader:
    if not is_detailed:
        return ScriptReader(runs_all_layers=runs_all_layers)
    from kaitoc.compiler.memory.closed_form.detailed_script import DetailedScriptReader  # for lengths that vary alone

    return DetailedScriptReader(runs_all_layers=runs_all_layers)
