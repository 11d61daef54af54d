"""Give sections without keys a key: Kaito's runtime stops on a section whose value is null."""

from __future__ import annotations

from collections.abc import Iterator

from kaitoc.compiler.job.job import Job
from kaitoc.compiler.manifest.training_config import Section
from kaitoc.compiler.passes.model import Change, PassContext, Preserves
from kaitoc.compiler.passes.options import set_to
from kaitoc.compiler.yaml.tree import Scalar

NAME = "repair-sections"

_FIRST_KEYS: dict[str, tuple[str, object]] = {
    "ModelConfig": ("torch_dtype", "bfloat16"),
    "QuantizationConfig": ("load_in_4bit", False),
    "LoraConfig": ("r", 8),
    "TrainingArguments": ("output_dir", "/mnt/results"),
    "DatasetConfig": ("train_test_split", 1),
    "DataCollator": ("mlm", False),
}
"""The first key of each section in Kaito's default templates, with its value there."""


def run(job: Job, _: PassContext) -> Iterator[Change]:
    """Yield a key with its default for every section that is null."""
    if job.config is None or not job.config.is_readable:
        return
    for section in job.config.sections:
        if section.name in _FIRST_KEYS and _is_null(section):
            name, value = _FIRST_KEYS[section.name]
            if section.name == "QuantizationConfig" and job.method is not None:
                value = job.method.value.lower() == "qlora"
            reason = "Kaito's runtime stops on a section without keys"
            yield set_to(job, section.name, name, value, reason, Preserves.INTENT)


def _is_null(section: Section) -> bool:
    return isinstance(section.node, Scalar) and section.node.value in ("", "~", "null", "Null", "NULL")
