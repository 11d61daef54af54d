"""What `check` says of a recorded variant: the manifest that it stands for, and the errors found in it."""

from __future__ import annotations

import math
from typing import Any

from variants import config_of

from kaitoc.compiler.check.engine import Engine, RuleSet
from kaitoc.compiler.check.known_findings import known_findings
from kaitoc.compiler.core.findings import Finding, Severity
from kaitoc.compiler.core.source import Source
from kaitoc.compiler.job.assumptions import Overrides
from kaitoc.compiler.job.faults import to_finding
from kaitoc.compiler.job.settings import SettingsFinder
from kaitoc.rules import FILE_RULES, JOB_RULES, OBJECT_RULES

_Json = dict[str, Any]
_WORKSPACE = """apiVersion: kaito.sh/v1beta1
kind: Workspace
metadata:
  name: tuning
resource:
  instanceType: Standard_NC24ads_A100_v4
  labelSelector:
    matchLabels:
      app: tuning
tuning:
  preset:
    name: phi-3-mini-128k-instruct
  method: {method}
  config: settings
  input:
    urls:
      - https://example.org/train.json
  output:
    volumeSource:
      persistentVolumeClaim:
        claimName: results
---
apiVersion: v1
kind: ConfigMap
metadata:
  name: settings
data:
  training_config.yaml: |
    training_config:
"""
ADMISSION = ("KT1", "KT3")
MEMORY = ("KT5", "KT6")


def manifest_of(variant: _Json) -> str:
    """Return a Workspace and a ConfigMap with a variant's configuration, or with a whole one under `config`."""
    config = variant["config"] if "config" in variant else config_of(variant)
    quantization = config.get("QuantizationConfig")
    loads = isinstance(quantization, dict) and (
        quantization.get("load_in_4bit") is True or quantization.get("load_in_8bit") is True
    )
    lines = [_WORKSPACE.format(method="qlora" if loads else "lora")]
    for section, options in config.items():
        if not isinstance(options, dict):
            lines.append(f"      {section}: {_flow(options)}\n")
        elif options:
            lines.append(f"      {section}:\n")
            lines.extend(f"        {name}: {_flow(value)}\n" for name, value in options.items())
    return "".join(lines)


def _flow(value: object) -> str:
    """Return a value as YAML on one line, which PyYAML reads back as the same value."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_flow(key)}: {_flow(inner)}" for key, inner in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_flow, value)) + "]"
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, float):
        if math.isnan(value):
            return ".nan"
        if math.isinf(value):
            return ".inf" if value > 0 else "-.inf"
        text = repr(value)
        return text if "." in text.partition("e")[0] else text.replace("e", ".0e")
    if isinstance(value, int):
        return str(value)
    return '"' + "".join(_escaped(character) for character in str(value)) + '"'


def _escaped(character: str) -> str:
    return {"\\": "\\\\", '"': '\\"', "\n": "\\n"}.get(character, character)


class Judge:
    """Checks variants by a release's rules, one after the other."""

    def __init__(self, release: str) -> None:
        """Prepare the rules of a Kaito release."""
        overrides = Overrides(kaito_version=release)
        self._rules, self._overrides = RuleSet(FILE_RULES, JOB_RULES, OBJECT_RULES), overrides
        self._job_rules = tuple(rule for rule in JOB_RULES if not rule.CODE.startswith(MEMORY))

    def findings(self, variant: _Json) -> list[Finding]:
        """Return what the rules find in the manifest of a variant, those about the real model's memory left out."""
        engine = Engine(self._rules, self._overrides, SettingsFinder(isolated=True))
        source = Source("variant.yaml", manifest_of(variant))
        engine.library.add_source(source)
        file = engine.library.add_given(source.path)
        found = [to_finding(rule, fault) for rule in FILE_RULES for fault in rule.check(file)]
        for job in engine.jobs_of(file):
            found.extend(known_findings(self._job_rules, job))
        return found

    def errors(self, variant: _Json) -> list[Finding]:
        """Return the errors in the manifest of a variant."""
        return [one for one in self.findings(variant) if one.severity is Severity.ERROR]
