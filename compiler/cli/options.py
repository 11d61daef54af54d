"""Options that several commands share, and the frozen records that commands are called with."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import fields
from functools import update_wrapper
from typing import Any, NoReturn, TypeVar

import click

from kaitoc.compiler.check.engine_options import EngineOptions, selectors_in
from kaitoc.compiler.cli.completion import complete_gpu, complete_model, complete_release
from kaitoc.compiler.core.errors import KaitocError
from kaitoc.compiler.core.records import dataclass
from kaitoc.compiler.job.assumptions import Overrides

EXIT_USAGE = 2

F = TypeVar("F", bound=Callable[..., Any])
T = TypeVar("T")

gpu_option = click.option("--gpu", metavar="G", shell_complete=complete_gpu,
                          help="GPU to assume: a name such as A100-80GB, or an instance type.")  # fmt: skip
gpu_memory_option = click.option("--gpu-memory", type=click.FloatRange(min=1, max=4096), metavar="GIB",
                                 help="Memory of the GPU to assume, in GiB.")  # fmt: skip
kaito_version_option = click.option("--kaito-version", metavar="V", shell_complete=complete_release,
                                    help="Kaito release to judge by (default: the newest known).")  # fmt: skip
margin_option = click.option("--margin", type=click.FloatRange(0, 90), metavar="PCT",
                             help="Share of the GPU's memory to keep free, in percent (default: 5).")  # fmt: skip
model_option = click.option("--model", metavar="M", shell_complete=complete_model,
                            help="Model to assume: a Kaito preset, a hub id or a short name.")  # fmt: skip
isolated_option = click.option("--isolated", is_flag=True, help="Ignore settings files.")

_ASSUMPTIONS = (
    model_option,
    gpu_option,
    gpu_memory_option,
    kaito_version_option,
    click.option("--target", type=click.Choice(["kaito", "bundled"]), help="Runtime the manifest is meant for."),
    click.option("--seq-len", type=click.IntRange(min=1), metavar="N",
                 help="Sequence length to assume, in tokens (default: what the release truncates to)."),
    margin_option,
)  # fmt: skip
_SELECTION = (
    click.option("--select", multiple=True, metavar="C", help="Run only these rules (code, start of a code, or name)."),
    click.option("--ignore", multiple=True, metavar="C", help="Leave these rules out."),
    isolated_option,
)


@dataclass(frozen=True, slots=True)
class AssumptionOptions:
    """What to assume where manifests are silent."""

    model: str | None
    gpu: str | None
    gpu_memory: float | None
    kaito_version: str | None
    target: str | None
    seq_len: int | None
    margin: float | None

    @property
    def overrides(self) -> Overrides:
        """Return the options as the engine takes them."""
        return Overrides(
            model=self.model,
            gpu=self.gpu,
            gpu_memory_gib=self.gpu_memory,
            kaito_version=self.kaito_version,
            target=self.target,
            seq_len_tokens=self.seq_len,
            margin_percent=self.margin,
        )


@dataclass(frozen=True, slots=True)
class JudgingOptions:
    """What decides how files are judged: assumptions, the selected rules, and whether settings files count."""

    assumptions: AssumptionOptions
    select: tuple[str, ...]
    ignore: tuple[str, ...]
    isolated: bool

    @property
    def engine(self) -> EngineOptions:
        """Return the options as the engine takes them."""
        return EngineOptions(
            self.assumptions.overrides, selectors_in(self.select), selectors_in(self.ignore), self.isolated
        )


GROUPS: Mapping[str, type] = {"assumptions": AssumptionOptions, "judging": JudgingOptions}
"""The records that many commands' options have in common, by the field that holds them."""


def assumption_options(command: F) -> F:
    """Add the options of `AssumptionOptions`."""
    return _with(command, _ASSUMPTIONS)


def judging_options(command: F) -> F:
    """Add the options of `JudgingOptions`."""
    return _with(command, (*_ASSUMPTIONS, *_SELECTION))


def _with(command: F, options: tuple[Callable[[F], F], ...]) -> F:
    for option in reversed(options):
        command = option(command)
    return command


def takes(options: type[T], **groups: type) -> Callable[[Callable[[T], int]], Callable[..., None]]:
    """Return a decorator that calls a command with its parameters as a record, and exits with what it returns.

    The record has a field for each parameter, or for a group of them, further groups being given by their field's name.
    What the user can put right ends the command with one message and code 2.
    """

    def decorate(command: Callable[[T], int]) -> Callable[..., None]:
        def call(**parameters: Any) -> NoReturn:
            context = click.get_current_context()
            try:
                context.exit(command(record_of(options, parameters, {**GROUPS, **groups})))
            except KaitocError as error:
                complain(str(error))
                context.exit(EXIT_USAGE)

        return update_wrapper(call, command)

    return decorate


def record_of(record: type[T], parameters: dict[str, Any], groups: Mapping[str, type]) -> T:
    """Return parameters as a record; raises `TypeError` where one has no field, or a field no parameter."""
    made = _filled(record, parameters, groups)
    if parameters:
        raise TypeError(f"{record.__name__} has no field for {', '.join(parameters)}")
    return made


def _filled(record: type[T], parameters: dict[str, Any], groups: Mapping[str, type]) -> T:
    """Take a record's values, and those of its groups, out of the parameters."""
    values: dict[str, Any] = {}
    for field in fields(record):  # type: ignore[arg-type]  # a record is a data class
        if field.name in groups:
            values[field.name] = _filled(groups[field.name], parameters, groups)
        elif field.name in parameters:
            values[field.name] = parameters.pop(field.name)
    return record(**values)


def complain(message: str) -> None:
    """Print a message for the user on standard error."""
    click.echo(f"kaitoc: {message}", err=True)
