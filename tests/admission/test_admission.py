"""Admission answers what the engine finds on the object under review."""

from __future__ import annotations

import base64
import copy
import gc
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from reviews import TRAINING_CONFIG, config_map, review, workspace

from kaitoc.compiler.admission.answer import answer, surroundings_of
from kaitoc.compiler.admission.objects import content_of, source_of
from kaitoc.compiler.admission.partners import FolderPartners, NoPartners, Partners
from kaitoc.compiler.admission.patch import patch_between
from kaitoc.compiler.admission.policy import Policy
from kaitoc.compiler.admission.review import MAX_WARNING_CHARS, Answer, ReviewError, read_review, render_answer
from kaitoc.compiler.check.engine import Engine, RuleSet
from kaitoc.compiler.cli import cli
from kaitoc.compiler.job.assumptions import Overrides
from kaitoc.compiler.job.job import Job
from kaitoc.compiler.job.settings import SettingsFinder
from kaitoc.compiler.manifest.objects import Manifest
from kaitoc.compiler.manifest.training_config import TrainingConfig
from kaitoc.rules import FILE_RULES, JOB_RULES, OBJECT_RULES, UPDATE_RULES

NO_COLLATOR = TRAINING_CONFIG.replace("  DataCollator:\n    mlm: false\n", "")
MISSPELT = TRAINING_CONFIG.replace("torch_dtype", "torch_dtpe")


def policy(*, refuses_suppressions: bool = True, **options: Any) -> Policy:
    engine = Engine(
        RuleSet(FILE_RULES, JOB_RULES, OBJECT_RULES),
        Overrides(kaito_version="v0.12"),
        SettingsFinder(isolated=True),
        refuse_error_suppressions=refuses_suppressions,
    )
    return Policy(engine, UPDATE_RULES, **options)


@pytest.fixture
def cluster(tmp_path: Path) -> FolderPartners:
    (tmp_path / "cm.yaml").write_text(yaml.safe_dump(config_map()))
    return FolderPartners([str(tmp_path)])


def judged(data: bytes, partners: Partners | None = None, **options: Any) -> Answer:
    request = read_review(data)
    return answer(request, policy(**options), surroundings_of(request, partners or NoPartners()))


def num_alive() -> int:
    """Return how many parts of manifests there are in memory."""
    gc.collect()
    return sum(type(kept) in (Job, Manifest, TrainingConfig) for kept in gc.get_objects())


def patched(content: Any, operations: tuple[dict[str, Any], ...]) -> Any:
    """Apply a JSON Patch of `add`, `remove` and `replace` as RFC 6902 has it."""
    content = copy.deepcopy(content)
    for operation in operations:
        *path, last = [part.replace("~1", "/").replace("~0", "~") for part in operation["path"].split("/")[1:]]
        parent = content
        for part in path:
            parent = parent[int(part) if isinstance(parent, list) else part]
        key: Any = int(last) if isinstance(parent, list) else last
        if operation["op"] == "remove":
            del parent[key]
        else:
            parent[key] = operation["value"]
    return content


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
    assert found.warnings == ("`kaito.sh/v2` is newer than this kaitoc, which does not judge it; update kaitoc",)


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
    assert "not judged" in stored.warnings[0]
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


def test_mutation_applies_the_safe_fixes_and_keeps_comments() -> None:
    assert not judged(review(config_map(NO_COLLATOR))).is_allowed
    given = judged(review(config_map(NO_COLLATOR)), mutates=True)
    assert given.is_allowed
    (operation,) = given.patch
    assert operation["path"] == "/data/training_config.yaml"
    assert "  DataCollator:\n    mlm: false\n" in operation["value"]
    assert "# fused on Phi-3" in operation["value"]


def test_what_mutation_changed_is_told_as_a_warning() -> None:
    given = judged(review(config_map(NO_COLLATOR)), mutates=True)

    assert [warning.partition(":")[0] for warning in given.warnings] == ["kaitoc changed this object"]
    assert "DataCollator" in given.warnings[0]


def test_mutation_leaves_what_it_cannot_mend_to_validation() -> None:
    given = judged(review(config_map(MISSPELT.replace("torch_dtpe", "nothing_like_it"))), mutates=True)

    assert (given.is_allowed, given.patch, given.warnings) == (True, (), ())


def test_mutation_of_a_clean_object_changes_nothing() -> None:
    assert judged(review(config_map()), mutates=True).patch == ()


def test_a_patched_object_is_clean() -> None:
    given = judged(review(config_map(NO_COLLATOR)), mutates=True)
    assert judged(review(patched(config_map(NO_COLLATOR), given.patch))).codes == ()


texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=12,
)
objects = st.dictionaries(texts, values, max_size=4)


@given(objects)
def test_an_object_reads_back_from_its_text(content: dict[str, Any]) -> None:
    assert content_of(source_of("x", content)) == content


@given(objects, objects)
def test_a_patch_turns_one_object_into_the_other(old: dict[str, Any], new: dict[str, Any]) -> None:
    assert patched(old, tuple(patch_between(old, new))) == new


def test_a_patch_has_one_order_in_every_process() -> None:
    script = (
        "from kaitoc.compiler.admission.patch import patch_between\n"
        "old, new = dict.fromkeys('zyxwvutsrq', 1), dict.fromkeys('abcqdef', 2)\n"
        "print(*(f'{one[\"op\"]} {one[\"path\"]}' for one in patch_between(old, new)), sep='\\n')\n"
    )
    runs = [
        subprocess.run([sys.executable, "-c", script], env={**os.environ, "PYTHONHASHSEED": seed},
                       capture_output=True, text=True, check=True).stdout.split("\n")
        for seed in ("0", "1", "2", "3")
    ]  # fmt: skip

    removed, added = [f"remove /{name}" for name in "zyxwvutsr"], [f"add /{name}" for name in "def"]
    assert runs == [[*removed, "add /a", "add /b", "add /c", "replace /q", *added, ""]] * 4


@given(st.binary(max_size=200) | values.map(lambda value: json.dumps(value).encode()))
def test_what_is_no_review_is_refused_in_one_line(data: bytes) -> None:
    with pytest.raises(ReviewError):
        read_review(data)


@pytest.mark.parametrize("data", [b"[" * 100_000, b'{"a":' * 5_000 + b"1" + b"}" * 5_000, b"\xff", b"", b'"\\ud800"'])
def test_hostile_bytes_are_refused(data: bytes) -> None:
    with pytest.raises(ReviewError):
        read_review(data)


@given(objects)
def test_any_object_gets_an_answer(content: dict[str, Any]) -> None:
    data = json.loads(review(workspace()))
    data["request"]["object"] = {**workspace(), **content}
    assert judged(json.dumps(data).encode()).status_code == 403


def test_warnings_are_cut_to_what_the_api_server_shows() -> None:
    rendered = json.loads(render_answer("u", Answer(is_allowed=True, warnings=("x" * 500,) * 40)))
    warnings = rendered["response"]["warnings"]
    assert {len(warning) for warning in warnings} == {MAX_WARNING_CHARS}
    assert len(warnings) == 16


def test_no_text_of_an_answer_steers_the_terminal_it_ends_up_in() -> None:
    key = TRAINING_CONFIG.replace("    r: 8\n", '    r: 8\n    "a\\e[31m\\nb\\u202e": 1\n')
    refused = json.loads(render_answer("u", judged(review(config_map(key)))))["response"]["status"]["message"]
    assert "KT202" in refused
    warned = json.loads(render_answer("u", Answer(is_allowed=True, warnings=("a\x1b[31m\nb",))))["response"]["warnings"]
    assert all(text.isprintable() for text in (refused, *warned))


def admit(*arguments: str, text: bytes) -> Any:
    return CliRunner().invoke(cli, ["admit", "--isolated", *arguments], input=text)


def test_the_command_answers_and_exits_by_the_verdict() -> None:
    refused = admit(text=review(config_map(MISSPELT)))
    response = json.loads(refused.stdout)["response"]
    assert (refused.exit_code, response["allowed"], response["status"]["code"]) == (1, False, 403)
    assert response["uid"] == "705ab4f5-6393-11e8-b7cc-42010a800002"

    mutated = admit("--mutate", text=review(config_map(NO_COLLATOR)))
    patch = json.loads(base64.b64decode(json.loads(mutated.stdout)["response"]["patch"]))
    assert (mutated.exit_code, patch[0]["op"]) == (0, "replace")


def test_the_command_reads_yaml(tmp_path: Path) -> None:
    file = tmp_path / "review.yaml"
    file.write_text(yaml.safe_dump(json.loads(review(config_map()))))
    assert admit(str(file), text=b"").exit_code == 0


@pytest.mark.parametrize("arguments", [("nowhere.json",), ("--partners", "nowhere"), ("--kaito-version", "v9"), ()])
def test_the_command_names_bad_input(arguments: tuple[str, ...]) -> None:
    result = admit(*arguments, text=b"{}")
    assert result.exit_code == 2
    assert result.stderr.startswith("kaitoc: ")
    assert "Traceback" not in result.stderr
