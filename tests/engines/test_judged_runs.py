"""`kaitoc check` judges what `--emit` writes: silent as emitted, each trap at its line, other programs' objects not."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

import pytest
from crd_schemas import TABLE
from emit_cases import cases, job_of

from kaitoc.compiler.check.engine import Engine
from kaitoc.compiler.check.engine_options import EngineOptions, engine_of
from kaitoc.compiler.core.findings import Finding
from kaitoc.compiler.core.source import Source
from kaitoc.compiler.engines.emission import emission_of
from kaitoc.compiler.engines.emit_options import EmitOptions
from kaitoc.rules.version_bound_field import FIELDS

DEMO = Path(__file__).resolve().parents[2] / "examples" / "demo.yaml"
JOB_SET, TRAIN_JOB, PYTORCH_JOB = "jobset", "trainjob", "pytorchjob"
LONG = "n" * 60
RANK, JOB_INDEX = r"metadata.annotations\['batch.*'\]", "metadata.labels['jobset.sigs.k8s.io/job-index']"
ALL_PODS = r"- name: node\n((.*\n)*?)( +)completions: 4\n.*parallelism: 4"
RESULTS = r"( +)(mountPath: /mnt/results)"


def engine() -> Engine:
    return engine_of(EngineOptions(isolated=True))


def findings_in(text: str) -> list[Finding]:
    checking = engine()
    checking.library.add_source(Source("run.yaml", text))
    outcome = checking.check(["run.yaml"])
    assert outcome.errors == []
    return outcome.findings


@cache
def emitted(kind: str, num_nodes: int = 4) -> str:
    """Return the manifests of the demo on several nodes."""
    options = EmitOptions(engine=kind, image="registry.example/kaitoc-runtime:0.1.0", num_nodes=num_nodes,
                          model_claim="model")  # fmt: skip
    return emission_of(job_of(DEMO.read_text(encoding="utf-8")), options).text


def edited(text: str, old: str, new: str) -> str:
    """Return manifests with a text replaced, where it first is behind the plan's."""
    plan, mark, run = text.partition("\n---\n")
    assert re.search(old, run, re.MULTILINE), old
    return plan + mark + re.sub(old, new, run, count=1, flags=re.MULTILINE)


TRAPS = [
    ("KT801", TRAIN_JOB, r"numNodes: 4$", "numNodes: 3", "numNodes: 3"),
    ("KT801", TRAIN_JOB, r"numProcPerNode: 1$", "numProcPerNode: 2", "numNodes: 4"),
    ("KT801", JOB_SET, r"parallelism: 4", "parallelism: 2", "parallelism: 2"),
    ("KT801", JOB_SET, r"(PET_NPROC_PER_NODE\n +value: )'1'", r"\1'8'", "completions: 4"),
    ("KT801", PYTORCH_JOB, r"replicas: 3", "replicas: 4", "replicas: 4"),
    ("KT803", TRAIN_JOB, r"(configMap:\n +name: ).*", r"\1other", "name: other"),
    ("KT804", TRAIN_JOB, r"(kind: TrainJob\nmetadata:\n  name: ).*", rf"\1{LONG}", f"name: {LONG}"),
    ("KT804", TRAIN_JOB, r"(kind: TrainJob\nmetadata:\n  name: ).*", r"\g<1>9x", "name: 9x"),
    ("KT804", JOB_SET, r"(kind: JobSet\nmetadata:\n  name: ).*", r"\1a.b", "name: a.b"),
    ("KT805", TRAIN_JOB, r"  trainer:\n(    .*\n)+", "", "spec:"),
    ("KT806", TRAIN_JOB, r"numProcPerNode: 1$", "numProcPerNode: auto", "numProcPerNode: auto"),
    ("KT806", TRAIN_JOB, r"numProcPerNode: 1$", "numProcPerNode: 0", "numProcPerNode: 0"),
    ("KT806", TRAIN_JOB, r" +numProcPerNode: 1\n( +resourcesPerNode:)\n.*\n.*", r"\1 {}", "trainer:"),
    ("KT807", TRAIN_JOB, r" +torch: \{\}\n", "", "name: tune"),
    ("KT807", TRAIN_JOB, r"trainjob-ancestor-step: trainer", "trainjob-ancestor-step: other", "- name: node"),
    ("KT807", JOB_SET, r"- name: PET_NODE_RANK", "- name: NODE", "completions: 4"),
    ("KT808", TRAIN_JOB, r"- name: node$", "- name: worker", "- name: worker"),
    ("KT808", TRAIN_JOB, r"( +)(replicatedJobs:)", r"\1network: {subdomain: here}\n\1\2", "network"),
    ("KT808", JOB_SET, r"(PET_MASTER_ADDR\n +value: ).*", r"\1elsewhere", "elsewhere"),
    ("KT809", TRAIN_JOB, r"(containers:\n +- name: )node", r"\1trainer", "- name: trainer"),
    ("KT809", PYTORCH_JOB, r"(containers:\n +- name: )pytorch", r"\1node", "- name: node"),
    ("KT810", TRAIN_JOB, r"( +)(numNodes: 4)", r"\1env: [{name: PET_NNODES, value: '4'}]\n\1\2", "env:"),
    ("KT811", TRAIN_JOB, r"restartPolicy: Never", "restartPolicy: OnFailure", "restartPolicy: OnFailure"),
    ("KT811", JOB_SET, r" +restartPolicy: Never\n", "", "podFailurePolicy:"),
    ("KT812", TRAIN_JOB, r"name: noRetry", "name: no-retry", "name: no-retry"),
    ("KT813", TRAIN_JOB, r"( +)(trainer:)$", r"\1podSpecOverrides: []\n\1\2", "podSpecOverrides"),
    ("KT813", TRAIN_JOB, r"torch: \{\}", "torch: {numProcPerNode: auto}", "torch:"),
    ("KT814", TRAIN_JOB, r"persistentVolumeClaim:\n +claimName: tuning-results", "emptyDir: {}", "emptyDir"),
    ("KT814", JOB_SET, r"mountPath: /mnt/results", "mountPath: /mnt/elsewhere", "volumeMounts"),
    ("KT804", PYTORCH_JOB, r"(kind: PyTorchJob\nmetadata:\n  name: ).*", rf"\1{LONG}", f"name: {LONG}"),
    ("KT804", PYTORCH_JOB, r"(kind: PyTorchJob\nmetadata:\n  name: ).*", r"\g<1>9x", "name: 9x"),
    ("KT812", JOB_SET, r"name: noRetry", "name: no-retry", "name: no-retry"),
    ("KT814", PYTORCH_JOB, r"persistentVolumeClaim:\n +claimName: tuning-results", "emptyDir: {}", "emptyDir"),
    ("KT815", TRAIN_JOB, r"backoffLimit: 0", "backoffLimit: 6", "backoffLimit: 6"),
    ("KT817", TRAIN_JOB, r"\n    kind: TrainingRuntime", "", "name: tune"),
    ("KT817", TRAIN_JOB, r"kind: TrainingRuntime\nmeta", r"kind: ClusterTrainingRuntime\nmeta", "kind: Training"),
    ("KT818", JOB_SET, r"- python\n( +- -m)", r"- torchrun\n\1", "- torchrun"),
    ("KT815", JOB_SET, r" +backoffLimit: 0\n", "", "- name: node"),
    ("KT801", TRAIN_JOB, r"numNodes: 4$", "numNodes: '4'", "numNodes: '4'"),
    ("KT801", TRAIN_JOB, r"numNodes: 4\n( +)numProcPerNode: 1$", r"numNodes: 1\n\1numProcPerNode: 4", "PerNode: 4"),
    ("KT801", TRAIN_JOB, r"- name: node$", "- name: node\n          replicas: 2", "replicas: 2"),
    ("KT801", JOB_SET, r"- name: node$", "- name: node\n      replicas: 2", "completions: 4"),
    ("KT801", JOB_SET, r"(PET_NPROC_PER_NODE\n +value: )'1'((.*\n)*?.*gpu: )'1'", r"\1auto\2'2'", "completions: 4"),
    ("KT801", PYTORCH_JOB, r"nprocPerNode: '1'((.*\n)*?.*gpu: )'1'", r"nprocPerNode: auto\1'2'", "replicas: 3"),
    ("KT801", PYTORCH_JOB, r"replicas: 1((.*\n)*?.*)replicas: 3", r"replicas: 2\1replicas: 2", "replicas: 2"),
    ("KT801", PYTORCH_JOB, r"(  nprocPerNode)", r"  elasticPolicy: {minReplicas: 1}\n\1", "elasticPolicy"),
    ("KT804", TRAIN_JOB, r"(kind: TrainJob\nmetadata:\n  )name: .*", rf"\1generateName: {LONG[:44]}", "generateName"),
    ("KT807", JOB_SET, r" +- name: PET_MASTER_PORT\n.*\n", "", "completions: 4"),
    ("KT807", JOB_SET, r"(PET_NODE_RANK\n +)valueFrom:\n.*\n.*", r"\1value: '0'", "value: '0'"),
    ("KT807", JOB_SET, RANK, "metadata.name", "fieldPath"),
    ("KT807", JOB_SET, RANK, JOB_INDEX, "fieldPath"),
    ("KT807", JOB_SET, ALL_PODS, r"- name: node\n      replicas: 2\n\1\3completions: 2\n\3parallelism: 2", "fieldPath"),
    ("KT807", TRAIN_JOB, r"( +)backoffLimit: 0", r"\1completionMode: NonIndexed\n\1backoffLimit: 0", "NonIndexed"),
    ("KT808", TRAIN_JOB, r"( +)(replicatedJobs:)", r"\1network: {enableDNSHostnames: false}\n\1\2", "network"),
    ("KT808", JOB_SET, r"( +)(replicatedJobs:)", r"\1network: {enableDNSHostnames: false}\n\1\2", "network"),
    ("KT808", TRAIN_JOB, r"( +)- name: node$", r"\1- name: other\n\1  template: {}\n\1- name: worker", "worker"),
    ("KT812", JOB_SET, r"( +)- (name: noRetry\n( +).*\n)", r"\1- \2\1- \2", "- name: noRetry"),
    ("KT812", TRAIN_JOB, r"( +)(action: FailJobSet)", r"\1\2\n\1targetReplicatedJobs: [worker]", "[worker]"),
    ("KT812", TRAIN_JOB, r"- PodFailurePolicy", "- PodFailure", "- PodFailure"),
    ("KT813", TRAIN_JOB, r"( +)(mlPolicy:)", r"\1podGroupPolicy: {volcano: {}}\n\1\2", "volcano"),
    ("KT814", TRAIN_JOB, r"persistentVolumeClaim:\n +claimName: tuning-results", "ephemeral: {}", "ephemeral"),
    ("KT814", JOB_SET, RESULTS, r"\1\2\n\1subPathExpr: $(JOB_COMPLETION_INDEX)", "subPathExpr"),
    ("KT814", JOB_SET, RESULTS, r"\1\2\n\1subPathExpr: $(PET_NODE_RANK)", "subPathExpr"),
    ("KT815", TRAIN_JOB, r"- action: FailJob", "- action: Ignore", "- action: Ignore"),
    ("KT818", TRAIN_JOB, r"( +)(numNodes: 4)", r"\1command: [torchrun, -m, kaitoc.runtime]\n\1\2", "command:"),
    ("KT818", JOB_SET, r"- python\n( +)- -m\n +- kaitoc.runtime", r"- sh\n\1- -c\n\1- exec torchrun -m x", "torchrun"),
    ("KT818", PYTORCH_JOB, r"- python\n( +- -m)", r"- torchrun\n\1", "- torchrun"),
]  # fmt: skip


@pytest.mark.parametrize(("code", "kind", "old", "new", "line"), TRAPS)
def test_a_trap_is_found_at_its_line(code: str, kind: str, old: str, new: str, line: str) -> None:
    text = edited(emitted(kind), old, new)

    found = findings_in(text)

    assert code in {finding.code for finding in found}, found
    lines = text.splitlines()
    at = [lines[one.source.position(one.span.start).line - 1] for one in found if one.code == code]
    assert any(line in place for place in at), at
    assert all(one.help for one in found)


SIDECAR = r"\1containers:\n\1  - name: proxy\n\1    image: envoy\n"
SOUND = [
    (TRAIN_JOB, r"( +)containers:\n", SIDECAR),
    (JOB_SET, r"( +)containers:\n", SIDECAR),
    (PYTORCH_JOB, r"( +)containers:\n", SIDECAR),
    (JOB_SET, r"( +)containers:\n", SIDECAR + r"\1    command: [torchrun]\n"),
    (TRAIN_JOB, r"( +)- name: node$", r"\1- name: log\n\1  template: {spec: {template: {spec: {}}}}\n\1- name: node"),
    (TRAIN_JOB, r"( +)(numNodes: 4)", r"\1command: [python, -m, kaitoc.runtime]\n\1\2"),
    (TRAIN_JOB, r"nvidia.com/gpu: '1'(?![\s\S]*nvidia)", "nvidia.com/mig-3g.40gb: '1'"),
    (TRAIN_JOB, r"( +)(replicatedJobs:)", r"\1network: {enableDNSHostnames: true}\n\1\2"),
    (JOB_SET, r"- name: node$", "- name: node\n      replicas: 1"),
    (JOB_SET, r" +- name: PET_NPROC_PER_NODE\n.*\n", ""),
    (JOB_SET, r"metadata.annotations\['batch", "metadata.labels['batch"),
    (JOB_SET, r"(PET_NODE_RANK\n +)valueFrom:\n.*\n.*", r"\1value: $(INDEX)"),
    (JOB_SET, RESULTS, r"\1\2\n\1subPathExpr: $(PET_NNODES)"),
    (PYTORCH_JOB, r"nprocPerNode: '1'", "nprocPerNode: auto"),
    (PYTORCH_JOB, r" +nprocPerNode: '1'\n", ""),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "old", "new"), SOUND)
def test_what_is_no_trap_is_silent(kind: str, old: str, new: str) -> None:
    assert findings_in(edited(emitted(kind), old, new)) == []


def test_nodes_may_be_jobs_of_one_pod_that_are_numbered_as_jobs() -> None:
    text = edited(emitted(JOB_SET), ALL_PODS, r"- name: node\n      replicas: 4\n\1\3completions: 1\n\3parallelism: 1")

    assert findings_in(edited(text, RANK, JOB_INDEX)) == []


def test_a_plan_that_the_runtime_refuses_is_found_in_its_config_map() -> None:
    text = emitted(TRAIN_JOB).replace('"num_processes": 4', '"num_processes": 0', 1)

    (finding,) = findings_in(text)

    assert (finding.code, finding.pointer) == ("KT802", "/data/plan.json")
    assert "num_processes" in finding.message


def test_the_memory_is_estimated_anew_for_the_nodes_that_the_pods_select() -> None:
    large = emitted(TRAIN_JOB).replace('"max_length": 256', '"max_length": 4096', 1)
    large = large.replace('"per_device_train_batch_size": 1', '"per_device_train_batch_size": 4', 1)

    (finding,) = findings_in(edited(large, r"Standard_NC24ads_A100_v4", "Standard_NC4as_T4_v3"))

    assert finding.code == "KT816"
    assert "T4" in finding.message


def test_the_smallest_gpu_of_master_and_workers_is_the_one_that_counts() -> None:
    large = emitted(PYTORCH_JOB).replace('"max_length": 256', '"max_length": 4096', 1)
    large = large.replace('"per_device_train_batch_size": 1', '"per_device_train_batch_size": 4', 1)

    (finding,) = findings_in(edited(large, r"(Worker:(.*\n)*?.*)Standard_NC24ads_A100_v4", r"\1Standard_NC4as_T4_v3"))

    assert (finding.code, "T4" in finding.message) == ("KT816", True)


@pytest.mark.parametrize("case", cases(24, seed=8), ids=range(24))
def test_what_is_emitted_is_silent(case: object) -> None:
    text, options = case.text, case.options  # type: ignore[attr-defined]
    emission = emission_of(job_of(text), options)

    assert findings_in(emission.text) == []


@pytest.mark.parametrize("kind", [TRAIN_JOB, JOB_SET, PYTORCH_JOB])
def test_objects_without_the_label_are_left_alone(kind: str) -> None:
    text = edited(emitted(kind), r"(numNodes|completions|replicas): .", r"\1: 7")
    text = edited(text, r"persistentVolumeClaim:\n +claimName: tuning-results", "emptyDir: {}")

    assert findings_in(text.replace("kaitoc.dev/plan", "example.com/plan")) == []


def test_one_node_needs_no_address_and_no_shared_volume() -> None:
    text = edited(emitted(TRAIN_JOB, 1), r"persistentVolumeClaim:\n +claimName: tuning-results", "emptyDir: {}")

    assert findings_in(edited(text, r"( +)(replicatedJobs:)", r"\1network: {subdomain: here}\n\1\2")) == []


def test_a_plan_beside_the_file_is_the_runs(tmp_path: Path) -> None:
    plan, _, run = emitted(TRAIN_JOB).partition("\n---\n")
    (tmp_path / "plan.yaml").write_text(plan.replace('"num_processes": 4', '"num_processes": 8'), encoding="utf-8")
    (tmp_path / "run.yaml").write_text(run, encoding="utf-8")

    outcome = engine().check([str(tmp_path / "run.yaml")])

    assert [finding.code for finding in outcome.findings] == ["KT801"]


@pytest.mark.parametrize(
    ("code", "old", "new"),
    [("KT814", r"persistentVolumeClaim:\n +claimName: tuning-results", "emptyDir: {}"),
     ("KT815", r"backoffLimit: 0", "backoffLimit: 6")],
)  # fmt: skip
def test_a_runtime_in_a_file_of_its_own_has_the_nodes_that_its_plan_needs(
    tmp_path: Path, code: str, old: str, new: str
) -> None:
    files = [tmp_path / name for name in ("plan.yaml", "runtime.yaml", "run.yaml")]
    for file, text in zip(files, edited(emitted(TRAIN_JOB), old, new).split("\n---\n"), strict=True):
        file.write_text(text, encoding="utf-8")

    assert [finding.code for finding in engine().check([str(file) for file in files]).findings] == [code]


def test_without_the_plan_the_annotation_says_how_many_processes_it_has() -> None:
    _, _, run = emitted(TRAIN_JOB).partition("\n---\n")

    codes = [finding.code for finding in findings_in(run.replace("numNodes: 4", "numNodes: 3"))]

    assert codes == ["KT803", "KT801"]


def test_a_value_that_is_not_known_yet_is_not_judged() -> None:
    assert findings_in(edited(emitted(TRAIN_JOB), r"numNodes: 4$", "numNodes: ${NODES}")) == []


def test_nodes_whose_number_is_not_a_number_are_several() -> None:
    text = edited(emitted(JOB_SET), r"completions: 4", "completions: 'four'")

    (finding,) = findings_in(edited(text, r" +- name: PET_MASTER_PORT\n.*\n", ""))

    assert finding.message.startswith("several nodes without PET_MASTER_PORT: no pod finds the others")


@pytest.mark.parametrize("metadata", ["${METADATA}", "{name: tune, annotations: ${ANNOTATIONS}}"])
def test_metadata_that_is_not_known_yet_suppresses_nothing(metadata: str) -> None:
    run = re.sub(r"(kind: JobSet\nmetadata:)(\n  .*)+", rf"\1 {metadata}", emitted(JOB_SET))

    assert findings_in(run) == []


def test_a_number_of_thousands_of_digits_is_none() -> None:
    text = edited(emitted(JOB_SET), r"(PET_NNODES\n +value: )'4'", rf"\1'{'9' * 5000}'")

    assert findings_in(text) == []


@pytest.mark.parametrize("path", FIELDS, ids="/".join)
def test_a_version_bound_field_is_in_the_crds_of_the_releases_it_names(path: tuple[str, ...]) -> None:
    kind, *names = path
    releases = {key.split("/")[0].removeprefix("trainer-v").rpartition(".")[0] or "main": schema
                for key, schema in TABLE["schemas"].items() if key.endswith(f"/{kind}")}  # fmt: skip

    having = {release for release, schema in releases.items() if _has(schema, names)}

    assert having == _named(FIELDS[path], set(releases))


def _has(schema: dict[str, object], names: list[str]) -> bool:
    for name in names:
        schema = _resolved(schema).get("properties", {}).get(name)  # type: ignore[attr-defined]
        if schema is None:
            return False
    return True


def _resolved(schema: dict[str, object]) -> dict[str, object]:
    while "$ref" in schema:
        schema = TABLE["definitions"][str(schema["$ref"]).rpartition("/")[2]]
    return schema


def _named(words: str, releases: set[str]) -> set[str]:
    """Return the releases that `2.0`, `2.0 and 2.1` or `2.2 and later` name; the main branch is the latest."""
    first = words.split()[0]
    if words.endswith("later"):
        return {release for release in releases if release == "main" or release >= first}
    return set(words.split(" and "))
