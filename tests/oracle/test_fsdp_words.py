"""The words of `fsdp` that a check refuses are those that TrainingArguments of the release refuses."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from kaitoc.compiler.check.engine import Engine
from kaitoc.compiler.check.engine_options import all_rules
from kaitoc.compiler.core.source import Source
from kaitoc.compiler.job.assumptions import Overrides
from kaitoc.compiler.job.settings import SettingsFinder

RECORDED = [
    json.loads(line)
    for line in (Path(__file__).parent / "recordings" / "fsdp_words.jsonl").read_text(encoding="utf-8").splitlines()
]
CONFIG_MAP = """\
apiVersion: v1
kind: ConfigMap
metadata:
  name: tuning
data:
  training_config.yaml: |
    training_config:
      TrainingArguments:
        fsdp: "%s"
"""


@pytest.mark.parametrize("record", RECORDED, ids="{0[release]}-{0[fsdp]}".format)
def test_a_word_of_fsdp_is_refused_where_the_release_refuses_it(record: dict[str, str]) -> None:
    engine = Engine(all_rules(), Overrides(kaito_version=record["release"]), SettingsFinder(isolated=True))
    engine.library.add_source(Source("cm.yaml", CONFIG_MAP % record["fsdp"]))

    own = [finding for finding in engine.check(["cm.yaml"]).findings if finding.code in ("KT460", "KT462")]
    refusals = [finding for finding in own if "before the model loads" in finding.message]

    assert len(refusals) == (1 if record["refusal"] else 0)
