"""`kaitoc compile --emit`: write manifests that run a plan on Kubeflow Trainer, JobSet or the training operator."""

from __future__ import annotations

import os
from collections.abc import Callable

import click

from kaitoc.compiler.cli.console import complain
from kaitoc.compiler.cli.options import F
from kaitoc.compiler.compile.model import CompileError, CompileRequest, OutputError
from kaitoc.compiler.core.records import dataclass

EMIT_OPTIONS: tuple[Callable[[F], F], ...] = (
    click.option("--emit", "emit_engine", type=click.Choice(["trainjob", "jobset", "pytorchjob"]),
                 help="Print manifests for another engine, which run the bundled runtime on one node or several."),
    click.option("--image", metavar="I", help="With --emit: the image of the bundled runtime (examples/job)."),
    click.option("--nodes", metavar="N|auto", help="With --emit: number of nodes, or the fewest that the memory fits on"
                 " (default: the Workspace's `resource.count`)."),
    click.option("--queue", metavar="NAME", help="With --emit: Kueue's LocalQueue."),
    click.option("--priority-class", metavar="P", help="With --emit: Kueue's WorkloadPriorityClass."),
    click.option("--results-claim", metavar="C", help="With --emit: claim for results (default: the Workspace's own)."),
    click.option("--model-claim", metavar="C", help="With --emit: claim that holds the model's folder."),
    click.option("--data-claim", metavar="C",
                 help="With --emit: claim that holds the data (default: the Workspace's own, or none for its URLs)."),
    click.option("--rdma", metavar="RESOURCE=COUNT", help="With --emit: InfiniBand devices of each node."),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class EmitCommandOptions:
    """The options of `kaitoc compile` that go with --emit."""

    emit_engine: str | None
    image: str | None
    nodes: str | None
    queue: str | None
    priority_class: str | None
    results_claim: str | None
    model_claim: str | None
    data_claim: str | None
    rdma: str | None

    @property
    def is_asked_for(self) -> bool:
        """Return whether manifests are to be emitted; raises `CompileError` for options that need --emit."""
        if self.emit_engine is not None:
            return True
        for name in self.__slots__:
            if getattr(self, name) is not None:
                raise CompileError(f"--{name.replace('_', '-')} goes with --emit")
        return False


def emit(paths: tuple[str, ...], request: CompileRequest, options: EmitCommandOptions, folder: str | None) -> int:
    """Write the manifests of each Workspace, to standard output without a folder; notes go to standard error."""
    from kaitoc.compiler.api.emitting import emissions  # `--help` and a plain compile need none of it
    from kaitoc.compiler.engines.emit.options import EmitOptions, Rdma

    asked = EmitOptions(
        engine=options.emit_engine or "",
        image=options.image or "",
        num_nodes=_num_nodes(options.nodes),
        queue=options.queue or "",
        priority_class=options.priority_class or "",
        results_claim=options.results_claim or "",
        model_claim=options.model_claim or "",
        data_claim=options.data_claim or "",
        rdma=Rdma.parse(options.rdma) if options.rdma is not None else None,
    )
    found = emissions(paths, request, asked)
    for emission in found:
        for note in emission.notes:
            complain(note)
    if folder is None:
        click.echo("---\n".join(emission.text for emission in found), nl=False)
        return 0
    for emission in found:
        _write(os.path.join(folder, f"{emission.name}.yaml"), emission.text)
    return 0


def _num_nodes(text: str | None) -> int | None:
    """Return the number of nodes, None for auto, 0 where nothing is stated; raises `CompileError`."""
    if text is None or text == "auto":
        return 0 if text is None else None
    if not text.isascii() or not text.isdigit() or not 1 <= int(text) <= 1000:
        raise CompileError(f"--nodes {text}: expected a number from 1 to 1000, or auto")
    return int(text)


def _write(path: str, text: str) -> None:
    from kaitoc.compiler.core.source import write_atomically  # writing is the exception

    try:
        os.makedirs(os.path.dirname(path), exist_ok=True)
        write_atomically(path, text.encode("utf-8"))
    except OSError as error:
        raise OutputError(f"{path}: cannot be written: {error.strerror or error}") from error
