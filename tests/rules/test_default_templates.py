"""Kaito's default templates crash on the presets for which PEFT has no default modules, and on no others."""

from __future__ import annotations

import pytest

from kaitoc.compiler.catalog.releases import all_releases
from kaitoc.compiler.check.engine import Engine, RuleSet
from kaitoc.compiler.core.areas import Area, area_of
from kaitoc.compiler.core.source import Source
from kaitoc.compiler.job.assumptions import Overrides
from kaitoc.compiler.job.settings import SettingsFinder
from kaitoc.rules import FILE_RULES, JOB_RULES

CRASHING = ("phi-4", "phi-4-mini-instruct", "qwen2.5-coder-7b-instruct", "qwen2.5-coder-32b-instruct")
PRESETS = [(release.name, preset) for release in all_releases() for preset in release.tunable_presets]

WORKSPACE = """\
apiVersion: kaito.sh/v1beta1
kind: Workspace
metadata:
  name: tuning
resource:
  instanceType: Standard_NC24ads_A100_v4
  labelSelector: {{matchLabels: {{app: tuning}}}}
tuning:
  preset: {{name: {preset}}}
  method: {method}
  input: {{urls: ["https://example.com/data.parquet"]}}
  output: {{volumeSource: {{persistentVolumeClaim: {{claimName: results}}}}}}
"""


@pytest.mark.parametrize("method", ["lora", "qlora"])
@pytest.mark.parametrize(("release", "preset"), PRESETS)
def test_a_default_template_has_an_error_where_it_crashes(release: str, preset: str, method: str) -> None:
    engine = Engine(RuleSet(FILE_RULES, JOB_RULES), Overrides(kaito_version=release), SettingsFinder(isolated=True))
    source = Source("workspace.yaml", WORKSPACE.format(preset=preset, method=method))
    engine.library.add_source(source)

    found = engine.check([source.path]).findings

    errors = {
        finding.code for finding in found if finding.severity.value == "error" and area_of(finding.code) is Area.RESULT
    }
    assert errors == ({"KT402"} if preset in CRASHING else set())
