"""A model's place: a folder, or the hub's cache; the hub itself is asked only where the plan allows it."""

from __future__ import annotations

import os
import shutil
import socket
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")

from huggingface_hub import constants

from kaitoc.compiler.plan.plan import Plan
from kaitoc.runtime.failures import ModelFailure
from kaitoc.runtime.launch.ready import RunOptions
from kaitoc.runtime.launch.run import run_plan
from kaitoc.runtime.model.load import require_model

pytestmark = pytest.mark.runtime
MakePlan = Callable[..., Plan]
CPU = RunOptions("cpu", show_progress=False)
NAME, COMMIT = "owner/tiny", "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """An empty cache and a network that is reached for in vain; the hosts that were."""
    hosts: list[Any] = []

    def refuse(host: Any, *_: Any, **__: Any) -> Any:
        if threading.current_thread() is threading.main_thread():  # what other tests left behind asks on threads
            hosts.append(host)
        raise ValueError("no network here")  # which is not retried, as an OSError would be

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    return hosts


def put_into_cache(model: Path, cache: Path) -> None:
    """Lay a model down as huggingface_hub caches it."""
    folder = cache / ("models--" + NAME.replace("/", "--"))
    shutil.copytree(model, folder / "snapshots" / COMMIT)
    (folder / "refs").mkdir()
    (folder / "refs" / "main").write_text(COMMIT)


def test_a_cached_model_is_trained_and_saved_without_a_request(
    make_plan: MakePlan, tiny_model: Path, tmp_path: Path, asked: list[Any]
) -> None:
    put_into_cache(tiny_model, tmp_path / "cache")

    report = run_plan(make_plan(model={"path": NAME}, training={"max_steps": 1}), CPU)

    assert (Path(report.adapter_folder) / "adapter_model.safetensors").exists()
    assert asked == []
    assert constants.HF_HUB_OFFLINE is False


def test_a_model_that_is_not_cached_is_refused_without_a_request(make_plan: MakePlan, asked: list[Any]) -> None:
    with pytest.raises(ModelFailure, match=r"owner/tiny: no such folder.*--hub downloads it"):
        run_plan(make_plan(model={"path": NAME}), CPU)
    assert asked == []


def test_the_hub_is_asked_where_the_plan_allows_it(make_plan: MakePlan, asked: list[Any]) -> None:
    with pytest.raises(ModelFailure, match="owner/tiny: the config cannot be loaded"):
        run_plan(make_plan(model={"path": NAME, "hub": True}), CPU)
    assert asked != []


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("./phi-3", r"\./phi-3: no such folder"),
        ("~/phi-3", "~/phi-3: no such folder"),
        ("models/ph-3", r"models/ph-3: no such folder; did you mean models/phi-3\?"),
        ("phi-3", "phi-3: no such folder; name the model's folder"),
        ("a/b/c", "a/b/c: no such folder"),
    ],
)
def test_a_mistyped_path_is_a_path(
    make_plan: MakePlan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: str, words: str
) -> None:
    (tmp_path / "models" / "phi-3").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)

    with pytest.raises(ModelFailure, match=words):
        require_model(make_plan(model={"path": path, "hub": True}))
    assert os.listdir(tmp_path) == ["models"]
