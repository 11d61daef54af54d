"""`--on trainjob` and `--on jobset`: a real kubectl against a stand-in API server and a scripted controller."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner, Result
from standin.kaito import Script, container
from standin.server import DISCONNECT, StandIn
from standin.store import Object

from kaitoc.compiler.cli import cli

DEMO = Path(__file__).resolve().parents[2] / "examples" / "demo.yaml"
NAMESPACE = "kaito-demo"
OPTIONS = ("--image", "registry.example/kaitoc-runtime", "--model-claim", "model")
CLAIMS = {"model": "ReadOnlyMany", "tuning-data": "ReadOnlyMany", "tuning-results": "ReadWriteMany"}


ENGINES = pytest.mark.parametrize(
    ("engine", "plural", "done"), [("trainjob", "trainjobs", "Complete"), ("jobset", "jobsets", "Completed")]
)


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


def pods(
    cluster: StandIn,
    plural: str,
    *,
    attempt: int = 0,
    batch: int = 0,
    log: str = "",
    metadata: Object | None = None,
    **status: object,
) -> Callable[[], None]:
    """A step in which the pods of two nodes are there: of an attempt of JobSet's, or the second batch of one."""

    def step() -> None:
        name = name_of(cluster, plural)
        for index in (0, 1):
            pod = pod_name(name, index, attempt + batch)
            labels = {"jobset.sigs.k8s.io/jobset-name": name, "jobset.sigs.k8s.io/restart-attempt": str(attempt)}
            statuses = status or {"containerStatuses": [container("node", running={})]}
            cluster.put({
                "apiVersion": "v1", "kind": "Pod", "status": statuses, "spec": {"containers": [{"name": "node"}]},
                "metadata": {"name": pod, "namespace": NAMESPACE, "labels": labels, **(metadata or {})},
            })  # fmt: skip
            line = log or f"step 1/2  loss 2.5{index}0"
            cluster.logs[f"{pod}/node"] = f"2026-01-01T00:00:01.000000000Z {line}\n"

    return step


def pod_name(name: str, index: int, number: int = 0) -> str:
    return f"{name}-node-0-{index}-abcd{number}"


def are_deleted(cluster: StandIn, plural: str, *, attempt: int = 0) -> Callable[[], None]:
    """A step in which the pods are gone, as those of a set that is suspended or starts again."""

    def step() -> None:
        for index in (0, 1):
            cluster.store.delete("pods", NAMESPACE, pod_name(name_of(cluster, plural), index, attempt))

    return step


def says(cluster: StandIn, plural: str, condition: str, status: str, reason: str) -> Callable[[], None]:
    """A step in which a condition changes, as Kueue and the controllers change it."""

    def step() -> None:
        conditions = [{"type": condition, "status": status, "reason": reason, "message": "by Kueue"}]
        cluster.store.change(plural, NAMESPACE, name_of(cluster, plural), status={"conditions": conditions})

    return step


def node(cluster: StandIn, **allocatable: str) -> None:
    """A node of the demo's instance type."""
    labels = {"node.kubernetes.io/instance-type": "Standard_NC24ads_A100_v4"}
    devices = {name.replace("__", "/").replace("_", "."): count for name, count in allocatable.items()}
    cluster.put({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "gpu-1", "labels": labels},
                 "status": {"allocatable": devices}})  # fmt: skip


def queue(cluster: StandIn, *covered: str) -> None:
    """A LocalQueue, and its ClusterQueue."""
    groups = [{"coveredResources": list(covered), "flavors": []}]
    cluster.put({"apiVersion": "kueue.x-k8s.io/v1beta1", "kind": "LocalQueue", "spec": {"clusterQueue": "all"},
                 "metadata": {"name": "team-a", "namespace": NAMESPACE}})  # fmt: skip
    cluster.put({"apiVersion": "kueue.x-k8s.io/v1beta1", "kind": "ClusterQueue", "metadata": {"name": "all"},
                 "spec": {"resourceGroups": groups}})  # fmt: skip


def ends(cluster: StandIn, plural: str, condition: str, message: str = "") -> Callable[[], None]:
    def step() -> None:
        conditions = [{"type": condition, "status": "True", "reason": "", "message": message}]
        cluster.store.change(plural, NAMESPACE, name_of(cluster, plural), status={"conditions": conditions})

    return step


@ENGINES
def test_a_run_goes_from_an_empty_cluster_to_done(ready: StandIn, engine: str, plural: str, done: str) -> None:
    Script(ready, plural, pods(ready, plural), ends(ready, plural, done))

    result = run("--nodes", "2", engine=engine)

    assert result.exit_code == 0, result.output
    name = name_of(ready, plural)
    assert f"ConfigMap {NAMESPACE}/{name}: created" in result.stdout
    assert "step 1/2  loss 2.500" in result.stdout
    assert "loss 2.510" not in result.stdout, "node 1's log was streamed too"
    assert f"/mnt/results/{name}/adapter in claim tuning-results" in result.stdout


def test_a_preempted_run_is_followed_until_it_is_resumed_and_done(ready: StandIn) -> None:
    plural = "jobsets"
    second, third = (f"\n2026-01-01T00:00:0{at}.000000000Z " for at in (2, 3))
    first = f"step 1/3  loss 2.500{second}step 2/3  loss 2.000"
    stopping = {"deletionTimestamp": "2030-01-01T00:00:00Z"}

    def fails() -> None:
        ready.faults = [500, 410, DISCONNECT]

    Script(
        ready, plural, pods(ready, plural, log=first), fails, says(ready, plural, "Suspended", "True", "Stopped"),
        pods(ready, plural, log=f"{first}{third}asked to stop", metadata=stopping), are_deleted(ready, plural),
        says(ready, plural, "Suspended", "False", "Resumed"),
        pods(ready, plural, batch=1, log=f"step 2/3  loss 2.000{second}step 3/3  loss 1.500"),
        ends(ready, plural, "Completed"),
    )  # fmt: skip

    result = run("--nodes", "2", engine="jobset")

    assert result.exit_code == 0, result.output
    told = [
        line for line in result.stdout.splitlines() if not line.startswith(("ConfigMap", "JobSet", "no ", "the API"))
    ]
    assert told[:7] == [
        "step 1/3  loss 2.500", "step 2/3  loss 2.000", "Suspended: True Stopped by Kueue", "asked to stop",
        "Suspended: False Resumed by Kueue", "step 2/3  loss 2.000", "step 3/3  loss 1.500",
    ]  # fmt: skip
    assert "loss      2.500 -> 1.500 over 3 logged steps" in told, "a step that is trained again counts once"


def test_only_what_befalls_the_latest_attempt_of_this_run_is_the_cause_of_its_failure(ready: StandIn) -> None:
    code_1, code_2 = ({"containerStatuses": [container("node", terminated={"exitCode": code})]} for code in (1, 2))
    quota = {"message": "exceeded quota: gpus", "type": "Warning"}

    def is_refused() -> None:
        about = {"kind": "Job", "name": f"{name_of(ready, 'trainjobs')}-node-0", "uid": "a job's"}
        for number, at in enumerate(("2020-01-01T00:00:00Z", "2090-01-01T00:00:00Z")):
            metadata = {"name": f"e{number}", "namespace": NAMESPACE}
            event = {**quota, "reason": f"FailedCreate{number}", "lastTimestamp": at, "involvedObject": about}
            ready.put({"apiVersion": "v1", "kind": "Event", "metadata": metadata, **event})

    Script(
        ready, "trainjobs",
        pods(ready, "trainjobs", metadata={"creationTimestamp": "2020-01-01T00:00:00Z"}, log="earlier run", **code_2),
        is_refused, are_deleted(ready, "trainjobs"), pods(ready, "trainjobs", **code_1),
        are_deleted(ready, "trainjobs"), pods(ready, "trainjobs", attempt=1),
        ends(ready, "trainjobs", "Failed", "late"),
    )  # fmt: skip

    result = run("--nodes", "2")

    assert "FailedCreate1: exceeded quota: gpus" in result.stdout
    assert "container `node`: ended with exit code 1" in result.stdout
    assert "all nodes restarted (restart 1)" in result.stdout
    assert not any(told in result.stdout for told in ("earlier run", "exit code 2", "FailedCreate0"))
    assert result.stderr.splitlines()[-1].endswith("the run failed: late")


def test_a_run_that_is_over_is_told_as_such_with_what_makes_room_for_another(ready: StandIn) -> None:
    for item in yaml.safe_load_all(
        CliRunner().invoke(cli, ["compile", str(DEMO), "--emit", "jobset", *OPTIONS]).stdout
    ):
        ready.store.apply(ready.kind(item["kind"]), item, "kubectl", force=False, dry_run=False)
    ends(ready, "jobsets", "Failed", "policy")()

    result = run(engine="jobset")

    assert result.exit_code == 1
    command = f"kubectl delete jobsets.jobset.x-k8s.io {name_of(ready, 'jobsets')} --namespace {NAMESPACE}"
    assert f"has ended in an earlier run; delete it with `{command}` to run again" in result.stdout


def test_a_failed_run_is_told_with_its_cause(ready: StandIn) -> None:
    crashed: Object = {"containerStatuses": [container("node", terminated={"exitCode": 2, "reason": "Error"})]}
    Script(ready, "trainjobs", pods(ready, "trainjobs", **crashed), ends(ready, "trainjobs", "Failed", "policy"))

    result = run("--nodes", "2")

    assert result.exit_code == 1
    assert "the run failed: policy; pod" in result.stderr
    assert "container `node`: ended with exit code 2" in result.stderr


def test_what_the_cluster_lacks_is_refused_before_anything_is_created(ready: StandIn) -> None:
    node(ready, nvidia_com__gpu="1", rdma__ib="1")
    for options, told in (
        (("--queue", "team-a"), "`kubectl get localqueues.kueue.x-k8s.io --namespace kaito-demo` lists what exists"),
        (("--results-claim", "none"), "persistentvolumeclaims `none` not found"),
        (("--nodes", "2", "--results-claim", "tuning-data"), "claim `tuning-data` is ReadOnlyMany, and 2 nodes write"),
        (
            ("--rdma", "rdma/ib=8"),
            "needs 8 of `rdma/ib`, and no Standard_NC24ads_A100_v4 node has more than 1; `kubectl "
            "describe nodes --selector node.kubernetes.io/instance-type=Standard_NC24ads_A100_v4` lists them",
        ),
    ):
        result = run(*options)
        assert result.exit_code == 1
        assert told in result.stderr
    assert ready.writes() == []


def test_a_queue_that_never_admits_the_run_is_refused(ready: StandIn) -> None:
    queue(ready, "cpu", "nvidia.com/gpu")

    assert "does not cover `rdma/ib`, so it never admits" in run("--queue", "team-a", "--rdma", "rdma/ib=1").stderr
    result = run("--queue", "team-a", "--priority-class", "none")
    assert "workloadpriorityclasses.kueue.x-k8s.io `none` not found; `kubectl get workloadp" in result.stderr
    assert ready.writes() == []


def test_what_may_not_be_read_is_left_to_the_cluster(ready: StandIn) -> None:
    queue(ready, "cpu", "nvidia.com/gpu")
    ready.forbidden = {"nodes", "clusterqueues"}
    Script(ready, "trainjobs", ends(ready, "trainjobs", "Complete"))

    result = run("--queue", "team-a", "--rdma", "rdma/ib=1")

    assert result.exit_code == 0, result.output
    assert (
        "no Standard_NC24ads_A100_v4 node is running or can be listed, so their devices were not checked"
        in result.stdout
    )


def test_a_cluster_without_trainer_is_refused(ready: StandIn, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(ready, "kinds", [kind for kind in ready.kinds if kind.name != "TrainJob"])
    monkeypatch.setenv("HOME", str(tmp_path))  # kubectl remembers what a server has

    result = run()

    assert result.exit_code == 1
    assert "the cluster has no `TrainJob` of trainer.kubeflow.org; `kubectl api-resources " in result.stderr
    assert "--api-group=trainer.kubeflow.org` lists what it has" in result.stderr
    assert ready.writes() == []


def test_a_queue_on_a_cluster_without_kueue_is_refused(
    ready: StandIn, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(ready, "kinds", [kind for kind in ready.kinds if kind.name != "LocalQueue"])
    monkeypatch.setenv("HOME", str(tmp_path))  # kubectl remembers what a server has

    result = run("--queue", "team-a")

    assert result.exit_code == 1
    assert "the cluster has no localqueues of kueue.x-k8s.io, so none is called `team-a`; `kubectl" in result.stderr
    assert "--api-group=kueue.x-k8s.io` lists what it has" in result.stderr
    assert ready.writes() == []


@pytest.mark.parametrize("option", [("--merge",), ("--num-processes", "4"), ("--data", "here"), ("--auto-fit",)])
@pytest.mark.parametrize("place", ["cluster", "trainjob", "jobset"])
def test_an_option_that_a_cluster_would_not_hear_of_is_refused(place: str, option: tuple[str, ...]) -> None:
    result = CliRunner().invoke(cli, ["run", str(DEMO), "--on", place, *option])

    assert result.exit_code == 2
    assert f"{option[0]} needs a local run; --on {place} runs the manifest as it is written" in result.stderr


def test_options_of_an_engine_go_with_it() -> None:
    result = CliRunner().invoke(cli, ["run", str(DEMO), "--nodes", "2"])

    assert result.exit_code == 2
    assert "--nodes goes with --on trainjob or jobset" in result.stderr
