"""One manifest, one set of codes: through `check`, `admit`, `webhook`, `lsp` and pre-commit.

The manifests are the examples of the rules' pages that need no options. `KAITOC_CORPUS` names a folder of further ones.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner
from lsp_editor import Editor
from page_examples import examples
from reviews import inference_set, multi_role_inference, serving_config_map, serving_workspace
from serving import Server, serving

from kaitoc.compiler.cli import cli
from kaitoc.compiler.core.source import Source
from kaitoc.compiler.manifest.recognition import DATA_KEY, SERVING_DATA_KEY
from kaitoc.compiler.yaml.kubernetes import json_content
from kaitoc.compiler.yaml.parser import parse_documents
from kaitoc.rules import RULES

pytestmark = pytest.mark.no_cover
ROOT = Path(__file__).resolve().parents[2]
LOST_ON_THE_WAY = {
    "KT101": "the API server parses objects: no syntax error of theirs gets there, only one of the text inside",
    "KT106": "the API server knows no such kind, so that it asks nobody about an object of it",
    "KT102": "of a key that is written twice it keeps one, but for the text inside",
    "KT108": "objects come one by one, so none stands beside another",
    "KT340": "objects come one by one, in the order in which they were created",
    "KT732": "objects come one by one: the Workspace that trains a server's adapter is not among its partners",
    "KT817": "partners are found by the kind that is stated, so one of another kind is none",
}
"""What admission cannot find any more, unless it is in a config, which stays a text."""

TOLD_INSTEAD = {"KT732": "KT731"}
"""Without the server of its adapter a run is judged by itself."""

TEXTS = tuple(f"/data/{key}" for key in (DATA_KEY, SERVING_DATA_KEY))

NUM_COMMITS = 3
"""pre-commit takes a second for each commit, so it is tried on some manifests, spread over all."""


@dataclass(frozen=True)
class Manifest:
    """A text to let through every door."""

    name: str
    text: str

    def __str__(self) -> str:
        return self.name


def examples_of_pages() -> list[Manifest]:
    return [
        Manifest(str(example), example.text)
        for rule in RULES
        for example in examples(rule)
        if not example.options and not example.previous
    ]


def further_ones() -> list[Manifest]:
    corpus = os.environ.get("KAITOC_CORPUS")
    files = sorted(Path(corpus).rglob("*.y*ml")) if corpus else []
    return [Manifest(file.name, file.read_text(encoding="utf-8")) for file in files]


def serving_ones() -> list[Manifest]:
    """Return each object that serves, and a ConfigMap that none uses, with faults of the text and of both together."""
    configs = {"faulty": FAULTY_CONFIG, "unreadable": "vllm:\n  max-model-len: [1\n"}
    users: dict[str, list[dict[str, Any]]] = {
        "Workspace": [serving_workspace()],
        "InferenceSet": [inference_set()],
        "MultiRoleInference": [multi_role_inference()],
        "unused": [],
    }
    return [
        Manifest(f"serving-{user}-{name}", yaml.safe_dump_all([serving_config_map(config), *objects]))
        for user, objects in users.items()
        for name, config in configs.items()
    ]


FAULTY_CONFIG = """vllm:
  no-such-option: 1
  max-num-seqs: 8
  max-num-seqs: 16
  tensor-parallel-size: 3
"""
EXAMPLES = examples_of_pages()
SERVING = serving_ones()
MANIFESTS = [*EXAMPLES, *SERVING, *further_ones()]
SERVED = [*EXAMPLES[:: 1 if os.environ.get("KAITOC_SOAK") else 8], *SERVING, *further_ones()]
"""A server's answer takes ten times that of a function, so the suite asks for some, and the soak for all."""
ADMITTED = [*EXAMPLES[:: 1 if os.environ.get("KAITOC_SOAK") else 2], *SERVING, *further_ones()]
MANIFESTS_BY_NAME = {manifest.name: number for number, manifest in enumerate(MANIFESTS)}


@pytest.fixture(params=ADMITTED, ids=str)
def manifest(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A manifest alone in a folder."""
    path = tmp_path / "manifest.yaml"
    path.write_text(request.param.text, encoding="utf-8")
    return path


def codes_of_check(path: Path) -> set[str]:
    arguments = ["check", "--isolated", "--format", "json", str(path)]
    result = CliRunner().invoke(cli, arguments)
    assert result.exit_code in (0, 1), result.stderr
    return {finding["code"] for finding in json.loads(result.stdout)["findings"]}


def test_each_object_that_serves_is_judged_with_its_config_map(tmp_path: Path) -> None:
    alone = codes_of_text(tmp_path, "serving-unused-faulty")
    assert alone == {"KT102", "KT701"}
    for kind in ("Workspace", "InferenceSet", "MultiRoleInference"):
        assert alone < codes_of_text(tmp_path, f"serving-{kind}-faulty")


def codes_of_text(folder: Path, name: str) -> set[str]:
    path = folder / "manifest.yaml"
    path.write_text(MANIFESTS[MANIFESTS_BY_NAME[name]].text, encoding="utf-8")
    return codes_of_check(path)


def codes_left_in_the_cluster(path: Path) -> set[str]:
    result = CliRunner().invoke(cli, ["check", "--isolated", "--format", "json", str(path)])
    findings = json.loads(result.stdout)["findings"]
    left = {
        finding["code"]
        for finding in findings
        if finding["code"] not in LOST_ON_THE_WAY or finding["pointer"].startswith(TEXTS)
    }
    return left | {TOLD_INSTEAD[finding["code"]] for finding in findings if finding["code"] in TOLD_INSTEAD}


def objects_of(path: Path) -> list[dict[str, Any]]:
    """Return the objects as kubectl sends them; nothing where the text is no YAML."""
    read = parse_documents(Source.read(str(path)))
    if any(document.root is None for document in read):
        return []
    contents = [json_content(document.root).value for document in read if document.root is not None]
    documents = [content for content in contents if isinstance(content, dict)]
    return [item for document in documents for item in document.get("items", [document])]


def review_of(content: dict[str, Any]) -> bytes:
    group, _, version = str(content.get("apiVersion", "")).rpartition("/")
    metadata = content.get("metadata") or {}
    request = {
        "uid": "1",
        "operation": "CREATE",
        "kind": {"group": group, "version": version, "kind": content.get("kind", "")},
        "namespace": metadata.get("namespace", ""),
        "name": metadata.get("name", ""),
        "object": content,
    }
    return json.dumps({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": request}).encode()


def told_codes(answer: str) -> set[str]:
    annotations = json.loads(answer)["response"].get("auditAnnotations", {})
    return set(annotations.get("codes", "").split(",")) - {""}


def test_admit_finds_what_check_finds(manifest: Path) -> None:
    told: set[str] = set()
    for content in objects_of(manifest):
        arguments = ["admit", "--isolated", "--allow-suppressions", "--partners", str(manifest.parent)]
        told |= told_codes(CliRunner().invoke(cli, arguments, input=review_of(content)).stdout)
    assert told == codes_left_in_the_cluster(manifest)


@dataclass(frozen=True)
class Cluster:
    """A webhook and the objects that it finds partners among: each manifest's in a namespace of its own."""

    server: Server
    folder: Path

    def objects_of(self, manifest: str) -> list[dict[str, Any]]:
        return objects_of(self.folder / f"{MANIFESTS_BY_NAME[manifest]}.yaml")


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    folder, text = tmp_path_factory.mktemp("cluster"), tmp_path_factory.mktemp("text") / "manifest.yaml"
    for number, manifest in enumerate(MANIFESTS):
        text.write_text(manifest.text, encoding="utf-8")
        objects = [content for content in objects_of(text) if isinstance(content.get("metadata"), dict)]
        for content in objects:
            content["metadata"]["namespace"] = f"manifest-{number}"
        (folder / f"{number}.yaml").write_text(yaml.safe_dump_all(objects), encoding="utf-8")
    options = ("--allow-suppressions", "--partners", str(folder))
    with serving(tmp_path_factory.mktemp("webhook"), *options) as server:
        yield Cluster(server, folder)


@pytest.mark.parametrize("manifest", [str(manifest) for manifest in SERVED])
def test_the_webhook_answers_what_admit_answers(manifest: str, cluster: Cluster) -> None:
    for content in cluster.objects_of(manifest):
        review = review_of(content)
        arguments = ["admit", "--isolated", "--allow-suppressions", "--partners",
                     str(cluster.folder / f"{MANIFESTS_BY_NAME[manifest]}.yaml")]  # fmt: skip
        answer = CliRunner().invoke(cli, arguments, input=review).stdout
        assert json.loads(cluster.server.review(review)[1]) == json.loads(answer)


@pytest.fixture(scope="module")
def editor() -> Iterator[Editor]:
    editor = Editor("--isolated")
    yield editor
    assert editor.quit() == 0


@pytest.mark.parametrize("manifest", SERVED, ids=str, indirect=True)
def test_the_editor_shows_what_check_finds(manifest: Path, editor: Editor) -> None:
    uri = editor.open(manifest)
    assert set(editor.codes(uri)) == codes_of_check(manifest)
    editor.close_all()


def test_the_editor_shows_what_check_finds_in_a_plain_config(tmp_path: Path, editor: Editor) -> None:
    path = tmp_path / SERVING_DATA_KEY
    path.write_text(FAULTY_CONFIG, encoding="utf-8")
    codes = set(editor.codes(editor.open(path)))
    assert codes == codes_of_check(path) != set()
    editor.close_all()


@pytest.mark.slow
@pytest.mark.parametrize(
    "manifest", [*EXAMPLES[:: len(EXAMPLES) // NUM_COMMITS], *SERVING[::2], *further_ones()], ids=str, indirect=True
)
def test_the_hook_finds_what_check_finds(manifest: Path, tmp_path: Path) -> None:
    hooks = yaml.safe_load((ROOT / ".pre-commit-hooks.yaml").read_text(encoding="utf-8"))
    check = next(hook for hook in hooks if hook["id"] == "kaitoc-check")
    check |= {"language": "system", "args": ["--isolated", "--format", "json"], "verbose": True}
    config = {"repos": [{"repo": "local", "hooks": [check]}]}
    (tmp_path / ".pre-commit-config.yaml").write_text(yaml.safe_dump(config))
    scripts = str(Path(sys.executable).parent)
    environment = {**os.environ, "PATH": f"{scripts}{os.pathsep}{os.environ['PATH']}",
                   "PRE_COMMIT_HOME": str(tmp_path / "home"), "GITHUB_ACTIONS": ""}  # fmt: skip
    for command in (["git", "init", "-q"], ["git", "add", "manifest.yaml"]):
        subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)
    hook = [sys.executable, "-m", "pre_commit", "run", "kaitoc-check"]
    told = subprocess.run(hook, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False).stdout
    report = json.loads(told[told.index("{\n") : told.rindex("}") + 1])
    assert {finding["code"] for finding in report["findings"]} == codes_of_check(manifest)
