"""The YAML inside a ConfigMap's `training_config.yaml`."""

from __future__ import annotations

from functools import lru_cache

from kaitoc.compiler.core.memo import Memo
from kaitoc.compiler.core.source import Source, Span
from kaitoc.compiler.manifest.inner_config import (
    InnerConfig,
    Option,
    Section,
    config_field,
    read_inner_config,
)
from kaitoc.compiler.manifest.objects import Field, Manifest, Place
from kaitoc.compiler.manifest.recognition import DATA_KEY, ROOT_KEY, SECTIONS, has_lines_of_sections, has_sections
from kaitoc.compiler.yaml.parser import parse_documents
from kaitoc.compiler.yaml.tree import Scalar

__all__ = ["DATA_KEY", "ROOT_KEY", "SECTIONS", "Option", "Section", "TrainingConfig"]

TrainingConfig = InnerConfig


def read_training_config(config_map: Manifest) -> TrainingConfig | None:
    """Read the training config of a ConfigMap, None when it has no `training_config.yaml` text."""
    return config_map.memo.get(DATA_KEY, lambda: read_inner_config(config_map, DATA_KEY, ROOT_KEY))


def is_training_config(config_map: Manifest) -> bool:
    """Return whether a ConfigMap is Kaito's by what it says: `training_config` with one of Kaito's sections.

    Other programs have a `training_config.yaml` too. Of a text that cannot be read, its lines decide.
    """
    config = read_training_config(config_map)
    if config is not None and config.document_root is not None:
        return has_sections(config.document_root)
    field = config_text(config_map)
    if field is None:
        return False
    return has_lines_of_sections(field.node.value) if isinstance(field.node, Scalar) else has_sections(field.node)


def config_text(config_map: Manifest) -> Field | None:
    """Return the field that holds a ConfigMap's training config, None where it has none or that is not known."""
    return config_field(config_map, DATA_KEY)


@lru_cache(maxsize=16)
def read_template(name: str, text: str) -> TrainingConfig:
    """Read a default template, which no file of the user holds; its places are in a source named `<name>`."""
    source = Source(f"<{name}>", text)
    host = Place(source, Span(0, len(text)))
    (document,) = parse_documents(source)
    return InnerConfig(host, document.root, tuple(document.problems), None, Memo(), DATA_KEY, ROOT_KEY)
