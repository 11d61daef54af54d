"""`kaitoc upgrade` on what serves: options that go, values that nobody wrote and that change, and how they are kept."""

from __future__ import annotations

import json
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kaitoc.compiler.catalog.releases import all_releases
from kaitoc.compiler.check.engine import Engine
from kaitoc.compiler.check.engine_options import EngineOptions, engine_of
from kaitoc.compiler.check.release_difference import difference
from kaitoc.compiler.check.upgrade import Upgrade, keep_behaviour, upgrade
from kaitoc.compiler.cli import cli
from kaitoc.compiler.core.source import Source
from kaitoc.compiler.job.assumptions import Overrides
from kaitoc.compiler.job.serving_link import link_serving_jobs
from kaitoc.compiler.kaito.vllm_options import serving_table

WORKSPACE = """\
apiVersion: kaito.sh/v1beta1
kind: Workspace
metadata:
  name: serve
resource:
  instanceType: Standard_NC24ads_A100_v4
  labelSelector:
    matchLabels:
      apps: serve
inference:
  preset:
    name: phi-4-mini-instruct
  config: params
---
"""
PAIRS = [(old.name, new.name) for old, new in combinations(all_releases(), 2)]


def manifests(**options: str) -> str:
    lines = "".join(
        f"      {name.replace('_', '-')}: {value}\n" for name, value in {"max_num_seqs": "8", **options}.items()
    )
    return (
        WORKSPACE + "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: params\ndata:\n  inference_config.yaml: |\n"
        "    vllm:\n" + lines
    )


def engine(release: str, text: str) -> Engine:
    made = engine_of(EngineOptions(Overrides(kaito_version=release), isolated=True))
    made.library.add_source(Source("serve.yaml", text))
    return made


def upgraded(text: str, before: str, after: str) -> tuple[Engine, Upgrade]:
    new = engine(after, text)
    return new, upgrade(engine(before, text), new, ["serve.yaml"])


def changed(found: Upgrade) -> dict[str, tuple[object, object]]:
    return {change.option: (change.before, change.after) for change in found.changes}


def test_an_option_that_is_gone_breaks_the_server_and_is_removed() -> None:
    new, found = upgraded(manifests(swap_space="4"), "v0.10", "v0.11")

    assert [finding.code for finding in found.breaks] == ["KT701"]
    (text,) = keep_behaviour(new, found).values()
    assert "swap-space" not in text


def test_what_the_parser_gives_otherwise_is_told() -> None:
    _, found = upgraded(manifests(), "v0.10", "v0.11")
    told = changed(found)

    assert told["safetensors-load-strategy"] == ("lazy", None)
    assert told["disable-cascade-attn"] == (False, True)


def test_what_the_controller_sets_alike_does_not_change_though_the_parser_would() -> None:
    defaults = [serving_table(release).option("gpu-memory-utilization") for release in ("v0.10", "v0.11")]
    assert len({option.default for option in defaults if option is not None}) == 2

    _, found = upgraded(manifests(), "v0.10", "v0.11")
    assert "gpu-memory-utilization" not in changed(found)


def test_what_the_controller_begins_to_set_is_told() -> None:
    _, found = upgraded(manifests(), "v0.8", "v0.9")
    assert changed(found)["trust-remote-code"] == (False, True)


def test_a_server_that_did_not_start_has_nothing_to_keep() -> None:
    _, found = upgraded(manifests(no_such_option="1"), "v0.10", "v0.11")

    (server,) = found.servers
    assert (server.ran_before, server.changes) == (False, ())


def test_a_server_of_transformers_does_not_change_with_vllm() -> None:
    text = manifests().replace("  name: serve\n", "  name: serve\n  annotations: {kaito.sh/runtime: transformers}\n")
    _, found = upgraded(text, "v0.8", "v0.12")

    (server,) = found.servers
    assert (server.ran_before, server.changes) == (True, ())


VALUES = {"safetensors-load-strategy": "eager", "api-server-count": "2", "all2all-backend": "naive", "seed": "7"}


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(pair=st.sampled_from(PAIRS), stated=st.sets(st.sampled_from(sorted(VALUES))))
def test_what_is_written_does_not_change_and_what_can_be_kept_has_the_value_of_before(
    pair: tuple[str, str], stated: set[str]
) -> None:
    old, new = pair
    text = manifests(**{name: VALUES[name] for name in stated})
    made, found = upgraded(text, old, new)
    assert not stated & changed(found).keys()
    assert not found.breaks

    kept = next(iter(keep_behaviour(made, found).values()), text)
    _, again = upgraded(kept, old, new)
    assert not any(change.can_be_kept for change in again.changes)
    values = effective_values(engine(new, kept))
    for change in found.changes:
        if change.can_be_kept:
            assert values[change.option] == change.before


def effective_values(made: Engine) -> dict[str, object]:
    file = made.library.add_given("serve.yaml")
    (server,) = link_serving_jobs(file, made.library, made.assumptions_for("serve.yaml"))
    return {name: served.value for name, served in server.parsed.values.items()}


@pytest.mark.parametrize(("old", "new"), PAIRS)
def test_the_releases_differ_as_their_tables_do(old: str, new: str) -> None:
    releases = {release.name: release for release in all_releases()}
    found = difference(releases[old], releases[new])
    names = [{f"vllm.{name}" for name in serving_table(release).names} for release in (old, new)]

    assert set(found.serving_options_gone) == names[0] - names[1]
    assert set(found.serving_options_new) == names[1] - names[0]
    for default in found.serving_defaults:
        before, after = (serving_table(release).option(default.option) for release in (old, new))
        assert before is not None
        assert after is not None
        assert (before.default, after.default) == (default.before, default.after)


@pytest.mark.parametrize("as_json", [False, True])
def test_the_command_tells_each_server(tmp_path: Path, as_json: bool) -> None:
    path = tmp_path / "serve.yaml"
    path.write_text(manifests(), encoding="utf-8")
    arguments = ["upgrade", "--isolated", "--from", "v0.10", "--to", "v0.11", str(path)]
    result = CliRunner().invoke(cli, [*arguments, *(["--format", "json"] if as_json else [])])

    assert (result.exit_code, result.stderr) == (0, "")
    if as_json:
        document: dict[str, Any] = json.loads(result.stdout)
        (server,) = document["servers"]
        assert server["server"] == "Workspace serve"
        assert "safetensors-load-strategy: lazy" in [change["keep"] for change in server["changes"]]
    else:
        told = "vllm.safetensors-load-strategy, which is not set: lazy -> null"
        assert f"  {told}; `safetensors-load-strategy: lazy` keeps it" in result.stdout.splitlines()
