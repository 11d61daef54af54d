"""The size of the annotation that a client-side `kubectl apply` writes."""

from __future__ import annotations

from kaitoc.compiler.check.engine import Engine, RuleSet
from kaitoc.compiler.core.findings import Severity
from kaitoc.compiler.core.source import Source
from kaitoc.compiler.job.assumptions import Overrides
from kaitoc.compiler.job.settings import SettingsFinder
from kaitoc.compiler.manifest.last_applied import MOST_BYTES, annotation_bytes, as_go_writes
from kaitoc.compiler.manifest.objects import Manifest
from kaitoc.compiler.manifest.reading import read_manifests
from kaitoc.rules import FILE_RULES, JOB_RULES, OBJECT_RULES

RECORDED = (
    '{"kind":"ConfigMap","apiVersion":"v1","metadata":{"name":"c","creationTimestamp":null},"data":'
    '{"training_config.yaml":"a: \\"\\u003c\\u0026\\u003e\\"\\ntext: \\"é\\t\\\\\\"q\\\\\\" \\u2028\\"\\n"}}'
)
"""What `kubectl create configmap --save-config --dry-run=client` of v1.32.4 kept of the object below."""
KEY = "kubectl.kubernetes.io/last-applied-configuration"
CONFIG_MAP = """apiVersion: v1
kind: ConfigMap
metadata:
  name: tuning
  namespace: default
data:
  training_config.yaml: |
    training_config:
      TrainingArguments:
        output_dir: /mnt/results
    # FILL
"""
EMPTY_BYTES = len(KEY) + len(
    '{"apiVersion":"v1","kind":"ConfigMap","metadata":{"namespace":"default","name":"tuning","annotations":{}},"data":'
    '{"training_config.yaml":"training_config:\\n  TrainingArguments:\\n    output_dir: /mnt/results\\n# \\n"}}\n'
)


def config_map(num_characters: int) -> Manifest:
    text = CONFIG_MAP.replace("FILL", "x" * num_characters)
    return read_manifests(Source("cm.yaml", text)).manifests[0]


def findings(num_characters: int) -> list[tuple[str, Severity]]:
    engine = Engine(RuleSet(FILE_RULES, JOB_RULES, OBJECT_RULES), Overrides(), SettingsFinder(isolated=True))
    engine.library.add_source(Source("cm.yaml", CONFIG_MAP.replace("FILL", "x" * num_characters)))
    return [(one.code, one.severity) for one in engine.check(["cm.yaml"]).findings if "annotation" in one.message]


def test_an_object_is_written_as_kubectl_writes_it() -> None:
    text = 'a: "<&>"\ntext: "é\t\\"q\\" \u2028"\n'
    metadata = {"name": "c", "creationTimestamp": None}
    written = {"kind": "ConfigMap", "apiVersion": "v1", "metadata": metadata, "data": {"training_config.yaml": text}}

    assert as_go_writes(written).decode() == RECORDED


def test_the_size_is_that_of_key_and_value() -> None:
    assert annotation_bytes(config_map(200_000)) == EMPTY_BYTES + 200_000


def test_a_small_object_is_not_looked_at() -> None:
    assert annotation_bytes(config_map(1000)) == 0


def test_what_the_annotation_cannot_hold_is_a_warning() -> None:
    fits = MOST_BYTES - EMPTY_BYTES

    assert findings(fits) == []
    assert findings(fits + 1) == [("KT110", Severity.WARNING)]
