"""`--on cluster`: what is told of a run while a scripted controller carries it out, and how following ends."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import pytest
from kaito_runs import LOG, NAME, applied, ends, has_pod, nothing, run, starts
from standin.kaito import NAMESPACE, Script, container, event, job, pod
from standin.server import DISCONNECT, StandIn
from standin.store import Object

from kaitoc.compiler.engines.follow import LeftRunningError
from kaitoc.compiler.engines.troubles import troubles_of

pytestmark = pytest.mark.slow


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
    assert "the run continues; stop it with `kubectl delete workspace tune --namespace team`" in str(failure)


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
    assert "not done after 0.2 s; the run continues; stop it with `kubectl delete workspace tune" in str(failure)


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
    assert "stopped following; the run continues" in str(failure)


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
