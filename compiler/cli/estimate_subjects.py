"""The fine-tunes that `kaitoc estimate` is asked about: those of manifests, or the one that options describe."""

from __future__ import annotations

from collections.abc import Iterator

from kaitoc.compiler.catalog.architecture import Architecture
from kaitoc.compiler.check.inputs import Inputs
from kaitoc.compiler.cli.console import complain
from kaitoc.compiler.cli.estimate_model import named_model
from kaitoc.compiler.cli.estimate_options import EstimateOptions
from kaitoc.compiler.cli.option_records import SharingOptions
from kaitoc.compiler.core.records import replace
from kaitoc.compiler.memory.device import knows_links
from kaitoc.compiler.memory.estimate import has_closed_form, unmatched_targets
from kaitoc.compiler.memory.sharing import image_note
from kaitoc.compiler.memory.stacks import find_stack, version_note
from kaitoc.estimating import Estimate, Subject, architecture, subject_of, subjects_in


def subjects(options: EstimateOptions) -> Iterator[Subject]:
    """Yield the fine-tunes of the manifests, else the one that is described, with notes on stderr."""
    if options.paths:
        for subject in subjects_in(Inputs(options.paths), options.overrides, options.task, options.settings):
            _note_sharding(subject, options)
            yield subject
        return
    rows = options.rows.stated
    subject = subject_of(options.fine_tune(_model(options), rows), options.overrides)
    if rows is not None:
        workload = subject.workload
        subject = replace(subject, lengths=rows.cut_at(workload.seq_len_tokens, workload.batch_size))
    newer = version_note(options.stack or "")
    if newer:
        complain(f"note: {newer}")
    _note_sharding(subject, options)
    for name in unmatched_targets(subject.workload):
        complain(f"note: {subject.workload.architecture.name} has no layer `{name}`")
    yield subject


def _note_sharding(subject: Subject, options: EstimateOptions) -> None:
    """Say when the stack's software cannot do what is asked for and estimated all the same."""
    note = image_note(options.sharing.request, find_stack(subject.workload.stack))
    if note:
        complain(f"note: {note}")
    gpu = subject.gpu
    if subject.workload.num_gpus > 1 and not knows_links(gpu):
        links = "NVLink" if gpu is None or gpu.nvlink else "PCIe"
        complain(f"note: the link between the GPUs is not known; assuming {links} for NCCL's buffers")


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
    """Say what of the options the estimate could not follow."""
    if estimated.subject.lengths is not None and estimated.variation is None:
        complain("note: varying lengths are not replayed for sharded, traced and preference (dpo) runs")
    if options.prices and estimated.epoch is not None and estimated.epoch.usd is None:
        complain("note: --price has no effect: it names no instance type of this run; name one with --gpu")
    if estimated.subject.workload.offloads_activations and estimated.footprint.sharding.is_sharded:
        complain("note: activation offload is not predicted for shards; activations are counted on the GPU")
    _note_unsharded(estimated, options)


def _note_unsharded(estimated: Estimate, options: EstimateOptions) -> None:
    """Say which options on shards have no effect, where `auto` keeps whole copies."""
    sharing = options.sharing
    if sharing.sharding != "auto" or estimated.footprint.sharding.is_sharded:
        return
    silent = SharingOptions()
    for name in ("shard_group", "reshard", "offload"):
        if getattr(sharing, name) != getattr(silent, name):
            option = "--no-reshard" if name == "reshard" else f"--{name.replace('_', '-')}"
            complain(
                f"note: {option} has no effect: each GPU holds a whole copy (ddp); --sharding fsdp2 shards the model"
            )


def _model(options: EstimateOptions) -> Architecture:
    name, config = named_model(options.model, options.model_config)
    model = architecture(name, config)
    if config is not None and not has_closed_form(model):
        complain(f"note: no closed form for `{model.model_type}`; tracing its code instead")
    return model
