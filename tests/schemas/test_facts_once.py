"""Every fact has one place: an entry, a file, a named threshold, with its source."""

from __future__ import annotations

import ast
import copy
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from facts import LIBRARIES, VERSION, Facts, told_twice, written_files
from packaging.specifiers import SpecifierSet

from kaitoc.compiler.catalog.library_changes import LibraryChange, changes
from kaitoc.compiler.catalog.releases import all_releases
from kaitoc.schemas import read_json

REPOSITORY = Path(__file__).resolve().parents[2]
FILES = written_files()
RELEASES = {entry["name"]: entry for entry in read_json("catalog/releases")["releases"]}
NAMED_CAPABILITIES = {("compiler/catalog/gpus.py", name) for name in ("AMPERE", "ADA", "HOPPER")}


def test_nothing_is_told_twice() -> None:
    assert told_twice(FILES) == []


def gpu_again(files: Facts) -> None:
    files["catalog/gpus"]["gpus"].append({**files["catalog/gpus"]["gpus"][0], "nominal_gib": 15})


def chips_by_gpu(files: Facts) -> None:
    files["catalog/throughput"]["chips"] = {"T4": {"multiprocessors": 40}}


def contexts_by_gpu_model(files: Facts) -> None:
    files["catalog/contexts"] = {"reports": {"NVIDIA A100": [0.49]}}


def memory_beside_an_instances_gpu(files: Facts) -> None:
    files["catalog/instance_types"]["instance_types"][0]["memory_bytes"] = 1


def versions_by_release(files: Facts) -> None:
    files["training_config/stacks"] = {"releases": {"v0.12": {"trainer": "trl.SFTConfig"}}}


def versions_without_a_name(files: Facts) -> None:
    files["training_config/pins"] = {"newest": {"transformers": "5.14.1"}}


def profile_of_a_release(files: Facts) -> None:
    files["catalog/stacks"]["stacks"].append({"name": "kaito-v0.12", "trl": "1.7"})


def tokenizers_by_model(files: Facts) -> None:
    files["catalog/tokenizers"] = {"falcon-7b": {"pad_token": None}}


def modules_by_class(files: Facts) -> None:
    files["catalog/module_classes"] = {"modules": {"llama": {"other": ["layers", "self_attn", "mlp"]}}}


PLANTS = (gpu_again, chips_by_gpu, contexts_by_gpu_model, memory_beside_an_instances_gpu, versions_by_release,
          versions_without_a_name, profile_of_a_release, tokenizers_by_model, modules_by_class)  # fmt: skip


@pytest.mark.parametrize("plant", PLANTS)
def test_a_fact_that_is_told_again_is_found(plant: Callable[[Facts], None]) -> None:
    files = copy.deepcopy(FILES)
    plant(files)

    assert len(told_twice(files)) >= 1


@pytest.mark.parametrize("library", LIBRARIES)
@pytest.mark.parametrize("release", RELEASES)
def test_the_resolved_version_of_a_library_is_one_that_the_release_asks_for(release: str, library: str) -> None:
    version = RELEASES[release]["libraries"][library]

    assert SpecifierSet(version["stated"]).contains(version["resolved"])


@pytest.mark.parametrize("release", RELEASES)
def test_a_release_says_where_its_versions_come_from(release: str) -> None:
    image = RELEASES[release]["image"]

    assert re.fullmatch(r"\d{4}-\d\d-\d\d", image["committed"])
    assert image["requirements"].startswith(f"{release}.")
    assert image["requirements"].endswith("requirements.txt")


def test_the_bundled_runtimes_versions_are_those_of_the_project() -> None:
    pinned = dict(re.findall(r"^([\w-]+)==(\S+)$", (REPOSITORY / "constraints.txt").read_text("utf-8"), re.MULTILINE))
    project = (REPOSITORY / "pyproject.toml").read_text("utf-8")

    for library, version in read_json("catalog/releases")["bundled"]["libraries"].items():
        assert pinned[library] == version["resolved"]
        assert f'"{library}{version["stated"]}"' in project


def test_every_change_has_its_name_effect_and_source() -> None:
    entries = read_json("catalog/library_changes")["changes"]

    assert set(entries) == {change.value for change in LibraryChange}
    for entry in entries.values():
        assert entry["library"] in (*LIBRARIES, "vllm", "liger-kernel")
        assert entry["effect"]
        assert entry["source"]


def test_a_change_holds_from_its_first_version_to_before_its_last() -> None:
    casts = changes()[LibraryChange.CASTS_VOCABULARY_BACK]

    assert [casts.includes(version) for version in ("0.8.6", "0.9.0", "0.13.9", "0.14.0", "1.10.0")] == [
        False, True, True, False, False,
    ]  # fmt: skip


def test_kaitos_collator_cannot_pad_from_the_first_release_with_ragged_labels_on() -> None:
    assert [release.name for release in all_releases() if not release.has(LibraryChange.RAGGED_LABELS)] == [
        "v0.8", "v0.9", "v0.10", "v0.11",
    ]  # fmt: skip


def version_literals(source: str) -> Iterator[str]:
    """Yield the comparisons with a version and the constants that look like one, by their source."""
    for node in ast.walk(ast.parse(source)):
        text = ast.unparse(node) if isinstance(node, (ast.Compare, ast.Assign, ast.Call)) else ""
        if isinstance(node, ast.Compare) and any(map(_is_version, [node.left, *node.comparators])):
            if "sys.version_info" not in text:
                yield text
        elif isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            if isinstance(node.value, ast.Tuple) and _is_version(node.value):
                yield text
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.args:
            asks = node.func.attr in ("startswith", "is_at_least")
            prefix = node.args[0].value if isinstance(node.args[0], ast.Constant) else None
            if asks and isinstance(prefix, str) and re.fullmatch(r"v?\d+\.[\d.]*", prefix):
                yield text


def _is_version(node: ast.expr) -> bool:
    if isinstance(node, ast.Tuple):
        parts = [part.value for part in node.elts if isinstance(part, ast.Constant)]
        return len(parts) == len(node.elts) >= 2 and all(type(part) is int for part in parts) and any(parts)
    return isinstance(node, ast.Constant) and isinstance(node.value, str) and bool(VERSION.fullmatch(node.value))


def test_no_module_has_a_version_threshold_of_its_own() -> None:
    found = {
        (path.relative_to(REPOSITORY).as_posix(), text.partition(" ")[0])
        for room in ("compiler", "rules", "runtime")
        for path in sorted((REPOSITORY / room).rglob("*.py"))
        for text in version_literals(path.read_text(encoding="utf-8"))
    }

    assert found == NAMED_CAPABILITIES, "name it in schemas/catalog/library_changes.json"


@pytest.mark.parametrize(
    "code",
    ["trl_number >= (1, 7)", "_FIRST_TRL = (1, 7)", "stack.transformers.startswith('4.')", "release.name == 'v0.11'"],
)
def test_a_threshold_in_code_is_found(code: str) -> None:
    assert list(version_literals(code)) == [ast.unparse(ast.parse(code))]
