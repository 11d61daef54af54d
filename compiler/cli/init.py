"""`kaitoc init`: a Workspace and a ConfigMap to start from, already right for the model, the GPU and the data."""

from __future__ import annotations

import os
import sys

import click

from kaitoc.compiler.catalog.models import lacks_chat_template
from kaitoc.compiler.check.engine_options import all_rules
from kaitoc.compiler.cli.completion import complete_gpu, complete_model, complete_path, complete_release
from kaitoc.compiler.cli.console import complain
from kaitoc.compiler.cli.option_types import Choice, Integer
from kaitoc.compiler.cli.options import takes
from kaitoc.compiler.compile.consequences import with_reasons
from kaitoc.compiler.compile.model import CompiledJob, CompileError, CompileRequest
from kaitoc.compiler.compile.output import PlannedWrite, write_all
from kaitoc.compiler.compile.scaffold import CLOUDS, METHODS, Blueprint, instance_type_named, scaffold
from kaitoc.compiler.compile.serving_scaffold import server_text
from kaitoc.compiler.core.records import dataclass
from kaitoc.compiler.core.source import Source
from kaitoc.compiler.job.assumptions import AssumptionError, Overrides, model_named, resolve_assumptions
from kaitoc.compiler.job.job import Assumptions
from kaitoc.compiler.job.settings import SettingsError, SettingsFinder
from kaitoc.compiler.memory.result import Verdict
from kaitoc.compiler.passes.model import Goal, PassContext, Preserve

EXIT_REFUSED = 1

_DATA_FORMATS = ("messages", "prompt-completion", "text")


@dataclass(frozen=True, slots=True)
class InitOptions:
    """The command line of `kaitoc init`."""

    model: str
    gpu: str | None
    cloud: str
    method: str | None
    seq_len: int
    data_url: str | None
    data_format: str | None
    num_samples: int | None
    batch: int | None
    rank: int
    name: str
    namespace: str
    output_image: str | None
    push_secret: str | None
    serve: bool
    kaito_version: str | None
    target: str | None
    output: str | None


@click.command()
@click.option(
    "--model",
    required=True,
    metavar="M",
    shell_complete=complete_model,
    help="Kaito preset, hub id or short name of the model.",
)
@click.option(
    "--gpu", metavar="G", shell_complete=complete_gpu, help="GPU or instance type (default: the smallest that fits)."
)
@click.option(
    "--cloud",
    type=Choice(CLOUDS),
    default="azure",
    show_default=True,
    help="Cloud whose instance types are considered.",
)
@click.option("--method", type=Choice(METHODS), help="Method (default: LoRA where it fits, else QLoRA).")
@click.option(
    "--seq-len",
    type=Integer(min=1),
    default=1024,
    show_default=True,
    metavar="N",
    help="Longest sequence to train on, in tokens.",
)
@click.option("--data", "data_url", metavar="URL", help="Where the training data is.")
@click.option(
    "--data-format",
    type=Choice(_DATA_FORMATS),
    help="Format of the rows (default: messages, or prompt-completion for a model without a chat template).",
)
@click.option(
    "--num-samples",
    type=Integer(min=1),
    metavar="N",
    help="Number of rows in the data; determines the batch size.",
)
@click.option("--batch", type=Integer(min=1), metavar="N", help="Effective batch size per GPU.")
@click.option("--rank", type=Integer(min=1), default=16, show_default=True, metavar="N", help="LoRA rank.")
@click.option(
    "--name",
    default="tuning",
    show_default=True,
    metavar="NAME",
    help="Name of the tuning Workspace; that of --serve is NAME-server.",
)
@click.option("--namespace", default="", metavar="NS", help="Namespace of both objects.")
@click.option("--output-image", metavar="IMAGE", help="Image that the adapter is pushed to.")
@click.option("--push-secret", metavar="NAME", help="Secret for the push; with --serve, for the pull.")
@click.option(
    "--serve", is_flag=True, help="Write the Workspace that serves the adapter instead, on the instance type of --gpu."
)
@click.option(
    "--kaito-version",
    metavar="V",
    shell_complete=complete_release,
    help="Kaito release to write for (default: the newest known).",
)
@click.option("--target", type=Choice(["kaito", "bundled"]), help="Runtime to write for.")
@click.option(
    "-o",
    "--output",
    metavar="FILE",
    shell_complete=complete_path,
    help="Write to a new file instead of standard output (`-`).",
)
@takes(InitOptions)
def init(options: InitOptions) -> int:  # fmt: skip
    """Write a Workspace and a ConfigMap that are valid, fit the GPU and train as fast as it allows.

    With --serve, write the Workspace that serves the adapter instead.
    """
    try:
        return _write_scaffold(options)
    except CompileError as error:
        complain(str(error))
        return EXIT_REFUSED


def _write_scaffold(options: InitOptions) -> int:
    output = options.output if options.output != "-" else None
    if output is not None and os.path.exists(output):
        raise SettingsError(f"{output}: already exists; init does not overwrite files", path=output)
    overrides = Overrides(kaito_version=options.kaito_version, target=options.target)
    settings = SettingsFinder()
    assumptions = resolve_assumptions(overrides, settings.for_path("."))
    rules = all_rules()
    context = PassContext(goal=Goal.THROUGHPUT, preserve=Preserve.STATISTICAL, job_rules=tuple(rules.job_rules))
    request = CompileRequest(overrides, settings, rules, context)
    if options.serve:
        if options.gpu is None:
            raise SettingsError("--serve needs the server's GPU or instance type: name it with --gpu")
        blueprint = _blueprint(options, assumptions)
        server = Source(f"{blueprint.name}-server.yaml", server_text(blueprint, assumptions))
        _emit(with_reasons(server, request), output)
        return 0
    if options.data_format == "text" and assumptions.target.value == "kaito":
        raise SettingsError(
            "Kaito's image cannot train on plain text; use messages or prompt-completion (or --target bundled)"
        )
    result = scaffold(_blueprint(options, assumptions), request, assumptions)
    _emit(result.files[0].text, output)
    if output is not None or not sys.stdout.isatty():
        _report_need(result.jobs[0])
    return 0


def _emit(text: str, output: str | None) -> None:
    if output is None:
        click.echo(text, nl=False)
    else:
        write_all([PlannedWrite(output, text.encode("utf-8"))])


def _report_need(job: CompiledJob) -> None:
    from kaitoc.compiler.report.compile.wording import size_text

    tight = ", which is tight" if job.after.verdict is Verdict.TIGHT else ""
    need = f"{job.after.title} needs {size_text(job.performance_after.peak_bytes)} of one GPU{tight}"
    complain(f"{need}; fill in the data and the output image before applying it")


def _blueprint(options: InitOptions, assumptions: Assumptions) -> Blueprint:
    model = model_named(options.model)
    if options.data_format == "messages" and lacks_chat_template(model):
        raise AssumptionError(f"{model.name} has no chat template for messages; use --data-format prompt-completion")
    preset = assumptions.release.preset_of(options.model, model.name, *model.aliases)
    if preset is None:
        known = ", ".join(assumptions.release.tunable_presets)
        raise AssumptionError(f"Kaito {assumptions.release.name} cannot tune `{options.model}`; it tunes {known}")
    stated = options.gpu
    stated_texts = {
        "data_url": options.data_url,
        "output_image": options.output_image,
        "push_secret": options.push_secret,
    }
    return Blueprint(
        name=options.name,
        model=model,
        preset=preset,
        seq_len_tokens=options.seq_len,
        method=options.method,
        instance_type=instance_type_named(stated, assumptions, options.cloud) if stated is not None else None,
        cloud=options.cloud,
        num_samples=options.num_samples,
        batch=options.batch,
        rank=options.rank,
        namespace=options.namespace,
        **{name: text for name, text in stated_texts.items() if text is not None},
    )
