"""Running on a cluster, against a stand-in for kubectl that plays the API server's part and notes its calls."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from kaitoc.compiler.cli import cli
from kaitoc.compiler.engines.kaito import ClusterError, ClusterTarget, run_on_cluster
from kaitoc.compiler.engines.report import numbers_of, report_of

DEMO = Path(__file__).resolve().parents[2] / "examples" / "demo.yaml"
TARGET = ClusterTarget("tune", "team")
PROGRAM = """#!{python}
import json, pathlib, sys
folder = pathlib.Path({folder!r})
with (folder / "calls").open("a") as stream:
    stream.write(" ".join(sys.argv[1:]) + "\\n")
if sys.argv[1] == "apply":
    given = pathlib.Path(sys.argv[sys.argv.index("--filename") + 1])
    (folder / "applied").write_text("".join(path.read_text() for path in sorted(given.iterdir())))
script = json.loads((folder / "script").read_text())
answers = script.get(" ".join(sys.argv[1:3]), script.get(sys.argv[1], [""]))
number = sum(line.startswith(" ".join(sys.argv[1:3])) for line in (folder / "calls").read_text().splitlines())
answer = answers[min(number, len(answers)) - 1]
if isinstance(answer, str) and answer.startswith("error: "):
    sys.exit(answer)
sys.stdout.write(answer if isinstance(answer, str) else json.dumps(answer))
"""


@pytest.fixture
def kubectl(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the stand-in's script and calls; it is the first on the path."""
    program = tmp_path / "kubectl"
    program.write_text(PROGRAM.format(python=sys.executable, folder=str(tmp_path)))
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    play(tmp_path)
    return tmp_path


def play(folder: Path, **answers: list[object]) -> None:
    script = {"get job": [{}, job("Complete")], **{name.replace("_", " "): value for name, value in answers.items()}}
    (folder / "script").write_text(json.dumps(script))


def job(condition: str, message: str = "", uid: str = "1") -> dict[str, object]:
    conditions = [{"type": condition, "status": "True", "message": message}]
    return {"metadata": {"uid": uid}, "status": {"conditions": conditions}}


def workspace(generation: int) -> dict[str, object]:
    return {"metadata": {"generation": generation}}


def calls(folder: Path) -> list[str]:
    return (folder / "calls").read_text().splitlines()


def run(folder: Path, *, dry_run: bool = False) -> list[str]:
    told: list[str] = []
    run_on_cluster(["kind: Workspace\n"], TARGET, told.append, dry_run=dry_run, poll_seconds=0)
    return told


def test_the_api_server_judges_everything_before_anything_is_applied(kubectl: Path) -> None:
    run(kubectl)

    judged, applied = (call for call in calls(kubectl) if call.startswith("apply"))
    assert judged.startswith("apply --server-side --dry-run=server --filename")
    assert applied.startswith("apply --server-side --filename")


def test_what_the_api_server_refuses_is_told_and_nothing_is_applied(kubectl: Path) -> None:
    play(kubectl, apply=["error: admission webhook denied the request"])

    with pytest.raises(ClusterError, match="kubectl apply: error: admission webhook denied"):
        run(kubectl)
    assert len(calls(kubectl)) == 1


def test_a_dry_run_applies_nothing(kubectl: Path) -> None:
    assert run(kubectl, dry_run=True) == ["the API server accepts the manifests; nothing was applied"]
    assert len(calls(kubectl)) == 1


def test_conditions_and_log_lines_are_told_once_each(kubectl: Path) -> None:
    ready = {"status": {"conditions": [{"type": "ResourceReady", "status": "True", "reason": "Ready"}]}}
    play(kubectl, get_workspace=[{}, {}, ready, ready], get_job=[{}, {}, {}, job("Complete")],
         logs=["step 1\n", "step 1\nstep 2\n", "step 1\nstep 2\n"], apply=["", "applied"])  # fmt: skip

    assert run(kubectl) == ["applied", "step 1", "ResourceReady: True Ready", "step 2"]


def test_a_failed_job_is_told_with_its_reason(kubectl: Path) -> None:
    play(kubectl, get_job=[{}, job("Failed", "BackoffLimitExceeded")])

    with pytest.raises(ClusterError, match="tune: the tuning job failed: BackoffLimitExceeded"):
        run(kubectl)


def test_a_crashed_container_ends_a_run_whose_pod_stays_alive(kubectl: Path) -> None:
    crashed = {"name": "tune", "state": {"terminated": {"exitCode": 1}}}
    play(kubectl, get_job=[{}], get_pods=[{"items": [{"status": {"containerStatuses": [crashed]}}]}])

    with pytest.raises(ClusterError, match="container `tune` ended with exit code 1"):
        run(kubectl)


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("using HF_TOKEN=abc123", "using HF_TOKEN=***"),
        ('{"api_key": "abc123", "lr": 1}', '{"api_key": "***", "lr": 1}'),
        ("Authorization: Bearer abc123", "Authorization: Bearer ***"),
        ("GET https://me:abc123@host/a.jsonl?sig=abc123 200", "GET https://host/a.jsonl?*** 200"),
        ("{'loss': 2.5, 'num_tokens': 512.0}", "{'loss': 2.5, 'num_tokens': 512.0}"),
    ],
)
def test_secrets_in_the_log_are_not_repeated(kubectl: Path, line: str, told: str) -> None:
    play(kubectl, logs=[line + "\n"], apply=["", ""])

    assert run(kubectl)[-1] == told


def test_secrets_in_conditions_and_failures_are_not_repeated(kubectl: Path) -> None:
    address = "https://host/a.jsonl?sig=abc123"
    failed = {"status": {"conditions": [{"type": "Tuned", "status": "False", "message": f"no {address}"}]}}
    play(kubectl, get_workspace=[{}, failed], get_job=[{}, job("Failed", f"cannot read {address}")], apply=["", ""])
    told: list[str] = []

    with pytest.raises(ClusterError, match=r"cannot read https://host/a\.jsonl\?\*\*\*$"):
        run_on_cluster(["kind: Workspace\n"], TARGET, told.append, poll_seconds=0)
    assert told[-1] == "Tuned: False no https://host/a.jsonl?***"


def test_an_api_server_that_fails_for_a_moment_does_not_end_a_run(kubectl: Path) -> None:
    play(kubectl, get_job=[{}, "error: timeout", "error: timeout", job("Complete")], logs=["step 1\n"], apply=["", ""])

    assert run(kubectl)[-1] == "step 1"


def test_an_api_server_that_keeps_failing_is_told(kubectl: Path) -> None:
    play(kubectl, get_job=[{}, "error: unauthorized"])

    with pytest.raises(ClusterError, match="kubectl get: error: unauthorized"):
        run(kubectl)


def test_the_job_of_an_earlier_run_is_not_taken_for_this_one(kubectl: Path) -> None:
    old, new = job("Complete", uid="old"), job("Complete", uid="new")
    play(kubectl, get_workspace=[workspace(1), workspace(2)], get_job=[old, old, {}, new], logs=["step 1\n"],
         apply=["", ""])  # fmt: skip

    assert run(kubectl)[-1] == "step 1"
    assert sum(call.startswith("logs") for call in calls(kubectl)) == 2


def test_a_run_that_kaito_would_not_start_again_is_refused_with_what_to_do(kubectl: Path) -> None:
    play(kubectl, get_workspace=[workspace(1)], get_job=[job("Complete", uid="old")], apply=["", ""])

    with pytest.raises(ClusterError, match="run `kubectl delete workspace tune --namespace team`"):
        run(kubectl)


def test_a_run_that_is_under_way_is_followed_again(kubectl: Path) -> None:
    running = {"metadata": {"uid": "old"}}
    play(kubectl, get_workspace=[workspace(1)], get_job=[running, running, job("Complete", uid="old")],
         logs=["step 1\n"], apply=["", ""])  # fmt: skip

    told = run(kubectl)

    assert told[-2:] == ["tune: the Workspace is as it was; following the run that is under way", "step 1"]


def test_the_namespace_of_the_workspace_is_used(kubectl: Path) -> None:
    run(kubectl)

    asked = [call for call in calls(kubectl) if not call.startswith("apply")]
    assert asked
    assert [call for call in asked if "--namespace team" not in call] == []


def test_kaitoc_run_applies_the_compiled_manifest(kubectl: Path) -> None:
    result = CliRunner().invoke(cli, ["run", str(DEMO), "--on", "cluster"])

    assert result.exit_code == 0, result.output
    assert "qkv_proj" in (kubectl / "applied").read_text()


def test_without_kubectl_the_run_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))

    result = CliRunner().invoke(cli, ["run", str(DEMO), "--on", "cluster"])

    assert result.exit_code == 1
    assert "kubectl is not on the path" in result.stderr


LOG = """loading weights
 10%|#         | 1/10 [00:01<00:09]\r{'loss': 2.5, 'grad_norm': 0.4, 'learning_rate': 1e-4, 'epoch': 0.5}
{'loss': '1.25', 'grad_norm': '0.3', 'learning_rate': '5e-05', 'epoch': '1.0'}
{'eval_loss': 1.5, 'eval_runtime': 2.0, 'epoch': 1.0}
{'train_runtime': 90.0, 'train_samples_per_second': 2.5, 'train_loss': 1.9, 'epoch': 1.0}
done
"""


def test_the_log_of_a_run_tells_its_losses_speed_and_time() -> None:
    found = report_of("tune", LOG.splitlines(keepends=False))

    assert (found.num_logged_steps, found.first_loss, found.last_loss) == (2, 2.5, 1.25)
    assert (found.eval_loss, found.epochs, found.seconds, found.samples_per_second) == (1.5, 1.0, 90.0, 2.5)


@pytest.mark.parametrize(
    "line",
    [
        "plain words",
        "{'loss': nan}",
        "{'loss': __import__('os')}",
        "{'loss'",
        "{'a': " * 900,
        "{'loss': '1e999'}",
        "{}",
    ],
)
def test_lines_that_are_no_numbers_tell_nothing(line: str) -> None:
    assert numbers_of(line) == {}


def test_a_finished_run_is_summed_up_and_its_report_is_written(kubectl: Path) -> None:
    play(kubectl, logs=[LOG])
    file = kubectl / "report.json"

    result = CliRunner().invoke(cli, ["run", str(DEMO), "--on", "cluster", "--report", str(file)])

    assert result.exit_code == 0, result.output
    assert "2.500 -> 1.250 over 2 logged steps" in result.output
    assert json.loads(file.read_text())["last_loss"] == 1.25


def test_a_report_of_a_run_here_is_not_asked_for(tmp_path: Path) -> None:
    result = CliRunner().invoke(cli, ["run", str(DEMO), "--report", str(tmp_path / "report.json")])

    assert result.exit_code == 2
    assert "--report goes with --on cluster" in result.output
