"""New YAML: documents that no file of the user holds yet, rendered with ruamel.yaml."""

from __future__ import annotations

from io import StringIO
from typing import Any

from kaitoc.compiler.manifest.training_config import DATA_KEY


def render_config_map(name: str, namespace: str, training_config: str) -> str:
    """Return a ConfigMap with a training config as a literal block; `namespace` may be empty."""
    metadata = {"name": name, "namespace": namespace} if namespace else {"name": name}
    return render_document(
        {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": metadata,
            "data": {DATA_KEY: literal(training_config)},
        }
    )


def literal(text: str) -> Any:
    """Return text that is rendered as a literal block, line by line."""
    from ruamel.yaml.scalarstring import LiteralScalarString

    return LiteralScalarString(text.rstrip("\n") + "\n")


def render_document(content: object) -> str:
    """Return mappings, lists and scalars as one YAML document in block style, keys in their order."""
    from ruamel.yaml import YAML

    yaml = YAML()
    yaml.default_flow_style = False
    yaml.width = 4096
    yaml.indent(mapping=2, sequence=4, offset=2)
    stream = StringIO()
    yaml.dump(content, stream)
    return stream.getvalue()
