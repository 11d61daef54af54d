"""The YAML inside a ConfigMap's `inference_config.yaml`."""

from __future__ import annotations

from kaitoc.compiler.manifest.inner_config import InnerConfig, Option, Section, config_field, read_inner_config
from kaitoc.compiler.manifest.objects import Field, Manifest
from kaitoc.compiler.manifest.recognition import SERVING_DATA_KEY, SERVING_KEYS, SERVING_SECTION
from kaitoc.compiler.yaml.tree import Mapping

__all__ = ["SERVING_DATA_KEY", "SERVING_KEYS", "SERVING_SECTION", "Option", "Section", "ServingConfig"]

ServingConfig = InnerConfig


def read_serving_config(config_map: Manifest) -> ServingConfig | None:
    """Read the serving config of a ConfigMap, None when it has no `inference_config.yaml` text."""
    return config_map.memo.get(SERVING_DATA_KEY, lambda: read_inner_config(config_map, SERVING_DATA_KEY, ""))


def is_serving_config(config_map: Manifest) -> bool:
    """Return whether a ConfigMap is Kaito's by what it says: a key that Kaito's launcher reads."""
    config = read_serving_config(config_map)
    if config is None:
        return False
    root = config.document_root
    return isinstance(root, Mapping) and any(root.get(name) is not None for name in SERVING_KEYS)


def serving_text(config_map: Manifest) -> Field | None:
    """Return the field that holds a ConfigMap's serving config, None where it has none or that is not known."""
    return config_field(config_map, SERVING_DATA_KEY)
