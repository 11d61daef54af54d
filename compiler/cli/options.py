"""Options that several commands share, and how a command gets its own as a frozen record."""

from __future__ import annotations

from collections.abc import Callable
from functools import update_wrapper
from typing import Any, NoReturn, TypeVar

import click

from kaitoc.compiler.cli.completion import complete_gpu, complete_model, complete_path, complete_release
from kaitoc.compiler.cli.console import EXIT_USAGE, complain
from kaitoc.compiler.cli.option_records import GROUPS, record_of
from kaitoc.compiler.cli.option_types import Choice, Integer, Number
from kaitoc.compiler.core.errors import KaitocError
from kaitoc.compiler.core.findings import Severity
from kaitoc.compiler.job.bounds import GPU_MEMORY_GIB, MARGIN_PERCENT, SEQ_LEN_TOKENS
from kaitoc.compiler.memory.sharding.model import Offload
from kaitoc.compiler.memory.sharing import SHARDING_WORDS
from kaitoc.compiler.report.style import Color

F = TypeVar("F", bound=Callable[..., Any])
T = TypeVar("T")

gpu_option = click.option("--gpu", metavar="G", shell_complete=complete_gpu,
                          help="GPU to assume: a name such as A100-80GB, or an instance type.")  # fmt: skip
gpu_memory_option = click.option("--gpu-memory", type=Number(GPU_MEMORY_GIB.least, GPU_MEMORY_GIB.most),
                                 metavar="GIB",
                                 help="Memory of the GPU to assume, in GiB.")  # fmt: skip
kaito_version_option = click.option("--kaito-version", metavar="V", shell_complete=complete_release,
                                    help="Kaito release to check against (default: the newest known).")  # fmt: skip
margin_option = click.option("--margin", type=Number(MARGIN_PERCENT.least, MARGIN_PERCENT.most),
                             metavar="PCT",
                             help="Share of the GPU's memory to keep free, in percent (default: 5).")  # fmt: skip
model_option = click.option("--model", metavar="M", shell_complete=complete_model,
                            help="Model to assume: a Kaito preset, a hub id or a short name.")  # fmt: skip
price_option = click.option("--price", "prices", multiple=True, metavar="TYPE=USD",
                            help="Price per hour of an instance type; repeatable.")  # fmt: skip
target_option = click.option("--target", type=Choice(["kaito", "bundled"]),
                             help="Runtime the manifest is meant for.")  # fmt: skip
isolated_option = click.option("--isolated", is_flag=True, help="Ignore settings files.")
config_option = click.option("--config", metavar="FILE", shell_complete=complete_path,
                             help="Use this settings file instead of those near the manifests.")  # fmt: skip

color_option = click.option("--color", type=Choice([choice.value for choice in Color]), default=Color.AUTO.value,
                            show_default=True, help="When to use colors.")  # fmt: skip

format_option = click.option("--format", "-f", "format_name", type=Choice(["text", "json"]), default="text",
                             show_default=True, help="Output format.")  # fmt: skip

_ASSUMPTIONS = (
    model_option,
    gpu_option,
    gpu_memory_option,
    kaito_version_option,
    target_option,
    click.option("--seq-len", type=Integer(1, int(SEQ_LEN_TOKENS.most)), metavar="N",
                 help="Sequence length to assume, in tokens (default: what the release truncates to)."),
    margin_option,
    price_option,
)  # fmt: skip
_SELECTION = (
    click.option("--select", multiple=True, metavar="C", help="Run only these rules (code, code prefix, or name)."),
    click.option("--ignore", multiple=True, metavar="C", help="Ignore these rules."),
    click.option("--severity", type=Choice([severity.value for severity in Severity]),
                 help="Report only findings of at least this severity."),
    config_option,
    isolated_option,
)  # fmt: skip

length_options = (
    click.option("--data", metavar="P", shell_complete=complete_path,
                 help="Estimate row lengths from the text of this data."),
    click.option("--lengths", metavar="P50,P90,MAX|cap",
                 help="Row lengths to assume, in tokens; `cap`: any up to where rows are cut."),
)  # fmt: skip
shard_group_option = click.option("--shard-group", type=Integer(min=1), metavar="N",
                                  help="GPUs that hold one copy together (default: all, or with auto those of a node "
                                  "where they suffice).")  # fmt: skip

_SHARING = (
    click.option("--gpus", type=Integer(min=1), metavar="N",
                 help="GPUs of the whole job, one process each (default: 1, or those of the instance type)."),
    click.option("--nodes", type=Integer(min=1), metavar="N", default=1, show_default=True,
                 help="Nodes that the GPUs are spread over."),
    click.option("--sharding", type=Choice(SHARDING_WORDS), default="auto", show_default=True,
                 help="How the GPUs share the model: whole copies (ddp) or shards; auto does what the stack does."),
    shard_group_option,
    click.option("--reshard/--no-reshard", default=True, show_default=True,
                 help="Free gathered weights until the backward pass."),
    click.option("--offload", type=Choice([one.value for one in Offload]), default=Offload.NONE.value,
                 show_default=True, help="What is kept in host memory."),
)  # fmt: skip


def assumption_options(command: F) -> F:
    """Add the options of `AssumptionOptions`."""
    return with_options(command, _ASSUMPTIONS)


def judging_options(command: F) -> F:
    """Add the options of `JudgingOptions`."""
    return with_options(command, (*_ASSUMPTIONS, *_SELECTION))


def sharing_options(command: F) -> F:
    """Add the options of `SharingOptions`."""
    return with_options(command, _SHARING)


def with_options(command: F, options: tuple[Callable[[F], F], ...]) -> F:
    """Add options in the order of the help page."""
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
