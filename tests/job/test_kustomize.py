"""Files that kustomize puts together: plain training configs, patches, overlays, names with a hash."""

from __future__ import annotations

from pathlib import Path

import pytest

from kaitoc.compiler.check.engine import Engine, RuleSet
from kaitoc.compiler.check.fix_rounds import fix_until_stable
from kaitoc.compiler.check.inputs import find_files
from kaitoc.compiler.check.outcome import Outcome
from kaitoc.compiler.core.findings import Applicability, Severity
from kaitoc.compiler.job.assumptions import Overrides
from kaitoc.compiler.job.settings import SettingsFinder
from kaitoc.rules import FILE_RULES, JOB_RULES

CONFIG = """training_config:
  LoraConfig:
    r: 8
    target_modules: [qkv_proj]
  TrainingArguments:
    output_dir: /mnt/results
    per_device_train_batch_size: 1
    KEY: 512
  DataCollator:
    mlm: false
"""
RIGHT, WRONG = CONFIG.replace("KEY", "max_length"), CONFIG.replace("KEY", "max_seq_length")
WORKSPACE = """apiVersion: kaito.sh/v1beta1
kind: Workspace
metadata: {name: tune}
resource:
  instanceType: Standard_NC24ads_A100_v4
  labelSelector: {matchLabels: {app: tune}}
tuning:
  preset: {name: phi-3-mini-4k-instruct}
  method: lora
  config: params
  input: {urls: ["https://example.com/train.parquet"]}
  output: {volumeSource: {persistentVolumeClaim: {claimName: results}}}
"""
GENERATOR = """configMapGenerator:
  - name: params
    files: [FILES]
"""
UNHASHED = "generatorOptions: {disableNameSuffixHash: true}\n"


def config_map(config: str, name: str = "params") -> str:
    indented = "".join(f"    {line}" for line in config.splitlines(keepends=True))
    return f"apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: {name}}}\ndata:\n  training_config.yaml: |\n{indented}"


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write(files: dict[str, str]) -> None:
    for name, text in files.items():
        path = Path(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


def check(*paths: str) -> Outcome:
    engine = Engine(RuleSet(FILE_RULES, JOB_RULES), Overrides(), SettingsFinder(isolated=True))
    return engine.check(find_files(paths or (".",), engine.settings))


def errors(outcome: Outcome) -> list[tuple[str, int, str]]:
    return [
        (finding.source.path, finding.source.position(finding.span.start).line, finding.code)
        for finding in outcome.findings
        if finding.severity is Severity.ERROR
    ]


def test_a_plain_training_config_is_judged_by_itself(tree: Path) -> None:
    write({"training_config.yaml": WRONG})

    assert errors(check()) == [("training_config.yaml", 8, "KT202")]


@pytest.mark.parametrize("files", ["training_config.yaml", "training_config.yaml=lora.yaml"])
def test_a_plain_training_config_is_judged_with_the_workspace_that_a_kustomization_gives_it(
    tree: Path, files: str
) -> None:
    name = files.rpartition("=")[2]
    kustomization = f"resources: [ws.yaml]\n{GENERATOR.replace('FILES', files)}{UNHASHED}"
    write({"kustomization.yaml": kustomization, "ws.yaml": WORKSPACE, name: WRONG.replace("qkv_proj", "q_proj")})

    outcome = check()

    assert {"KT202", "KT401"} <= {code for path, _, code in errors(outcome) if path == name}
    assert "KT301" not in {finding.code for finding in outcome.findings}
    assert [job.configmap for job in outcome.jobs] == ["params"]
    assert {code for path, _, code in errors(check(name)) if path == name} >= {"KT202", "KT401"}
    assert {code for path, _, code in errors(check("ws.yaml")) if path == name} >= {"KT202", "KT401"}


@pytest.mark.parametrize("way", ["resources: [../../base]", "bases: [../../base]", "components: [../../base]"])
def test_what_a_base_generates_is_found_from_an_overlay(tree: Path, way: str) -> None:
    generator = GENERATOR.replace("FILES", "training_config.yaml")
    write(
        {
            "base/kustomization.yaml": f"resources: [../shared]\n{generator}{UNHASHED}",
            "base/training_config.yaml": WRONG,
            "shared/kustomization.yaml": "resources: [../base, https://example.com/remote?ref=v1, missing.yaml]\n",
            "overlays/prod/kustomization.yaml": f"{way}\n",
            "overlays/prod/ws.yaml": WORKSPACE,
        }
    )

    outcome = check("overlays/prod")

    assert ("base/training_config.yaml", 8, "KT202") in errors(outcome)
    assert "KT301" not in {finding.code for finding in outcome.findings}


def test_a_config_map_that_a_base_lists_is_found_from_an_overlay(tree: Path) -> None:
    write(
        {
            "base/kustomization.yaml": "resources: [maps/cm.yaml]\n",
            "base/maps/cm.yaml": config_map(WRONG),
            "overlays/prod/kustomization.yaml": "resources: [../../base, ws.yaml]\n",
            "overlays/prod/ws.yaml": WORKSPACE,
        }
    )

    outcome = check("overlays/prod")

    assert [code for _, _, code in errors(outcome)] == ["KT202"]
    assert "KT301" not in {finding.code for finding in outcome.findings}


def test_a_file_outside_of_its_folder_is_none_that_kustomize_takes(tree: Path) -> None:
    write(
        {
            "other/cm.yaml": config_map(WRONG),
            "overlays/prod/kustomization.yaml": "resources: [../../other/cm.yaml, ws.yaml]\n",
            "overlays/prod/ws.yaml": WORKSPACE,
        }
    )

    assert "KT301" in {finding.code for finding in check("overlays/prod").findings}


def test_a_file_that_a_kustomization_makes_a_training_config_must_be_one(tree: Path) -> None:
    kustomization = f"{GENERATOR.replace('FILES', 'training_config.yaml')}{UNHASHED}"
    write({"kustomization.yaml": kustomization, "ws.yaml": WORKSPACE, "training_config.yaml": "LoraConfig: {r: 8}\n"})

    assert errors(check()) == [("training_config.yaml", 1, "KT103")]


def test_a_generated_name_with_a_hash_is_not_the_name_that_the_workspace_gives(tree: Path) -> None:
    write(
        {
            "kustomization.yaml": GENERATOR.replace("FILES", "training_config.yaml"),
            "ws.yaml": WORKSPACE,
            "training_config.yaml": RIGHT,
        }
    )

    outcome = check()

    assert errors(outcome) == [("ws.yaml", 10, "KT301")]
    (found,) = [finding for finding in outcome.findings if finding.code == "KT301"]
    assert "`params-<hash>`" in found.message
    assert "disableNameSuffixHash" in found.help


def test_a_kustomization_with_configurations_may_rewrite_the_reference(tree: Path) -> None:
    write(
        {
            "kustomization.yaml": GENERATOR.replace("FILES", "training_config.yaml") + "configurations: [refs.yaml]\n",
            "ws.yaml": WORKSPACE,
            "training_config.yaml": RIGHT,
        }
    )

    assert errors(check()) == []


def test_a_rendered_name_with_a_hash_is_named_as_the_cause_even_beside_the_right_one(tree: Path) -> None:
    write(
        {
            "rendered.yaml": config_map(RIGHT, "params-5b7k9tm2f6") + "---\n" + WORKSPACE,
            "other.yaml": config_map(RIGHT),
        }
    )

    assert errors(check("rendered.yaml")) == [("rendered.yaml", 26, "KT301")]


def test_patches_are_left_alone(tree: Path) -> None:
    write(
        {
            "overlay/kustomization.yaml": "patches: [{path: gpu.yaml}]\npatchesStrategicMerge: [patches/batch.yaml]\n",
            "overlay/gpu.yaml": "apiVersion: kaito.sh/v1beta1\nkind: Workspace\nmetadata: {name: tune}\n",
            "overlay/patches/batch.yaml": config_map("training_config:\n  LoraConfig: {rank: 8}\n"),
        }
    )

    outcome = check()

    assert outcome.findings == []
    assert sum("kustomize patch" in checked.note for checked in outcome.checked) == 2
    assert check("overlay/patches/batch.yaml").findings == []
    assert check("overlay/gpu.yaml").findings == []


def test_a_patch_takes_no_config_maps_place(tree: Path) -> None:
    write(
        {
            "kustomization.yaml": "patches: [{path: a-patch.yaml}]\n",
            "a-patch.yaml": config_map("training_config:\n  LoraConfig: {r: 16}\n"),
            "cm.yaml": config_map(WRONG),
            "ws.yaml": WORKSPACE,
        }
    )

    assert errors(check("ws.yaml")) == [("cm.yaml", 13, "KT202")]


def test_every_overlay_is_judged(tree: Path) -> None:
    write(
        {
            "base/ws.yaml": WORKSPACE,
            "base/cm.yaml": config_map(RIGHT),
            "overlays/dev/cm.yaml": config_map(RIGHT),
            "overlays/prod/cm.yaml": config_map(WRONG.replace("qkv_proj", "q_proj")),
        }
    )

    outcome = check()

    # KT401 needs the model, which only the base's Workspace names.
    assert {(path, code) for path, _, code in errors(outcome)} == {
        ("overlays/prod/cm.yaml", "KT202"),
        ("overlays/prod/cm.yaml", "KT401"),
    }
    assert len(outcome.jobs) == 3


def test_a_fault_of_the_workspace_with_an_overlay_is_told_at_the_workspace(tree: Path) -> None:
    large = RIGHT.replace("max_length: 512", "max_length: 131072").replace("4k", "128k")
    write(
        {
            "base/ws.yaml": WORKSPACE.replace("4k", "128k").replace("NC24ads_A100_v4", "NV36ads_A10_v5"),
            "base/cm.yaml": config_map(RIGHT),
            "overlays/prod/cm.yaml": config_map(large.replace("batch_size: 1", "batch_size: 8")),
        }
    )

    assert ("base/ws.yaml", 5, "KT501") in errors(check())


@pytest.mark.parametrize("paths", [(), ("dev/cm.yaml", "prod/cm.yaml"), ("prod/cm.yaml", "dev/cm.yaml")])
def test_environments_with_the_same_names_are_judged_each_by_itself(tree: Path, paths: tuple[str, ...]) -> None:
    write(
        {
            "dev/ws.yaml": WORKSPACE,
            "dev/cm.yaml": config_map(RIGHT),
            "prod/ws.yaml": WORKSPACE,
            "prod/cm.yaml": config_map(WRONG),
        }
    )

    assert errors(check(*paths)) == [("prod/cm.yaml", 13, "KT202")]


def test_of_two_config_maps_of_one_name_in_a_file_the_last_counts_and_both_are_judged(tree: Path) -> None:
    write(
        {
            "all.yaml": config_map(WRONG)
            + "---\n"
            + config_map(RIGHT.replace("[qkv_proj]", "[o_proj]"))
            + "---\n"
            + WORKSPACE
        }
    )

    engine = Engine(RuleSet(), Overrides(), SettingsFinder(isolated=True))
    jobs = list(engine.jobs_of(engine.library.add_given("all.yaml")))

    # The ConfigMap that is overwritten, the Workspace with its own, and the Workspace with the one overwritten.
    targets = [job.value("LoraConfig", "target_modules") for job in jobs]
    assert targets == [["qkv_proj"], ["o_proj"], ["qkv_proj"]]
    assert errors(check()) == [("all.yaml", 13, "KT202")]


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_fixes_of_a_plain_file_keep_its_lines(tree: Path, newline: str) -> None:
    text = RIGHT.replace("    mlm: false\n", "    mlm: true # by mistake\n").replace("max_length", "max-length")
    Path("training_config.yaml").write_bytes(text.replace("\n", newline).encode())
    engine = Engine(RuleSet(FILE_RULES, JOB_RULES), Overrides(), SettingsFinder(isolated=True))

    fixed = fix_until_stable(engine, engine.check(["training_config.yaml"]), Applicability.SAFE)

    (after,) = fixed.texts.values()
    wanted = RIGHT.replace("    mlm: false\n", "    mlm: false # by mistake\n")
    assert after == wanted.replace("\n", newline)


def test_other_programs_files_are_none_of_ours(tree: Path) -> None:
    write(
        {
            "training_config.yaml": "model: {arch: resnet50}\n",
            "cm.yaml": config_map("training_config:\n  model: {arch: resnet50}\n  dataset: {path: /data}\n"),
            "broken.yaml": config_map("training_config:\n  model: [\n"),
        }
    )

    outcome = check()

    assert outcome.findings == []
    assert sum(checked.num_kaito_objects for checked in outcome.checked) == 0


def test_a_workspace_makes_a_config_map_kaitos(tree: Path) -> None:
    write({"cm.yaml": config_map("model: {arch: resnet50}\n"), "ws.yaml": WORKSPACE})

    assert errors(check()) == [("cm.yaml", 5, "KT103")]


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("apiVersion: kaito.sh/v1alpha1\nkind: RAGEngine\nmetadata: {name: rag}\n", "RAGEngine `rag`"),
        ("apiVersion: kaito.sh/v1alpha1\nkind: InferenceSet\nmetadata: {name: set}\n", "InferenceSet `set`"),
    ],
)
def test_an_object_of_kaitos_that_is_not_judged_is_named(tree: Path, text: str, named: str) -> None:
    write({"object.yaml": text})

    (checked,) = check().checked

    assert checked.note.startswith("object.yaml:3: not checked: ")
    assert named in checked.note
    assert checked.num_kaito_objects == 1
