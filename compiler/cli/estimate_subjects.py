"""The fine-tunes that `kaitoc estimate` is asked about: those of manifests, or the one that options describe."""

from __future__ import annotations

from collections.abc import Iterator

from kaitoc.compiler.catalog.architecture import Architecture
from kaitoc.compiler.check.inputs import Inputs
from kaitoc.compiler.cli.console import complain
from kaitoc.compiler.cli.estimate_model import named_model
from kaitoc.compiler.cli.estimate_options import EstimateOptions
from kaitoc.compiler.core.records import replace
from kaitoc.compiler.memory.estimate import has_closed_form, unmatched_targets
from kaitoc.compiler.memory.notes import notes_on, notes_on_lengths
from kaitoc.compiler.memory.stacks import version_note
from kaitoc.estimating import Estimate, Subject, architecture, subject_of, subjects_in


def subjects(options: EstimateOptions) -> Iterator[Subject]:
    """Yield the fine-tunes of the manifests, else the one that is described, with notes on stderr."""
    if options.paths:
        yield from subjects_in(Inputs(options.paths), options.overrides, options.task, options.settings)
        return
    rows = options.rows.stated
    subject = subject_of(options.fine_tune(_model(options), rows), options.overrides)
    if rows is not None:
        cap_tokens = options.rows.cap_tokens(rows, options.training.seq_len)
        subject = replace(subject, lengths=rows.cut_at(cap_tokens, subject.workload.batch_size))
    newer = version_note(options.stack or "")
    if newer:
        complain(f"note: {newer}")
    for name in unmatched_targets(subject.workload):
        complain(f"note: {subject.workload.architecture.name} has no layer `{name}`")
    yield subject


def note_longest_alone(subject: Subject, options: EstimateOptions) -> None:
    """Say that neither sizes that are solved for nor those of a sweep are replayed with lengths that vary."""
    question = "--solve" if options.solve is not None else "--sweep" if options.sweep is not None else ""
    if question and subject.lengths is not None:
        complain(f"note: {question} assumes the longest batch; varying lengths are not replayed")


def note_without_gpu(options: EstimateOptions) -> None:
    """Say which options have no effect where there is no GPU to compare with."""
    if options.solve is not None:
        return
    for option, is_stated in (("--margin", options.margin is not None), ("--strict", options.strict)):
        if is_stated:
            complain(f"note: {option} has no effect: there is no GPU to compare with; name one with --gpu")


def note_effects(estimated: Estimate, options: EstimateOptions) -> None:
    """Say what the estimate assumes, and what of the options it could not follow."""
    subject, predicted = estimated.subject, estimated.footprint
    asked = options.sharing.request
    for note in notes_on(asked, subject.workload, subject.gpu, predicted, asks_offload=subject.asks_offload):
        complain(f"note: {note}")
    if subject.lengths is not None:
        for note in notes_on_lengths(subject.workload, estimated.footprint.sharding):
            complain(f"note: {note}")
    if options.prices and estimated.epoch is not None and estimated.epoch.usd is None:
        complain("note: --price has no effect: it names no instance type of this run; name one with --gpu")


def _model(options: EstimateOptions) -> Architecture:
    name, config = named_model(options.model, options.model_config)
    model = architecture(name, config)
    if config is not None and not has_closed_form(model):
        complain(f"note: no closed form for `{model.model_type}`; tracing its code instead")
    return model
