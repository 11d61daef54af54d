"""Partners from the Kubernetes API, through the real client and an API server on the loopback interface."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import yaml
from reviews import (
    TRAINING_CONFIG,
    config_map,
    inference_set,
    multi_role_inference,
    review,
    serving_config_map,
    workspace,
)
from urllib3.exceptions import HTTPError

from kaitoc.compiler.admission.answer import answer, surroundings_of
from kaitoc.compiler.admission.partners import NoPartners
from kaitoc.compiler.admission.policy import PolicyOptions, policy_of
from kaitoc.compiler.admission.review import read_review
from kaitoc.compiler.check.engine_options import EngineOptions
from kaitoc.compiler.job.assumptions import Overrides
from kaitoc.compiler.manifest.serving_objects import serving_views
from kaitoc.compiler.webhook.cluster_api import PARTNER_KINDS, KubernetesApi, KubernetesError
from kaitoc.compiler.webhook.cluster_partners import ClusterPartners

PATHS = {
    "/api/v1/configmaps": "ConfigMap",
    "/apis/kaito.sh/v1beta1/workspaces": "Workspace",
    "/apis/kaito.sh/v1beta1/inferencesets": "InferenceSet",
    "/apis/kaito.sh/v1alpha1/inferencesets": "InferenceSet",
    "/apis/kaito.sh/v1alpha1/multiroleinferences": "MultiRoleInference",
}
TOO_OLD = {"type": "ERROR", "object": {"kind": "Status", "code": 410}}


class ApiServer(ThreadingHTTPServer):
    """Lists `objects` and tells `changes` to who watches, after which the version is too old."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.objects: dict[str, list[dict[str, Any]]] = {kind: [] for kind in PARTNER_KINDS}
        self.changes: dict[str, list[tuple[str, dict[str, Any]]]] = {kind: [] for kind in PARTNER_KINDS}
        self.served = set(PATHS)
        self.asked: list[tuple[str, str]] = []
        self.pause_seconds = 0.0
        self.forbidden = False


class Handler(BaseHTTPRequestHandler):
    server: ApiServer

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        query = parse_qs(url.query)
        if self.server.forbidden or url.path not in self.server.served:
            self.send_error(403 if self.server.forbidden else 404)
            return
        kind, version = PATHS[url.path], url.path.rpartition("/")[0].removeprefix("/apis/").removeprefix("/api/")
        self.server.asked.append((kind, query.get("resourceVersion", [""])[0]))
        time.sleep(self.server.pause_seconds)
        events = [{"type": change, "object": content} for change, content in self.server.changes[kind]]
        answer = (
            "".join(json.dumps(event) + "\n" for event in [*events, TOO_OLD])
            if query.get("watch")
            else json.dumps({"kind": f"{kind}List", "apiVersion": version, "metadata": {"resourceVersion": "7"},
                             "items": [listed(content) for content in self.server.objects[kind]]})
        )  # fmt: skip
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.end_headers()
        with suppress(BrokenPipeError):  # who asked has stopped waiting
            self.wfile.write(answer.encode())

    def log_message(self, *arguments: object) -> None:
        """Say nothing."""


def listed(content: dict[str, Any]) -> dict[str, Any]:
    """Return an object as lists of core kinds have it: without its own kind."""
    return {key: value for key, value in content.items() if key not in ("apiVersion", "kind")}


Following = Callable[[ClusterPartners], ClusterPartners]


@pytest.fixture
def following() -> Iterator[Following]:
    """Starts partners that follow the cluster, and stops them after the test: no other test meets their requests."""
    started: list[ClusterPartners] = []

    def follow(partners: ClusterPartners) -> ClusterPartners:
        partners.start()
        started.append(partners)
        return partners

    yield follow
    for partners in started:
        partners.stop()


@pytest.fixture
def api_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ApiServer]:
    server = ApiServer()
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    named = [{"name": "a", "cluster": {"server": f"http://127.0.0.1:{server.server_address[1]}"}}]
    contexts = [{"name": "a", "context": {"cluster": "a", "user": "a"}}]
    config = {"apiVersion": "v1", "kind": "Config", "clusters": named, "contexts": contexts, "current-context": "a",
              "users": [{"name": "a", "user": {}}]}  # fmt: skip
    (tmp_path / "kubeconfig").write_text(yaml.safe_dump(config))
    monkeypatch.setattr("kubernetes.config.kube_config.KUBE_CONFIG_DEFAULT_LOCATION", str(tmp_path / "kubeconfig"))
    yield server
    server.shutdown()
    server.server_close()


def followed(*kinds: str) -> ClusterPartners:
    partners = ClusterPartners(KubernetesApi())
    for kind in kinds:
        partners.follow_once(kind)
    return partners


def test_listed_objects_are_found(api_server: ApiServer) -> None:
    api_server.objects["ConfigMap"] = [config_map()]
    api_server.objects["Workspace"] = [workspace()]
    partners = followed("ConfigMap", "Workspace")

    found = partners.config_map("ml", "tuning-config")
    assert found is not None
    assert found.manifests[0].text("data", "training_config.yaml") == TRAINING_CONFIG
    (user,) = partners.users_of("ml", "tuning-config")
    assert user.manifests[0].is_tuning_workspace


def test_objects_of_another_namespace_are_not_found(api_server: ApiServer) -> None:
    api_server.objects["ConfigMap"] = [config_map()]
    api_server.objects["Workspace"] = [workspace()]
    partners = followed("ConfigMap", "Workspace")

    assert partners.config_map("other", "tuning-config") is None
    assert partners.users_of("other", "tuning-config") == []


def test_all_is_known_once_every_kind_was_listed(api_server: ApiServer) -> None:
    *all_but_one, last = PARTNER_KINDS
    partners = followed(*all_but_one)
    assert not partners.is_complete
    partners.follow_once(last)
    assert partners.is_complete


@pytest.mark.parametrize("user", [inference_set(), multi_role_inference()], ids=lambda user: user["kind"])
def test_what_serves_is_found_by_the_config_map_that_it_names(api_server: ApiServer, user: dict[str, Any]) -> None:
    api_server.objects[user["kind"]] = [user]
    partners = followed(user["kind"])

    (found,) = partners.users_of("ml", "serving-config")
    assert found.manifests[0].ref.kind == user["kind"]
    assert serving_views(found.manifests[0])[0].config_name == "serving-config"
    assert partners.users_of("ml", "another-config") == []


def test_a_serving_config_map_is_judged_with_the_objects_of_the_cluster_that_use_it(api_server: ApiServer) -> None:
    api_server.objects["InferenceSet"] = [inference_set()]
    partners = followed(*PARTNER_KINDS)
    request = read_review(review(serving_config_map("vllm:\n  tensor-parallel-size: 3\n"), "UPDATE"))
    policy = policy_of(PolicyOptions(EngineOptions(Overrides(kaito_version="v0.12"), isolated=True)), mutates=False)

    alone, together = (answer(request, policy, surroundings_of(request, known)) for known in (NoPartners(), partners))
    assert (alone.codes, together.codes) == ((), ("KT710", "KT711"))


def test_an_inference_set_is_judged_with_its_config_map(api_server: ApiServer) -> None:
    api_server.objects["ConfigMap"] = [serving_config_map("vllm:\n  no-such-option: 3\n")]
    partners = followed(*PARTNER_KINDS)
    request = read_review(review(inference_set()))

    (found,) = surroundings_of(request, partners).files
    assert found.manifests[0].text("data", "inference_config.yaml") == "vllm:\n  no-such-option: 3\n"


def test_a_version_that_the_cluster_does_not_serve_is_asked_for_in_the_one_before(api_server: ApiServer) -> None:
    api_server.served.remove("/apis/kaito.sh/v1beta1/inferencesets")
    api_server.objects["InferenceSet"] = [inference_set()]
    (found,) = followed("InferenceSet").users_of("ml", "serving-config")
    assert found.manifests[0].api_version == "kaito.sh/v1alpha1"


def test_a_kind_without_a_definition_is_told_and_has_no_objects_until_it_is_defined(
    api_server: ApiServer, following: Following, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = "/apis/kaito.sh/v1alpha1/multiroleinferences"
    api_server.served.remove(path)
    monkeypatch.setattr("kaitoc.compiler.webhook.cluster_partners._RETRY_SECONDS", 0.05)
    monkeypatch.setattr("kaitoc.compiler.webhook.cluster_partners._RELIST_SECONDS", 600)
    partners = following(ClusterPartners(KubernetesApi()))

    wait_for(lambda: partners.is_complete and "MultiRoleInference" in partners.problems)
    assert partners.problems == {
        "MultiRoleInference": "the cluster has no definition of multiroleinferences.kaito.sh (404)"
    }
    api_server.served.add(path)
    wait_for(lambda: partners.is_complete and not partners.problems)


def test_a_role_that_is_missing_is_told_until_it_is_there(
    api_server: ApiServer, following: Following, monkeypatch: pytest.MonkeyPatch
) -> None:
    api_server.forbidden = True
    monkeypatch.setattr("kaitoc.compiler.webhook.cluster_partners._RETRY_SECONDS", 0.05)
    partners = following(ClusterPartners(KubernetesApi()))

    wait_for(lambda: sorted(partners.problems) == sorted(PARTNER_KINDS))
    assert "403" in partners.problems["ConfigMap"]

    api_server.forbidden = False
    wait_for(lambda: partners.is_complete and not partners.problems)


def wait_for(condition: Callable[[], bool]) -> None:
    for _ in range(2000):
        if condition():
            return
        time.sleep(0.05)
    raise AssertionError("it did not come")


def test_changes_are_followed_from_the_version_that_was_listed(api_server: ApiServer) -> None:
    changed = config_map(TRAINING_CONFIG.replace("r: 8", "r: 16"))
    api_server.objects["ConfigMap"] = [config_map(), config_map(name="gone")]
    api_server.changes["ConfigMap"] = [
        ("MODIFIED", changed),
        ("ADDED", config_map(name="new")),
        ("DELETED", config_map(name="gone")),
    ]
    partners = followed("ConfigMap")

    found = partners.config_map("ml", "tuning-config")
    assert found is not None
    assert "r: 16" in found.manifests[0].text("data", "training_config.yaml")
    assert partners.config_map("ml", "new") is not None
    assert partners.config_map("ml", "gone") is None
    assert api_server.asked == [("ConfigMap", ""), ("ConfigMap", "7")]


def test_config_maps_without_a_training_config_are_not_kept(api_server: ApiServer) -> None:
    api_server.objects["ConfigMap"] = [{**config_map(), "data": {"a.conf": "b"}}]
    assert followed("ConfigMap").config_map("ml", "tuning-config") is None


def test_an_object_is_read_once(api_server: ApiServer) -> None:
    api_server.objects["ConfigMap"] = [config_map()]
    partners = followed("ConfigMap")
    assert partners.config_map("ml", "tuning-config") is partners.config_map("ml", "tuning-config")


def test_a_server_that_does_not_answer_is_not_waited_for_without_end(
    api_server: ApiServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kaitoc.compiler.webhook.cluster_api._LIST_SECONDS", 0.1)
    api_server.pause_seconds = 1.0
    with pytest.raises(HTTPError):
        followed("ConfigMap")


def test_a_server_that_breaks_each_watch_is_asked_again_after_a_pause(
    api_server: ApiServer, following: Following, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kaitoc.compiler.webhook.cluster_partners._RELIST_SECONDS", 600)
    following(ClusterPartners(KubernetesApi()))
    deadline = time.monotonic() + 120
    while len(api_server.asked) < 2 * len(PARTNER_KINDS) and time.monotonic() < deadline:
        time.sleep(0.01)
    time.sleep(0.2)
    assert sorted(api_server.asked) == [(kind, version) for kind in sorted(PARTNER_KINDS) for version in ("", "7")]


def test_without_a_cluster_the_error_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("kubernetes.config.kube_config.KUBE_CONFIG_DEFAULT_LOCATION", str(tmp_path / "none"))
    with pytest.raises(KubernetesError, match="no cluster is configured"):
        KubernetesApi()


@pytest.mark.parametrize("text", ["a: [", "[]", "clusters: 3"])
def test_a_kubeconfig_that_is_none_is_told_in_one_line(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, text: str
) -> None:
    (tmp_path / "kubeconfig").write_text(text)
    monkeypatch.setattr("kubernetes.config.kube_config.KUBE_CONFIG_DEFAULT_LOCATION", str(tmp_path / "kubeconfig"))
    with pytest.raises(KubernetesError, match=r"no cluster is configured: [^\n]+$"):
        KubernetesApi()
