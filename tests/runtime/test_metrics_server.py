"""The numbers of a run over HTTP, in the format that Prometheus scrapes."""

from __future__ import annotations

import socket
import urllib.error
import urllib.request
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("torch")

from kaitoc.compiler.plan.plan import Plan
from kaitoc.runtime.__main__ import main
from kaitoc.runtime.failures import RunFailure
from kaitoc.runtime.launch.ready import RunOptions
from kaitoc.runtime.launch.run import run_plan
from kaitoc.runtime.observe.prometheus import PrometheusCallback, serving

pytestmark = pytest.mark.runtime
LOCAL = "127.0.0.1"


def scrape(port: int, path: str = "/metrics") -> str:
    with urllib.request.urlopen(f"http://{LOCAL}:{port}{path}", timeout=120) as answer:
        assert answer.headers["Content-Type"].startswith("text/plain; version=0.0.4")
        return str(answer.read().decode())


def values(text: str) -> dict[str, float]:
    """The samples of an exposition; a line that is none fails."""
    lines = [line.split() for line in text.splitlines() if not line.startswith("#")]
    return {name: float(value) for name, value in lines}


@pytest.fixture
def free_port() -> int:
    with socket.socket() as probe:
        probe.bind((LOCAL, 0))
        return int(probe.getsockname()[1])


def logged(served: PrometheusCallback, **logs: Any) -> None:
    served.on_log(None, SimpleNamespace(global_step=3, max_steps=10), None, logs)


def test_each_number_has_its_type_and_its_last_value() -> None:
    with serving(0, LOCAL) as served:
        assert served is not None
        logged(served, loss=2.5)
        logged(served, loss=1.5, note="words are no numbers")
        text = scrape(served.port)

    assert "# TYPE kaitoc_train_loss gauge\nkaitoc_train_loss 1.5\n" in text
    assert values(text) == {"kaitoc_train_step": 3, "kaitoc_train_max_steps": 10, "kaitoc_train_loss": 1.5}


def test_another_path_is_not_found() -> None:
    with serving(0, LOCAL) as served:
        assert served is not None
        with pytest.raises(urllib.error.HTTPError, match="404") as error:
            scrape(served.port, "/etc/passwd")
        error.value.close()


def test_a_port_that_is_taken_is_told() -> None:
    with (
        serving(0, LOCAL) as served,
        pytest.raises(RunFailure, match="metrics cannot be served on port"),
        serving(served.port if served else 0, LOCAL),
    ):
        pass


def test_the_port_is_free_again_after_a_run_that_failed(free_port: int) -> None:
    with pytest.raises(ZeroDivisionError), serving(free_port, LOCAL):
        raise ZeroDivisionError
    with serving(free_port, LOCAL) as served:
        assert served is not None


def test_a_run_is_scraped_while_it_trains(
    make_plan: Callable[..., Plan], free_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    scraped: list[dict[str, float]] = []
    on_log = PrometheusCallback.on_log

    def scrape_after(*args: Any, **kwargs: Any) -> None:
        on_log(*args, **kwargs)
        scraped.append(values(scrape(free_port)))

    monkeypatch.setattr(PrometheusCallback, "on_log", scrape_after)
    run_plan(
        make_plan(training={"max_steps": 3}),
        RunOptions("cpu", show_progress=False, metrics_port=free_port, metrics_host=LOCAL),
    )

    assert [found["kaitoc_train_step"] for found in scraped[:3]] == [1, 2, 3]
    assert {found["kaitoc_train_max_steps"] for found in scraped} == {3}
    assert {
        "kaitoc_train_loss", "kaitoc_train_tokens_per_second", "kaitoc_train_memory_bytes",
        "kaitoc_train_learning_rate",
    } <= set(scraped[0])  # fmt: skip
    with pytest.raises(urllib.error.URLError, match="Connection refused"):
        scrape(free_port)


def test_the_port_reaches_the_run_from_the_command_line(
    make_plan: Callable[..., Plan], tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[RunOptions] = []
    monkeypatch.setattr("kaitoc.runtime.launch.run.run_plan", lambda _, options: asked.append(options) or _Report())
    (tmp_path / "plan.json").write_text(make_plan().to_json())
    monkeypatch.setattr("sys.argv", ["runtime", str(tmp_path / "plan.json"), "--metrics-port", "9400"])

    assert main() == 0
    assert asked[0].metrics_port == 9400


class _Report:
    def to_text(self) -> str:
        return ""
