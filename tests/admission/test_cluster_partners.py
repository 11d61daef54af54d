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
from reviews import TRAINING_CONFIG, config_map, workspace
from urllib3.exceptions import HTTPError

from kaitoc.compiler.webhook.cluster_partners import ClusterPartners, KubernetesApi, KubernetesError

PATHS = {"/api/v1/configmaps": "ConfigMap", "/apis/kaito.sh/v1beta1/workspaces": "Workspace"}
VERSIONS = {"ConfigMap": "v1", "Workspace": "kaito.sh/v1beta1"}
TOO_OLD = {"type": "ERROR", "object": {"kind": "Status", "code": 410}}


class ApiServer(ThreadingHTTPServer):
    """Lists `objects` and tells `changes` to who watches, after which the version is too old."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.objects: dict[str, list[dict[str, Any]]] = {"ConfigMap": [], "Workspace": []}
        self.changes: dict[str, list[tuple[str, dict[str, Any]]]] = {"ConfigMap": [], "Workspace": []}
        self.asked: list[tuple[str, str]] = []
        self.pause_seconds = 0.0
        self.forbidden = False


class Handler(BaseHTTPRequestHandler):
    server: ApiServer

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        kind = PATHS[url.path]
        query = parse_qs(url.query)
        if self.server.forbidden:
            self.send_error(403)
            return
        self.server.asked.append((kind, query.get("resourceVersion", [""])[0]))
        time.sleep(self.server.pause_seconds)
        events = [{"type": change, "object": content} for change, content in self.server.changes[kind]]
        answer = (
            "".join(json.dumps(event) + "\n" for event in [*events, TOO_OLD])
            if query.get("watch")
            else json.dumps({"kind": f"{kind}List", "apiVersion": VERSIONS[kind], "metadata": {"resourceVersion": "7"},
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
    (user,) = partners.workspaces_using("ml", "tuning-config")
    assert user.manifests[0].is_tuning_workspace


def test_objects_of_another_namespace_are_not_found(api_server: ApiServer) -> None:
    api_server.objects["ConfigMap"] = [config_map()]
    api_server.objects["Workspace"] = [workspace()]
    partners = followed("ConfigMap", "Workspace")

    assert partners.config_map("other", "tuning-config") is None
    assert partners.workspaces_using("other", "tuning-config") == []


def test_all_is_known_once_both_kinds_were_listed(api_server: ApiServer) -> None:
    partners = followed("ConfigMap")
    assert not partners.is_complete
    partners.follow_once("Workspace")
    assert partners.is_complete


def test_a_role_that_is_missing_is_told_until_it_is_there(
    api_server: ApiServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    api_server.forbidden = True
    monkeypatch.setattr("kaitoc.compiler.webhook.cluster_partners._RETRY_SECONDS", 0.05)
    partners = ClusterPartners(KubernetesApi())
    partners.start()

    wait_for(lambda: sorted(partners.problems) == ["ConfigMap", "Workspace"])
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
    monkeypatch.setattr("kaitoc.compiler.webhook.cluster_partners._LIST_SECONDS", 0.1)
    api_server.pause_seconds = 1.0
    with pytest.raises(HTTPError):
        followed("ConfigMap")


def test_a_server_that_breaks_each_watch_is_asked_again_after_a_pause(
    api_server: ApiServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kaitoc.compiler.webhook.cluster_partners._RELIST_SECONDS", 600)
    ClusterPartners(KubernetesApi()).start()
    deadline = time.monotonic() + 120
    while len(api_server.asked) < 4 and time.monotonic() < deadline:
        time.sleep(0.01)
    time.sleep(0.2)
    assert sorted(api_server.asked) == [("ConfigMap", ""), ("ConfigMap", "7"), ("Workspace", ""), ("Workspace", "7")]


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
