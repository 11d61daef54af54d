"""A stand-in API server and a kubectl that talks to it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from standin.kaito import NAMESPACE, webhook
from standin.kinds import CORE, KAITO, KUBEFLOW
from standin.server import StandIn


@pytest.fixture(scope="session")
def api_server() -> Iterator[StandIn]:
    with StandIn((*CORE, *KAITO, *KUBEFLOW)).serving() as server:
        yield server


@pytest.fixture(scope="session")
def kube_home(api_server: StandIn, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home folder for the session, so that kubectl's cache of what the server knows serves all tests."""
    home = tmp_path_factory.mktemp("home")
    config = {
        "apiVersion": "v1", "kind": "Config", "current-context": "standin",
        "clusters": [{"name": "standin", "cluster": {"server": api_server.address}}],
        "users": [{"name": "somebody", "user": {}}],
        "contexts": [
            {"name": "standin", "context": {"cluster": "standin", "user": "somebody", "namespace": NAMESPACE}}
        ],
    }  # fmt: skip
    (home / "config").write_text(yaml.safe_dump(config))
    return home


@pytest.fixture
def cluster(api_server: StandIn, kube_home: Path, monkeypatch: pytest.MonkeyPatch) -> StandIn:
    """An empty cluster with Kaito's webhook, which kubectl's context names; skipped where there is no kubectl."""
    if shutil.which("kubectl") is None:
        pytest.skip("no kubectl on the path: install Debian's kubernetes-client")
    monkeypatch.setenv("KUBECONFIG", str(kube_home / "config"))
    monkeypatch.setenv("HOME", str(kube_home))
    monkeypatch.setenv("GOMAXPROCS", "1")  # many short programs, which start sooner on one thread
    monkeypatch.setenv("GOGC", "400")  # and end before their garbage matters
    api_server.reset()
    api_server.store.webhooks.append(webhook)
    return api_server
