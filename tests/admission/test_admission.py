"""Admission answers what the engine finds on the object under review."""

from __future__ import annotations

import gc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from admitting import MISSPELT, judged
from reviews import TRAINING_CONFIG, config_map, review, workspace

from kaitoc.compiler.admission.partners import FolderPartners
from kaitoc.compiler.admission.review import Answer
from kaitoc.compiler.job.job import Job
from kaitoc.compiler.manifest.objects import Manifest
from kaitoc.compiler.manifest.training_config import TrainingConfig


@pytest.fixture
def cluster(tmp_path: Path) -> FolderPartners:
    (tmp_path / "cm.yaml").write_text(yaml.safe_dump(config_map()))
    return FolderPartners([str(tmp_path)])


def num_alive() -> int:
    """Return how many parts of manifests there are in memory."""
    gc.collect()
    return sum(type(kept) in (Job, Manifest, TrainingConfig) for kept in gc.get_objects())


def test_a_clean_workspace_passes(cluster: FolderPartners) -> None:
    assert judged(review(workspace()), cluster).is_allowed


def test_a_workspace_that_does_not_fit_is_refused(cluster: FolderPartners) -> None:
    given = judged(review({**workspace(method="lora"), "resource": {"instanceType": "Standard_NC4as_T4_v3",
                   "labelSelector": {}}}), cluster)  # fmt: skip
    assert not given.is_allowed
    assert "KT302" in given.codes


def test_a_faulty_config_map_is_refused_at_its_pointer() -> None:
    given = judged(review(config_map(MISSPELT)))
    assert not given.is_allowed
    assert "/data/training_config.yaml/training_config/ModelConfig/torch_dtpe" in given.message


def test_a_config_map_is_judged_by_the_workspace_that_uses_it(tmp_path: Path) -> None:
    (tmp_path / "ws.yaml").write_text(yaml.safe_dump(workspace(method="lora")))
    given = judged(review(config_map()), FolderPartners([str(tmp_path)]))
    assert "KT302" in given.codes


def in_documents(*objects: dict[str, Any]) -> str:
    return yaml.safe_dump_all(objects)


def in_a_list(*objects: dict[str, Any]) -> str:
    return yaml.safe_dump({"apiVersion": "v1", "kind": "List", "items": [*objects]})


@pytest.mark.parametrize("written", [in_documents, in_a_list])
def test_the_object_under_review_counts_and_not_what_its_partners_file_holds_of_it(
    tmp_path: Path, written: Callable[..., str]
) -> None:
    (tmp_path / "both.yaml").write_text(written(workspace(), config_map()))
    partners = FolderPartners([str(tmp_path)])
    unknown_target = config_map(TRAINING_CONFIG.replace('["qkv_proj", "o_proj"]', '["q_proj"]'))
    assert "KT401" in judged(review(unknown_target), partners).codes
    assert "KT302" in judged(review(workspace(method="lora")), partners).codes
    assert judged(review(config_map()), partners).is_allowed


def test_a_missing_config_map_is_refused_only_where_all_are_known(tmp_path: Path) -> None:
    assert judged(review(workspace())).is_allowed
    assert not judged(review(workspace()), FolderPartners([str(tmp_path)])).is_allowed


def test_a_changed_folder_is_read_again(tmp_path: Path) -> None:
    partners = FolderPartners([str(tmp_path)])
    (tmp_path / "cm.yaml").write_text(yaml.safe_dump(config_map()))
    partners.refresh()
    assert judged(review(workspace()), partners).is_allowed


def test_an_update_of_an_immutable_field_is_refused(cluster: FolderPartners) -> None:
    given = judged(review(workspace(method="lora"), "UPDATE", workspace()), cluster)
    assert "KT328" in given.codes
    assert not given.is_allowed


@pytest.mark.parametrize("field", [("resource", "labelSelector"), ("tuning", "preset")])
def test_an_update_that_removes_an_immutable_field_is_refused_at_that_field(
    cluster: FolderPartners, field: tuple[str, str]
) -> None:
    part, name = field
    removed = workspace()
    removed[part] = {key: value for key, value in removed[part].items() if key != name}

    given = judged(review(removed, "UPDATE", workspace()), cluster)

    assert f"`{part}.{name}` cannot be removed" in given.message
    assert f"(at /{part}/{name})" in given.message


def test_an_update_of_a_config_map_is_warned_of() -> None:
    given = judged(review(config_map(TRAINING_CONFIG.replace("r: 8", "r: 16")), "UPDATE", config_map()))
    assert given.is_allowed
    assert any(warning.startswith("KT459") for warning in given.warnings)


@pytest.mark.parametrize("operation", ["DELETE", "CONNECT"])
def test_what_is_neither_made_nor_changed_passes(operation: str) -> None:
    assert judged(review(config_map(MISSPELT), operation)) == Answer(is_allowed=True)


def test_an_object_on_its_way_out_may_lose_its_finalizer() -> None:
    old = workspace(method="full")
    going = {**old, "metadata": {**old["metadata"], "deletionTimestamp": "2026-01-01T00:00:00Z"}}
    assert judged(review(going, "UPDATE", old)) == Answer(is_allowed=True)


def test_an_update_that_changes_only_metadata_passes_with_what_is_wrong_as_warnings() -> None:
    old = workspace(method="full")
    labelled = {**old, "metadata": {**old["metadata"], "labels": {"team": "a"}}, "status": {"conditions": []}}

    found = judged(review(labelled, "UPDATE", old))

    assert found.is_allowed
    assert found.warnings == (judged(review(old)).message,)


def test_an_update_that_leaves_a_fault_where_it_changes_something_else_is_refused() -> None:
    old = workspace(method="full")
    changed = {**old, "resource": {**old["resource"], "instanceType": "Standard_NC48ads_A100_v4"}}

    assert not judged(review(changed, "UPDATE", old)).is_allowed


def test_other_kinds_pass() -> None:
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a"}}
    assert judged(review(pod)) == Answer(is_allowed=True)


def test_other_config_maps_pass() -> None:
    other = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "data": {"a.conf": "x = {"}}
    assert judged(review(other)) == Answer(is_allowed=True)


def test_a_tuning_object_of_more_values_than_any_has_is_refused_unjudged() -> None:
    crowded = workspace(input={"urls": ["https://example.com/data.json"] * 10_000})

    found = judged(review(crowded))

    assert not found.is_allowed
    assert "more than 10,000 values" in found.message


def test_a_version_that_is_newer_than_kaitoc_passes_unjudged() -> None:
    newer = {**workspace(method="none"), "apiVersion": "kaito.sh/v2"}

    found = judged(review(newer))

    assert found.is_allowed
    assert found.warnings == ("`kaito.sh/v2` is newer than this kaitoc, which cannot check it; update kaitoc",)


@pytest.mark.parametrize("word", ["y", "on", "08", "1e3", "0o17", "~", "null", "1_0", "true", "2026-01-31", ""])
def test_a_text_that_yaml_would_read_as_something_else_stays_a_text(word: str) -> None:
    labelled = {**config_map(), "metadata": {**config_map()["metadata"], "labels": {"a": word.strip("~")}}}
    labelled["data"] = {**labelled["data"], "other": word}

    assert judged(review(labelled)) == judged(review(config_map()))


def test_what_the_api_server_will_refuse_is_refused_with_its_path() -> None:
    found = judged(review(workspace(config=["a"])))

    assert not found.is_allowed
    assert "KT110 `tuning.config` is a list; it must be text" in found.message


def test_a_large_object_passes_where_it_is_stored_already_or_not_about_tuning() -> None:
    crowded = workspace(input={"urls": ["https://example.com/data.json"] * 10_000})
    labelled = {**crowded, "metadata": {**crowded["metadata"], "labels": {"team": "a"}}}
    other = {**config_map(), "data": {f"key{number}": "text" for number in range(10_000)}}

    stored = judged(review(labelled, "UPDATE", crowded))

    assert stored.is_allowed
    assert "not checked" in stored.warnings[0]
    assert judged(review(other)) == Answer(is_allowed=True)


def test_a_training_config_longer_than_any_is_refused_unread() -> None:
    padded = TRAINING_CONFIG + "# padding\n" * 5_000

    found = judged(review(config_map(padded)))

    assert not found.is_allowed
    assert "KT101" in found.message
    assert "longer than 50,000 characters" in found.message


def test_nothing_of_the_objects_under_review_is_kept() -> None:
    """A webhook lives for weeks, and whoever may create a ConfigMap may send it any number of them."""
    before = num_alive()
    for number in range(8):
        many_keys = "".join(f"    key{number}_{index}: 1\n" for index in range(50))
        judged(review(config_map(f"training_config:\n  TrainingArguments:\n{many_keys}", f"config-{number}")))
        judged(review(workspace(method=f"method-{number}"), "CREATE"))

    assert num_alive() <= before + 1  # Kaito's default template


def test_suppressions_of_errors_are_refused_unless_allowed() -> None:
    hidden = review(config_map(MISSPELT.replace('"bfloat16"\n', '"bfloat16"  # kaitoc: ignore[KT202] meant\n', 1)))
    assert not judged(hidden).is_allowed
    assert judged(hidden, refuses_suppressions=False).is_allowed


def test_remote_code_is_refused() -> None:
    trusting = TRAINING_CONFIG.replace("  ModelConfig:\n", "  ModelConfig:\n    trust_remote_code: true\n")
    given = judged(review(config_map(trusting)))
    assert "KT458" in given.codes
    assert not given.is_allowed


def test_strict_refuses_warnings() -> None:
    changed = review(config_map(TRAINING_CONFIG.replace("r: 8", "r: 16")), "UPDATE", config_map())
    assert not judged(changed, is_strict=True).is_allowed
