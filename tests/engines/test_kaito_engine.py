"""`--on cluster`: a real kubectl against a stand-in API server with Kaito's webhook and a scripted controller."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner
from standin.kaito import NAMESPACE, Script, container, event, job, pod
from standin.server import DISCONNECT, StandIn
from standin.store import Object

from kaitoc.compiler.cli import cli
from kaitoc.compiler.engines.apply import ApplyOptions
from kaitoc.compiler.engines.follow import FollowOptions, LeftRunningError
from kaitoc.compiler.engines.kaito import ClusterTarget, run_on_cluster
from kaitoc.compiler.engines.kubectl import ClusterError
from kaitoc.compiler.engines.troubles import troubles_of

pytestmark = pytest.mark.slow
DEMO = Path(__file__).resolve().parents[2] / "examples" / "demo.yaml"
NAME = "tune"
CONFIG: Object = {
    "apiVersion": "v1",
    "kind": "ConfigMap",
    "metadata": {"name": "params", "namespace": NAMESPACE},
    "data": {"training_config.yaml": "training_config: {}\n"},
}
WORKSPACE: Object = {
    "apiVersion": "kaito.sh/v1beta1",
    "kind": "Workspace",
    "metadata": {"name": NAME, "namespace": NAMESPACE},
    "resource": {"instanceType": "Standard_NC24ads_A100_v4"},
    "tuning": {"config": "params", "method": "qlora"},
}
LOG = "2026-01-01T00:00:01.000000000Z step 1\n2026-01-01T00:00:02.000000000Z step 2\n"


def run(
    *objects: Object, is_dry_run: bool = False, force: bool = False, timeout: float = 90.0, wait: float = 90.0
) -> tuple[list[str], ClusterError | None]:
    """Return what a run tells, and how it failed."""
    told: list[str] = []
    try:
        run_on_cluster(
            [yaml.safe_dump_all(objects or (WORKSPACE, CONFIG))],
            ClusterTarget(NAME, NAMESPACE),
            told.append,
            applying=ApplyOptions(force, wait, pause_seconds=0),
            following=FollowOptions(timeout, wait, poll_seconds=0),
            is_dry_run=is_dry_run,
        )
    except ClusterError as error:
        return told, error
    return told, None


def starts(cluster: StandIn, uid: str = "new", log: str = LOG) -> Callable[[], None]:
    """A step of Kaito's controller: the Job and its pod are there, and the pod runs."""

    def step() -> None:
        cluster.put(job(NAME, uid))
        cluster.put(pod(f"{NAME}-abc", uid, containerStatuses=[container(NAME, running={})]))
        cluster.logs[f"{NAME}-abc/{NAME}"] = log

    return step


def ends(cluster: StandIn, ending: str = "Complete", message: str = "", uid: str = "new") -> Callable[[], None]:
    return lambda: cluster.put(job(NAME, uid, ending=ending, message=message)) and None


def has_pod(cluster: StandIn, uid: str = "new", **status: object) -> Callable[[], None]:
    def step() -> None:
        cluster.put(job(NAME, uid))
        cluster.put(pod(f"{NAME}-abc", uid, **status))

    return step


def applied(cluster: StandIn) -> None:
    """An earlier run applied what this one applies."""
    for item in (CONFIG, WORKSPACE):
        cluster.store.apply(cluster.kind(item["kind"]), item, "kubectl", force=False, dry_run=False)


def nothing() -> None:
    """A step in which nothing happens."""


def test_a_run_goes_from_an_empty_cluster_to_done(cluster: StandIn) -> None:
    Script(cluster, "workspaces", nothing, starts(cluster), ends(cluster))

    told, failure = run()

    assert failure is None
    assert told == ["ConfigMap team/params: created", "Workspace team/tune: created", "step 1", "step 2"]


def test_each_stage_is_judged_before_it_is_stored(cluster: StandIn) -> None:
    Script(cluster, "workspaces", starts(cluster), ends(cluster))
    run()

    patches = [line.split("?")[0].rsplit("/", 2)[1] + ("?dry" if "dryRun" in line else "")
               for line in cluster.requests if line.startswith("PATCH")]  # fmt: skip
    assert patches == ["configmaps?dry", "configmaps", "workspaces?dry", "workspaces"]


def test_a_webhook_that_has_not_heard_of_the_config_map_yet_is_asked_again(cluster: StandIn) -> None:
    late = iter(("ConfigMap 'params' not found", "ConfigMap 'params' not found"))
    cluster.store.webhooks.append(lambda _store, kind, _item: next(late, "") if kind.name == "Workspace" else "")
    Script(cluster, "workspaces", starts(cluster), ends(cluster))

    told, failure = run()

    assert failure is None
    assert told[:2] == ["ConfigMap team/params: created", "Workspace team/tune: created"]


def test_a_dry_run_explains_what_it_could_not_ask(cluster: StandIn) -> None:
    told, failure = run(is_dry_run=True)

    assert failure is None
    assert told[0].startswith("Workspace team/tune: cannot be judged before ConfigMap team/params is stored")
    assert told[-1] == "nothing was applied"
    assert cluster.writes() == []


def test_a_dry_run_judges_everything_where_the_config_map_is_stored(cluster: StandIn) -> None:
    cluster.put(CONFIG, "kubectl")

    told, failure = run(is_dry_run=True)

    assert (told, failure) == (["the API server accepts the manifests", "nothing was applied"], None)


def test_what_was_created_is_removed_again_when_the_workspace_is_refused(cluster: StandIn) -> None:
    cluster.store.webhooks.append(lambda _store, kind, _item: "no GPUs today" if kind.name == "Workspace" else "")

    told, failure = run()

    assert told == ["ConfigMap team/params: created", "ConfigMap team/params: removed again"]
    assert str(failure).startswith("Workspace team/tune: kubectl apply: ")
    assert "no GPUs today" in str(failure)
    assert cluster.store.objects == {}


def test_what_was_changed_is_put_back_when_the_workspace_is_refused(cluster: StandIn) -> None:
    cluster.put({**CONFIG, "data": {"training_config.yaml": "mine"}}, "kubectl")
    cluster.store.webhooks.append(lambda _store, kind, _item: "no GPUs today" if kind.name == "Workspace" else "")

    told, _ = run()

    assert told == ["ConfigMap team/params: changed", "ConfigMap team/params: restored"]
    assert cluster.store.get("configmaps", NAMESPACE, "params")["data"] == {"training_config.yaml": "mine"}


def test_a_change_that_somebody_made_meanwhile_is_not_put_back(cluster: StandIn) -> None:
    cluster.put({**CONFIG, "data": {"training_config.yaml": "mine"}}, "kubectl")
    theirs = {**CONFIG, "data": {"training_config.yaml": "theirs"}}

    def deny(_store: object, kind: object, _item: Object) -> str:
        if getattr(kind, "name", "") != "Workspace":
            return ""
        cluster.put(theirs)
        return "no GPUs today"

    cluster.store.webhooks.append(deny)
    told, _ = run()

    assert told[-1].startswith("ConfigMap team/params: was changed by this run and cannot be reverted")
    assert cluster.store.get("configmaps", NAMESPACE, "params")["data"] == theirs["data"]


def test_fields_of_another_manager_are_told_with_its_name_and_taken_over_on_request(cluster: StandIn) -> None:
    cluster.put({**CONFIG, "data": {"training_config.yaml": "theirs"}}, "argocd")

    _, failure = run()
    assert "another manager owns .data.training_config.yaml (field manager `argocd`)" in str(failure)
    assert "`--force-conflicts` takes these fields over" in str(failure)

    Script(cluster, "workspaces", starts(cluster), ends(cluster))
    told, failure = run(force=True)
    assert failure is None
    assert told[0] == "ConfigMap team/params: changed"


def test_a_cluster_without_kaito_is_refused_before_anything_is_applied(cluster: StandIn) -> None:
    other = {**WORKSPACE, "apiVersion": "kaito.sh/v9"}

    told, failure = run(other, CONFIG)

    assert told == []
    assert 'no matches for kind "Workspace" in version "kaito.sh/v9"' in str(failure)


def test_pods_of_an_earlier_run_that_still_terminate_are_not_taken_for_this_ones(cluster: StandIn) -> None:
    crashed = [container(NAME, terminated={"exitCode": 143})]
    cluster.put(job(NAME, "old"))
    cluster.put(pod(f"{NAME}-old", "old", containerStatuses=crashed))
    cluster.put({**WORKSPACE, "tuning": {"method": "lora"}}, "kubectl")
    Script(cluster, "workspaces", nothing, lambda: cluster.store.delete("jobs", NAMESPACE, NAME) and None,
           starts(cluster), ends(cluster))  # fmt: skip

    told, failure = run()

    assert failure is None
    assert told[-2:] == ["step 1", "step 2"]


def test_a_run_that_kaito_would_not_start_again_is_refused_and_its_config_map_put_back(cluster: StandIn) -> None:
    applied(cluster)
    cluster.put(job(NAME, "old", ending="Complete"))

    told, failure = run(WORKSPACE, {**CONFIG, "data": {"training_config.yaml": "changed"}})

    assert "run `kubectl delete workspace tune --namespace team`" in str(failure)
    assert told[-1] == "ConfigMap team/params: restored"


def test_a_run_that_is_under_way_is_followed_again(cluster: StandIn) -> None:
    applied(cluster)
    starts(cluster)()
    Script(cluster, "workspaces", nothing, ends(cluster))

    told, failure = run()

    assert failure is None
    assert told[2:] == ["tune: the Workspace is unchanged; following the current run", "step 1", "step 2"]


DOWNLOADER = container("data-downloader", terminated={"exitCode": 1, "message": "404 a.json"})
TROUBLES = [
    ({"initContainerStatuses": [DOWNLOADER]},
     "pod tune-abc, init container `data-downloader`: ended with exit code 1: 404 a.json"),
    ({"initContainerStatuses": [container("puller", waiting={"reason": "ImagePullBackOff", "message": "no pull"})]},
     "pod tune-abc, init container `puller`: ImagePullBackOff: no pull"),
    ({"containerStatuses": [container(NAME, waiting={"reason": "ErrImagePull", "message": "unauthorized"})]},
     "pod tune-abc, container `tune`: ErrImagePull: unauthorized"),
    ({"conditions": [{"type": "PodScheduled", "status": "False", "message": "0/3 nodes are available"}]},
     "pod tune-abc cannot be scheduled: 0/3 nodes are available"),
    ({"phase": "Failed", "reason": "Evicted", "message": "The node was low on resource: memory."},
     "pod tune-abc: Evicted: The node was low on resource: memory."),
]  # fmt: skip


@pytest.mark.parametrize(("status", "told_line"), TROUBLES)
def test_what_keeps_a_pod_from_running_is_told_with_its_cause(status: Object, told_line: str) -> None:
    assert list(troubles_of(pod("tune-abc", "1", **status))) == [told_line]


def test_a_pod_that_starts_or_runs_is_no_trouble() -> None:
    starting = [container("a", waiting={"reason": "PodInitializing"}), container("b", waiting={})]
    running = [container("a", terminated={"exitCode": 0}), container("b", running={})]

    assert not list(troubles_of(pod("p-1", "1", initContainerStatuses=starting, containerStatuses=running)))


def test_troubles_are_told_as_they_happen_and_the_last_is_the_cause(cluster: StandIn) -> None:
    steps = [has_pod(cluster, **status) for status, _ in TROUBLES]
    Script(cluster, "workspaces", *steps, ends(cluster, "Failed", "BackoffLimitExceeded"))

    told, failure = run()

    assert told[2:] == [line for _, line in TROUBLES]
    assert str(failure) == f"tune: the tuning job failed: BackoffLimitExceeded; {TROUBLES[-1][1]}"


def test_quota_and_nodes_that_do_not_come_are_told(cluster: StandIn) -> None:
    quota = "exceeded quota: gpus, requested: 1, used: 8"
    claim = {
        "apiVersion": "karpenter.sh/v1", "kind": "NodeClaim",
        "metadata": {"name": "ws1", "labels": {"kaito.sh/workspace": NAME, "kaito.sh/workspacenamespace": NAMESPACE}},
        "status": {"conditions": [{"type": "Launched", "status": "False", "reason": "LaunchFailed",
                                   "message": "SkuNotAvailable"}]},
    }  # fmt: skip

    def step() -> None:
        cluster.put(job(NAME, "new"))
        cluster.put(event("Job", NAME, "new", "FailedCreate", quota))
        cluster.put(event("Job", "other", "other", "FailedCreate", "not ours"))

    Script(cluster, "workspaces", lambda: cluster.put(claim) and None, step, starts(cluster), ends(cluster))
    told, failure = run()

    assert failure is None
    assert told[2:4] == ["node ws1: Launched: LaunchFailed: SkuNotAvailable", f"Job tune: FailedCreate: {quota}"]
    assert told[4:] == ["step 1", "step 2"]


def test_events_that_may_not_be_read_do_not_end_a_run(cluster: StandIn) -> None:
    cluster.forbidden = {"events", "nodeclaims"}
    Script(cluster, "workspaces", nothing, starts(cluster), ends(cluster))

    assert run()[1] is None


def test_a_crashed_container_ends_a_run_whose_pod_stays_alive(cluster: StandIn) -> None:
    statuses = [container(NAME, terminated={"exitCode": 1, "reason": "Error"}), container("pusher", running={})]
    Script(cluster, "workspaces", has_pod(cluster, containerStatuses=statuses))

    _, failure = run()

    assert str(failure) == "tune: the tuning job failed: container `tune` ended with exit code 1"


def test_a_deleted_workspace_ends_the_run(cluster: StandIn) -> None:
    def delete() -> None:
        cluster.store.delete("workspaces", NAMESPACE, NAME)

    Script(cluster, "workspaces", starts(cluster), delete)

    assert str(run()[1]) == "tune: the Workspace was deleted, which ends its run"


def test_conditions_are_told_once_each_and_without_secrets(cluster: StandIn) -> None:
    condition = {"type": "Tuned", "status": "False", "message": "no https://host/a.jsonl?sig=abc123"}

    def states() -> None:
        cluster.store.change("workspaces", NAMESPACE, NAME, status={"conditions": [condition]})

    Script(cluster, "workspaces", states, nothing, starts(cluster), ends(cluster, "Failed", "see HF_TOKEN=abc123"))
    told, failure = run()

    assert told[2:] == ["Tuned: False no https://host/a.jsonl?***", "step 1", "step 2"]
    assert str(failure) == "tune: the tuning job failed: see HF_TOKEN=***"


def test_a_log_is_told_line_by_line_as_it_grows_and_without_secrets(cluster: StandIn) -> None:
    def grows() -> None:
        cluster.logs[f"{NAME}-abc/{NAME}"] = LOG + "2026-01-01T00:00:02.000000001Z using HF_TOKEN=abc123\n"

    Script(cluster, "workspaces", starts(cluster), grows, ends(cluster))

    assert run()[0][2:] == ["step 1", "step 2", "using HF_TOKEN=***"]


def test_an_api_server_that_fails_for_a_while_does_not_end_a_run(cluster: StandIn) -> None:
    def fails() -> None:
        cluster.faults = [500, 429, DISCONNECT, 200, 500]

    Script(cluster, "workspaces", starts(cluster), fails, ends(cluster))

    told, failure = run()

    assert failure is None
    assert sum(line.startswith("the API server does not answer; waiting for it") for line in told) in (1, 2)


def test_an_api_server_that_fails_before_anything_runs_is_waited_for(cluster: StandIn) -> None:
    cluster.faults = [500, 429, DISCONNECT, 200, 500]
    Script(cluster, "workspaces", starts(cluster), ends(cluster))

    told, failure = run()

    assert failure is None
    assert told[-4:] == ["ConfigMap team/params: created", "Workspace team/tune: created", "step 1", "step 2"]


def test_an_api_server_that_stays_away_is_told_and_the_run_goes_on(cluster: StandIn) -> None:
    def fails() -> None:
        cluster.faults = [500] * 1000

    Script(cluster, "workspaces", fails)

    _, failure = run(wait=0.3)

    assert isinstance(failure, LeftRunningError)
    assert "the run goes on; stop it with `kubectl delete workspace tune --namespace team`" in str(failure)


def test_a_refused_question_ends_following_at_once(cluster: StandIn) -> None:
    def refuses() -> None:
        cluster.faults = [401]

    Script(cluster, "workspaces", refuses)

    _, failure = run()

    assert isinstance(failure, LeftRunningError)
    assert "logged in" in str(failure)


def test_a_timeout_says_that_the_run_goes_on(cluster: StandIn) -> None:
    Script(cluster, "workspaces", starts(cluster))

    _, failure = run(timeout=0.2)

    assert failure is not None
    assert failure.exit_code == 1
    assert "not done after 0.2 s; the run goes on; stop it with `kubectl delete workspace tune" in str(failure)


@pytest.fixture
def with_ctrl_c() -> Iterator[None]:
    """SIGINT interrupts, also where the suite runs in a shell's background, which ignores it."""
    handler = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, handler)


@pytest.mark.usefixtures("with_ctrl_c")
def test_ctrl_c_exits_130_and_says_that_the_run_goes_on(cluster: StandIn) -> None:
    def interrupts() -> None:
        os.kill(os.getpid(), signal.SIGINT)  # while the run waits for kubectl, which waits for this

    Script(cluster, "workspaces", starts(cluster), interrupts)

    _, failure = run()

    assert failure is not None
    assert failure.exit_code == 130
    assert "stopped following; the run goes on" in str(failure)


@pytest.mark.usefixtures("with_ctrl_c")
def test_ctrl_c_before_the_run_was_started_takes_back_what_was_created(cluster: StandIn) -> None:
    def interrupts(_store: object, kind: object, _item: Object) -> str:
        if getattr(kind, "name", "") == "Workspace":
            os.kill(os.getpid(), signal.SIGINT)  # while the run waits for kubectl, which waits for this
        return ""

    cluster.store.webhooks.append(interrupts)
    told, failure = run()

    assert failure is not None
    assert failure.exit_code == 130
    assert str(failure) == "stopped by Ctrl-C before the run was started"
    assert told == ["ConfigMap team/params: created", "ConfigMap team/params: removed again"]


def demo_cluster(cluster: StandIn) -> None:
    """Play Kaito for examples/demo.yaml."""
    name, namespace = "tune-phi-3", "kaito-demo"

    def moved(item: Object) -> Object:
        return {**item, "metadata": {**item["metadata"], "namespace": namespace}}

    def step() -> None:
        cluster.put(moved(job(name, "new", ending="Complete")))
        cluster.put(moved(pod(f"{name}-abc", "new", containerStatuses=[container(name, terminated={"exitCode": 0})])))
        cluster.logs[f"{name}-abc/{name}"] = (
            "2026-01-01T00:00:01.000000000Z {'loss': 2.5, 'epoch': 0.5}\n"
            "2026-01-01T00:00:02.000000000Z {'loss': 1.25, 'epoch': 1.0}\n"
        )

    Script(cluster, "workspaces", step)


def test_kaitoc_run_applies_the_compiled_manifest_and_sums_the_run_up(cluster: StandIn, tmp_path: Path) -> None:
    demo_cluster(cluster)
    file = tmp_path / "report.json"

    result = CliRunner().invoke(cli, ["run", str(DEMO), "--on", "cluster", "--report", str(file)])

    assert result.exit_code == 0, result.output
    assert "2.500 -> 1.250 over 2 logged steps" in result.output
    assert json.loads(file.read_text())["last_loss"] == 1.25
    stored = cluster.store.get("configmaps", "kaito-demo", "tune-phi-3-params")
    assert "qkv_proj" in stored["data"]["training_config.yaml"]


def test_without_kubectl_the_run_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))

    result = CliRunner().invoke(cli, ["run", str(DEMO), "--on", "cluster"])

    assert result.exit_code == 1
    assert "kubectl is not on PATH" in result.stderr


def test_a_report_of_a_run_here_is_not_asked_for(tmp_path: Path) -> None:
    result = CliRunner().invoke(cli, ["run", str(DEMO), "--report", str(tmp_path / "report.json")])

    assert result.exit_code == 2
    assert "--report goes with --on cluster" in result.output
