"""`kaitoc compile --emit`: write manifests that run a plan on Kubeflow Trainer, JobSet or the training operator."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING

import click

from kaitoc.compiler.cli.console import complain
from kaitoc.compiler.cli.option_types import Choice
from kaitoc.compiler.cli.options import F, shard_group_option
from kaitoc.compiler.cli.standard_input import inputs_from
from kaitoc.compiler.compile.model import CompileError, CompileRequest
from kaitoc.compiler.compile.output import PlannedWrite, names_file, write_all
from kaitoc.compiler.core.records import dataclass

if TYPE_CHECKING:
    from kaitoc.compiler.engines.emit_options import EmitOptions


def engine_options(when: str) -> tuple[Callable[[F], F], ...]:
    """Return the options of a run without Kaito; `when` says with which option of the command they go."""
    return (
        click.option("--image", metavar="I", help=f"{when}: the image of the bundled runtime (examples/job)."),
        click.option("--nodes", metavar="N|auto", help=f"{when}: number of nodes, or the fewest that the memory fits"
                     " on, by --price the cheapest (default: the Workspace's `resource.count`)."),
        click.option("--queue", metavar="NAME", help=f"{when}: Kueue's LocalQueue."),
        click.option("--priority-class", metavar="P", help=f"{when}: Kueue's WorkloadPriorityClass."),
        click.option("--results-claim", metavar="C", help=f"{when}: claim for results (default: the Workspace's own)."),
        click.option("--model-claim", metavar="C", help=f"{when}: claim that holds the model's folder."),
        click.option("--data-claim", metavar="C",
                     help=f"{when}: claim that holds the data (default: the Workspace's own, or none for its URLs)."),
        click.option("--rdma", metavar="RESOURCE=COUNT", help=f"{when}: InfiniBand devices of each node."),
    )  # fmt: skip


EMIT_OPTIONS: tuple[Callable[[F], F], ...] = (
    click.option("--emit", "emit_engine", type=Choice(["trainjob", "jobset", "pytorchjob"]),
                 help="Print manifests for another engine, which run the bundled runtime on one node or several."),
    *engine_options("With --emit"),
    shard_group_option,
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class EngineCommandOptions:
    """The options of a run without Kaito, as they are given."""

    image: str | None
    nodes: str | None
    queue: str | None
    priority_class: str | None
    results_claim: str | None
    model_claim: str | None
    data_claim: str | None
    rdma: str | None

    def require_none(self, needed: str) -> None:
        """Raise `CompileError` for an option that goes with another one, which is not given."""
        for name in self.__slots__:
            if getattr(self, name) is not None:
                raise CompileError(f"--{name.replace('_', '-')} goes with {needed}")

    def of(self, engine: str, shard_group: int | None) -> EmitOptions:
        """Return the emit options for an engine; raises `CompileError` and `EmitError`."""
        from kaitoc.compiler.engines.emit_options import EmitOptions, Rdma  # `--help` needs none of it

        return EmitOptions(
            engine=engine,
            image=self.image or "",
            num_nodes=_num_nodes(self.nodes),
            queue=self.queue or "",
            priority_class=self.priority_class or "",
            results_claim=self.results_claim or "",
            model_claim=self.model_claim or "",
            data_claim=self.data_claim or "",
            rdma=Rdma.parse(self.rdma) if self.rdma is not None else None,
            shard_group=shard_group,
        )


def emit(paths: tuple[str, ...], request: CompileRequest, options: EmitOptions, output: str | None) -> int:
    """Write the manifests of each Workspace, to standard output without a path; notes go to standard error."""
    from kaitoc.emitting import emissions  # a plain compile needs none of it

    if output is not None and output.endswith(".json") and names_file(output):
        raise CompileError(f"-o {output}: --emit writes YAML; name a .yaml file or a folder")
    if output is not None and any(os.path.isfile(path) and os.path.samefile(path, output) for path in paths
                                  if os.path.exists(output)):  # fmt: skip
        raise CompileError(f"-o {output}: --emit writes other objects than this file holds; name another file")
    found = emissions(inputs_from(paths), request, options)
    for emission in found:
        for note in emission.notes:
            complain(note)
    whole = "---\n".join(emission.text for emission in found)
    if output is None:
        click.echo(whole, nl=False)
    elif names_file(output):
        write_all([PlannedWrite(output, whole.encode("utf-8"))])
    else:
        write_all(
            PlannedWrite(os.path.join(output, f"{emission.name}.yaml"), emission.text.encode("utf-8"))
            for emission in found
        )
    return 0


def _num_nodes(text: str | None) -> int | None:
    """Return the number of nodes, None for auto, 0 where nothing is stated; raises `CompileError`."""
    if text is None or text == "auto":
        return 0 if text is None else None
    if not text.isascii() or not text.isdigit() or not 1 <= int(text) <= 1000:
        raise CompileError(f"--nodes {text}: expected a number from 1 to 1000, or auto")
    return int(text)
