"""All configs of Kaito's in a ConfigMap."""

from __future__ import annotations

from kaitoc.compiler.manifest.inner_config import InnerConfig
from kaitoc.compiler.manifest.objects import Manifest
from kaitoc.compiler.manifest.serving_config import is_serving_config, read_serving_config
from kaitoc.compiler.manifest.training_config import is_training_config, read_training_config


def inner_configs(config_map: Manifest) -> tuple[InnerConfig, ...]:
    """Return the training and the serving config of a ConfigMap, those that it has."""
    configs = (read_training_config(config_map), read_serving_config(config_map))
    return tuple(config for config in configs if config is not None)


def is_kaitos_config(config_map: Manifest) -> bool:
    """Return whether a ConfigMap is Kaito's by what it says."""
    return is_training_config(config_map) or is_serving_config(config_map)
