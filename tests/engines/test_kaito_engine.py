"""`--on cluster`: a real kubectl against a stand-in of Kaito's webhook: what is applied, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner
from kaito_runs import CONFIG, NAME, WORKSPACE, applied, ends, nothing, run, starts
from standin.kaito import NAMESPACE, Script, container, job, pod
from standin.kinds import Kind
from standin.server import StandIn
from standin.store import Object, StatusError, Webhook

from kaitoc.compiler.cli import cli

pytestmark = pytest.mark.slow
DEMO = Path(__file__).resolve().parents[2] / "examples" / "demo.yaml"


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
    assert told[0].startswith("Workspace team/tune: cannot be checked before ConfigMap team/params is stored")
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


def dead_webhook(cause: str, *, num_calls: int = 1_000_000) -> Webhook:
    """A webhook for Workspaces that cannot be called, in the words of Kubernetes 1.20 and later."""
    left = iter(range(num_calls))

    def call(_store: object, kind: Kind, _item: Object) -> str:
        if kind.name != "Workspace" or next(left, None) is None:
            return ""
        text = (
            f'failed calling webhook "validation.workspace.kaito.sh": Post "https://10.0.0.7:443/?timeout=1s": {cause}'
        )
        raise StatusError(500, "InternalError", f"Internal error occurred: {text}")

    return call


def test_a_webhook_that_is_away_for_a_while_is_waited_for(cluster: StandIn) -> None:
    cluster.store.webhooks.append(dead_webhook("context deadline exceeded", num_calls=2))
    Script(cluster, "workspaces", starts(cluster), ends(cluster))

    told, failure = run()

    assert failure is None
    assert told[1].startswith("a webhook does not answer; waiting for it: Workspace team/tune: kubectl apply: ")
    assert 'failed calling webhook "validation.workspace.kaito.sh"' in told[1]


def test_a_write_that_another_one_came_before_is_repeated(cluster: StandIn) -> None:
    left = iter(range(2))

    def overtaken(_store: object, kind: Kind, item: Object) -> str:
        if kind.name == "Workspace" and next(left, None) is not None:
            text = "the object has been modified; please apply your changes to the latest version and try again"
            raise StatusError(409, "Conflict", f'Operation cannot be fulfilled on workspaces.kaito.sh "tune": {text}')
        return ""

    cluster.store.webhooks.append(overtaken)
    Script(cluster, "workspaces", starts(cluster), ends(cluster))

    told, failure = run()

    assert failure is None
    assert told[1].startswith("the API server asks to try again; waiting for it: Workspace team/tune: kubectl apply: ")


@pytest.mark.parametrize(
    ("code", "reason", "says"),
    [
        (413, "RequestEntityTooLarge", "Request entity too large: limit is 3145728"),
        (422, "Invalid", 'Workspace.kaito.sh "tune" is invalid: spec: Required value'),
    ],
)
def test_a_request_that_can_never_pass_is_refused_at_once(cluster: StandIn, code: int, reason: str, says: str) -> None:
    def refuses(_store: object, kind: Kind, _item: Object) -> str:
        if kind.name == "Workspace":
            raise StatusError(code, reason, says)
        return ""

    cluster.store.webhooks.append(refuses)

    told, failure = run()

    assert told == ["ConfigMap team/params: created", "ConfigMap team/params: removed again"]
    assert says in str(failure)


def test_what_was_created_is_removed_again_where_a_webhook_stays_away(cluster: StandIn) -> None:
    cluster.store.webhooks.append(dead_webhook("dial tcp 10.0.0.7:443: connect: connection refused"))

    told, failure = run(wait=0.3)

    assert told[-1] == "ConfigMap team/params: removed again"
    assert "connection refused" in str(failure)


@pytest.mark.parametrize("cause", ["x509: certificate signed by unknown authority", 'service "webhook" not found'])
def test_a_webhook_that_no_waiting_mends_is_not_waited_for(cluster: StandIn, cause: str) -> None:
    cluster.store.webhooks.append(dead_webhook(cause))

    told, failure = run()

    assert told == ["ConfigMap team/params: created", "ConfigMap team/params: removed again"]
    assert cause in str(failure)


def test_a_workspace_that_only_generates_its_name_is_refused(cluster: StandIn, tmp_path: Path) -> None:
    path = tmp_path / "generated.yaml"
    path.write_text(DEMO.read_text().replace("  name: tune-phi-3\n", "  generateName: tune-\n"))

    result = CliRunner().invoke(cli, ["run", str(path), "--on", "cluster"])

    assert result.exit_code == 1
    assert "the Workspace has no `metadata.name`, by which a run is followed" in result.stderr
    assert cluster.requests == []


def test_a_run_that_could_not_be_followed_is_not_started(cluster: StandIn) -> None:
    cluster.forbidden = {"pods"}

    told, failure = run()

    assert told == []
    assert str(failure).startswith("the run could not be followed: kubectl get: ")
    assert str(failure).endswith("; `kubectl auth can-i list pods --namespace team` shows it")
    assert cluster.writes() == []


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
    assert "--report needs --on cluster" in result.output
