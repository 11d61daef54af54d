"""`--on trainjob` and `--on jobset`: a real kubectl against a stand-in API server and a scripted controller."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from standin.kaito import Script, container
from standin.server import StandIn
from standin.store import Object

from kaitoc.compiler.cli import cli

DEMO = Path(__file__).resolve().parents[2] / "examples" / "demo.yaml"
NAMESPACE = "kaito-demo"
OPTIONS = ("--image", "registry.example/kaitoc-runtime", "--model-claim", "model")
CLAIMS = {"model": "ReadOnlyMany", "tuning-data": "ReadOnlyMany", "tuning-results": "ReadWriteMany"}


def run(*options: str, engine: str = "trainjob") -> Result:
    command = ["run", str(DEMO), "--on", engine, *OPTIONS, "--wait-for-api", "5", "--timeout", "20", *options]
    return CliRunner().invoke(cli, command)


def claims(cluster: StandIn, **modes: str) -> None:
    for name, mode in {**CLAIMS, **modes}.items():
        metadata = {"name": name, "namespace": NAMESPACE}
        cluster.put({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": metadata,
                     "spec": {"accessModes": [mode]}})  # fmt: skip


@pytest.fixture
def ready(cluster: StandIn, monkeypatch: pytest.MonkeyPatch) -> StandIn:
    """A cluster with the claims that the demo needs, followed without pauses."""
    monkeypatch.setattr("kaitoc.compiler.engines.follow.time.sleep", lambda _: None)
    claims(cluster)
    return cluster


def name_of(cluster: StandIn, plural: str) -> str:
    (name,) = [key[2] for key in cluster.store.objects if key[0] == plural]
    return name


def pods(cluster: StandIn, plural: str, **status: object) -> Callable[[], None]:
    """A step in which the pods of two nodes are there."""

    def step() -> None:
        name = name_of(cluster, plural)
        for index in (0, 1):
            pod = f"{name}-node-0-{index}-abcde"
            labels = {"jobset.sigs.k8s.io/jobset-name": name}
            statuses = status or {"containerStatuses": [container("node", running={})]}
            cluster.put({
                "apiVersion": "v1", "kind": "Pod", "metadata": {"name": pod, "namespace": NAMESPACE, "labels": labels},
                "spec": {"containers": [{"name": "node"}]}, "status": statuses,
            })  # fmt: skip
            cluster.logs[f"{pod}/node"] = f"2026-01-01T00:00:01.000000000Z step 1/2  loss 2.5{index}0\n"

    return step


def ends(cluster: StandIn, plural: str, condition: str, message: str = "") -> Callable[[], None]:
    def step() -> None:
        conditions = [{"type": condition, "status": "True", "reason": "", "message": message}]
        cluster.store.change(plural, NAMESPACE, name_of(cluster, plural), status={"conditions": conditions})

    return step


@pytest.mark.parametrize(("engine", "plural", "done"), [("trainjob", "trainjobs", "Complete"),
                                                       ("jobset", "jobsets", "Completed")])  # fmt: skip
def test_a_run_goes_from_an_empty_cluster_to_done(ready: StandIn, engine: str, plural: str, done: str) -> None:
    Script(ready, plural, pods(ready, plural), ends(ready, plural, done))

    result = run("--nodes", "2", engine=engine)

    assert result.exit_code == 0, result.output
    name = name_of(ready, plural)
    assert f"ConfigMap {NAMESPACE}/{name}: created" in result.stdout
    assert "step 1/2  loss 2.500" in result.stdout
    assert "loss 2.510" not in result.stdout, "node 1's log was streamed too"
    assert f"/mnt/results/{name}/adapter in claim tuning-results" in result.stdout


def test_a_failed_run_is_told_with_its_cause(ready: StandIn) -> None:
    crashed: Object = {"containerStatuses": [container("node", terminated={"exitCode": 2, "reason": "Error"})]}
    Script(ready, "trainjobs", pods(ready, "trainjobs", **crashed), ends(ready, "trainjobs", "Failed", "policy"))

    result = run("--nodes", "2")

    assert result.exit_code == 1
    assert "the run failed: policy; pod" in result.stderr
    assert "container `node`: ended with exit code 2" in result.stderr


def test_what_the_cluster_lacks_is_refused_before_anything_is_created(ready: StandIn) -> None:
    for options, told in (
        (("--queue", "team-a"), "`kubectl get localqueues.kueue.x-k8s.io --namespace kaito-demo` lists those that are"),
        (("--results-claim", "none"), "persistentvolumeclaims `none` is not there"),
        (("--nodes", "2", "--results-claim", "tuning-data"), "claim `tuning-data` is ReadOnlyMany, and 2 nodes write"),
    ):
        result = run(*options)
        assert result.exit_code == 1
        assert told in result.stderr
    assert ready.writes() == []


def test_a_cluster_without_trainer_is_refused(ready: StandIn, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(ready, "kinds", [kind for kind in ready.kinds if kind.name != "TrainJob"])
    monkeypatch.setenv("HOME", str(tmp_path))  # kubectl remembers what a server has

    result = run()

    assert result.exit_code == 1
    assert 'no matches for kind "TrainJob"' in result.stderr
    assert ready.writes() == []


def test_options_of_an_engine_go_with_it() -> None:
    result = CliRunner().invoke(cli, ["run", str(DEMO), "--nodes", "2"])

    assert result.exit_code == 2
    assert "--nodes goes with --on trainjob or jobset" in result.stderr
