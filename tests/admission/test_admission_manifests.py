"""The manifests of examples/admission: what Kubernetes takes, and what they let the webhook do."""

from __future__ import annotations

import base64
import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner

from kaitoc.compiler.cli.webhook import webhook
from kaitoc.compiler.manifest.recognition import DATA_KEY, SERVING_DATA_KEY
from kaitoc.compiler.webhook.cluster_api import PARTNER_KINDS

kubernetes_validate = pytest.importorskip("kubernetes_validate")

FOLDER = Path(__file__).parents[2] / "examples" / "admission"
OBJECTS = [
    document for path in sorted(FOLDER.glob("*.yaml")) for document in yaml.safe_load_all(path.read_text("utf-8"))
]
OWN = [document for document in OBJECTS if not document["apiVersion"].startswith("cert-manager.io/")]


def only(kind: str, name: str | None = None) -> dict[str, Any]:
    (found,) = [
        document for document in OBJECTS if document["kind"] == kind and name in (None, document["metadata"]["name"])
    ]
    return found


@pytest.mark.parametrize("document", OWN, ids=lambda document: document["kind"])
def test_kubernetes_takes_every_manifest(document: dict[str, Any]) -> None:
    kubernetes_validate.validate(document, kubernetes_validate.latest_version(), strict=True)


def test_the_webhook_may_only_list_and_watch() -> None:
    rules = only("ClusterRole")["rules"]

    assert {verb for rule in rules for verb in rule["verbs"]} == {"list", "watch"}
    assert {resource for rule in rules for resource in rule["resources"]} == {
        "configmaps",
        "workspaces",
        "inferencesets",
        "multiroleinferences",
    }


@pytest.mark.parametrize("kind", ["ValidatingWebhookConfiguration", "MutatingWebhookConfiguration"])
def test_the_webhook_is_asked_about_every_kind_that_it_follows(kind: str) -> None:
    rules = [rule for hook in only(kind)["webhooks"] for rule in hook["rules"]]
    asked = {resource for rule in rules for resource in rule["resources"]}
    assert {f"{partner.lower()}s" for partner in PARTNER_KINDS} <= asked


@pytest.mark.parametrize("kind", ["ValidatingWebhookConfiguration", "MutatingWebhookConfiguration"])
def test_config_maps_with_either_config_reach_the_webhook(kind: str) -> None:
    conditions = [one["expression"] for hook in only(kind)["webhooks"] for one in hook.get("matchConditions", ())]
    assert all(f"'{key}' in object.data" in conditions[0] for key in (DATA_KEY, SERVING_DATA_KEY))


def test_the_pod_meets_the_restricted_standard() -> None:
    pod = only("Deployment")["spec"]["template"]["spec"]
    (container,) = pod["containers"]

    assert pod["securityContext"]["runAsNonRoot"]
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }


def test_the_command_line_of_the_pod_is_one_the_webhook_takes() -> None:
    (container,) = only("Deployment")["spec"]["template"]["spec"]["containers"]
    known = {name for parameter in webhook.params for name in (*parameter.opts, *parameter.secondary_opts)}

    assert {argument.partition("=")[0] for argument in container["args"]} <= known
    assert CliRunner().invoke(webhook, ["--help"]).exit_code == 0


@pytest.mark.parametrize("kind", ["ValidatingWebhookConfiguration", "MutatingWebhookConfiguration"])
def test_reviews_go_to_the_service_and_its_certificate(kind: str) -> None:
    certificate, service = only("Certificate", "kaitoc-webhook"), only("Service")
    for hook in only(kind)["webhooks"]:
        target = hook["clientConfig"]["service"]

        assert (target["name"], target["namespace"]) == (service["metadata"]["name"], service["metadata"]["namespace"])
        assert target["port"] in [port["port"] for port in service["spec"]["ports"]]
        assert f"{target['name']}.{target['namespace']}.svc" in certificate["spec"]["dnsNames"]
        assert hook["failurePolicy"] == "Ignore"


def test_the_secret_of_the_pod_is_the_one_the_certificate_is_kept_in() -> None:
    volumes = only("Deployment")["spec"]["template"]["spec"]["volumes"]

    certificate = only("Certificate", "kaitoc-webhook")
    assert certificate["spec"]["secretName"] in [v["secret"]["secretName"] for v in volumes if "secret" in v]


def test_what_is_trusted_stays_when_the_certificate_is_renewed() -> None:
    certificate, authority = only("Certificate", "kaitoc-webhook"), only("Certificate", "kaitoc-webhook-ca")
    issuer = only("Issuer", certificate["spec"]["issuerRef"]["name"])

    assert issuer["spec"] == {"ca": {"secretName": authority["spec"]["secretName"]}}
    assert authority["spec"]["isCA"]
    for kind in ("ValidatingWebhookConfiguration", "MutatingWebhookConfiguration"):
        injected = only(kind)["metadata"]["annotations"]["cert-manager.io/inject-ca-from"]
        assert injected == f"{certificate['metadata']['namespace']}/{certificate['metadata']['name']}"


def test_the_bootstrap_makes_a_certificate_for_the_service(tmp_path: Path) -> None:
    subprocess.run(["sh", str(FOLDER / "bootstrap.sh"), str(tmp_path)], check=True)
    verify = ["openssl", "verify", "-CAfile", "ca.crt", "-verify_hostname", "kaitoc-webhook.kaitoc.svc", "tls.crt"]
    verified = subprocess.run(verify, cwd=tmp_path, capture_output=True, text=True, check=False)

    assert verified.stdout == "tls.crt: OK\n", verified.stderr
    assert sorted(os.listdir(tmp_path)) == ["ca.crt", "tls.crt", "tls.key"]
    assert (tmp_path / "tls.key").stat().st_mode & 0o077 == 0


def test_the_bootstrap_stores_what_it_made_in_the_cluster(tmp_path: Path) -> None:
    asked = tmp_path / "asked"
    stand_in(tmp_path, "kubectl", f'echo "$*" >>"{asked}"\n[ "$1" != apply ] || cat >/dev/null')
    subprocess.run(["sh", str(FOLDER / "bootstrap.sh"), "made", "--apply"], cwd=tmp_path, check=True,
                   env=with_stand_ins(tmp_path))  # fmt: skip
    authority = base64.b64encode((tmp_path / "made" / "ca.crt").read_bytes()).decode()

    told = asked.read_text()
    assert "create secret tls kaitoc-webhook-tls --namespace kaitoc --cert made/tls.crt --key made/tls.key" in told
    for kind in ("ValidatingWebhookConfiguration", "MutatingWebhookConfiguration"):
        _, _, patch = told.partition(f"patch {kind.lower()} {only(kind)['metadata']['name']} --type json --patch ")
        operations, _ = json.JSONDecoder().raw_decode(patch)
        assert [operation["path"] for operation in operations] == [
            f"/webhooks/{index}/clientConfig/caBundle" for index in range(len(only(kind)["webhooks"]))
        ]
        assert {operation["value"] for operation in operations} == {authority}


def test_a_second_bootstrap_keeps_the_earlier_authority_trusted_until_the_new_certificate_is_served(
    tmp_path: Path,
) -> None:
    asked, earlier = tmp_path / "asked", "-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n"
    stored = base64.b64encode((earlier.format("second") + earlier.format("first")).encode()).decode()
    stand_in(tmp_path, "kubectl", f'echo "$*" >>"{asked}"\n[ "$1" != apply ] || cat >/dev/null\n'
             f'[ "$1" != get ] || printf %s {stored}')  # fmt: skip
    subprocess.run(["sh", str(FOLDER / "bootstrap.sh"), "made", "--apply"], cwd=tmp_path, check=True,
                   env=with_stand_ins(tmp_path))  # fmt: skip

    calls = asked.read_text()
    _, _, value = calls.partition('"value": "')
    bundle = base64.b64decode(value.partition('"')[0]).decode()
    assert bundle == (tmp_path / "made" / "ca.crt").read_text() + earlier.format("second")
    assert calls.index("patch mutatingwebhook") < calls.index("create secret")


def test_the_bootstrap_says_why_openssl_failed(tmp_path: Path) -> None:
    stand_in(tmp_path, "openssl", "echo unknown option >&2; exit 1")
    done = subprocess.run(["sh", str(FOLDER / "bootstrap.sh"), "made"], cwd=tmp_path, capture_output=True, text=True,
                          check=False, env=with_stand_ins(tmp_path))  # fmt: skip

    assert done.returncode == 1
    assert "openssl failed: unknown option" in done.stderr


def test_the_bootstrap_takes_no_option_that_it_does_not_know(tmp_path: Path) -> None:
    command = ["sh", str(FOLDER / "bootstrap.sh"), "made", "--aply"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)

    assert done.returncode == 2
    assert done.stderr.startswith("usage: ")
    assert os.listdir(tmp_path) == []


def stand_in(folder: Path, name: str, script: str) -> None:
    """Write a command that does what `script` says."""
    (folder / name).write_text(f"#!/bin/sh\n{script}\n")
    (folder / name).chmod(0o755)


def with_stand_ins(folder: Path) -> dict[str, str]:
    return {**os.environ, "PATH": f"{folder}{os.pathsep}{os.environ['PATH']}"}
