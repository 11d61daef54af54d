"""The README of an adapter: what it was trained from, on what, how, and with which result."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from kaitoc.compiler.core.escape import printable
from kaitoc.compiler.core.source import write_atomically
from kaitoc.compiler.plan.plan import Plan
from kaitoc.runtime.observe.report import RunReport
from kaitoc.runtime.output.names import CARD
from kaitoc.runtime.redact import redacted

_LIBRARIES = ("torch", "transformers", "peft", "trl", "bitsandbytes")
_METHODS = {"lora": "LoRA", "qlora": "QLoRA", "full": "full fine-tuning"}


def write_card(folder: Path, plan: Plan, report: RunReport) -> None:
    """Write the card into the folder of a result; raises `OSError`."""
    write_atomically(folder / CARD, card(plan, report).encode("utf-8"))


def card(plan: Plan, report: RunReport) -> str:
    """Return the card, Markdown with the front matter that model hubs read."""
    plan = redacted(plan)
    base = _text(plan.model.path)
    tags = [tag for tag in ("lora" if plan.lora else "", "kaito") if tag]
    front = [
        "---",
        f"base_model: {_quoted(base)}",
        f"library_name: {'peft' if plan.lora else 'transformers'}",
        "pipeline_tag: text-generation",
        "tags:",
        *(f"- {tag}" for tag in tags),
        "---",
    ]
    rows = [*_training(plan), *_result(report), ("Libraries", _libraries())]
    table = ["| | |", "|---|---|", *(f"| {name} | {_cell(value)} |" for name, value in rows if value)]
    made = f"{_METHODS[plan.method]} of `{base}`, made by kaitoc {plan.provenance.kaitoc_version}"
    lines = [*front, "", f"# {_text(plan.name)}", "", f"{made}.", "", *table, "", "## Plan", ""]
    return "\n".join([*lines, "```json", plan.to_json().rstrip(), "```", ""])


def _training(plan: Plan) -> list[tuple[str, str]]:
    training, data, lora = plan.training, plan.data, plan.lora
    steps = f"{training.max_steps} steps" if training.max_steps > 0 else f"{training.num_train_epochs:g} epochs"
    batch = training.per_device_train_batch_size * training.gradient_accumulation_steps * plan.num_processes
    adapter = f"rank {lora.r}, alpha {lora.lora_alpha:g}, dropout {lora.lora_dropout:g}" if lora else ""
    weights = plan.quantization.method if plan.quantization.method != "none" else plan.model.dtype
    source = f"{plan.provenance.kaito_release} {plan.provenance.preset}".strip()
    return [
        ("Kaito release and preset", source),
        ("Base weights", f"{weights}, revision {plan.model.revision}"),
        ("Adapter", adapter),
        ("Data", ", ".join(data.paths)),
        ("Sequence length", f"at most {data.max_length} tokens" if data.max_length else "not limited"),
        ("Training", f"{steps}, {batch} sequences a step, {training.lr_scheduler_type} schedule"),
        ("Learning rate", f"{training.learning_rate:g}, {training.optim}"),
        ("Seed", str(training.seed)),
    ]


def _result(report: RunReport) -> list[tuple[str, str]]:
    modules = ", ".join(f"{name} {count:,}" for name, count in report.trainable_by_module.items())
    loss = "" if report.last_loss is None else f"{report.first_loss:.3f} at first, {report.last_loss:.3f} at last"
    return [
        ("Trained parameters", f"{report.num_trainable_parameters:,} ({modules})"),
        ("Examples", f"{report.num_examples:,}, of which {report.num_truncated:,} were cut"),
        ("Training loss", loss),
    ]


def _libraries() -> str:
    versions = []
    for name in _LIBRARIES:
        try:
            versions.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            continue
    return ", ".join(versions)


def _cell(value: str) -> str:
    return _text(value).replace("|", "\\|")


def _quoted(value: str) -> str:
    escaped = value.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _text(value: str) -> str:
    return printable(value).replace("`", "'").replace("<", "&lt;")
