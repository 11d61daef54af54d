"""The inference Workspace that serves the adapter of a tuning Workspace, and its ConfigMap where it needs one."""

from __future__ import annotations

from collections.abc import Mapping

from kaitoc.compiler.catalog.served_adapters import needed_lora_rank, takes_adapters, vllm_refusals
from kaitoc.compiler.compile.model import CompileError
from kaitoc.compiler.compile.scaffold import Blueprint, metadata_of
from kaitoc.compiler.job.job import Assumptions
from kaitoc.compiler.manifest.recognition import SERVING_DATA_KEY, SERVING_SECTION
from kaitoc.compiler.manifest.render import literal, render_document


def server_text(blueprint: Blueprint, assumptions: Assumptions) -> str:
    """Return the YAML of what serves the adapter that a blueprint's tuning Workspace pushes.

    Raises `CompileError` for an adapter that the release's vLLM refuses, and without an instance type.
    """
    instance = blueprint.instance_type
    if instance is None:
        raise CompileError("`--serve` needs the server's GPU or instance type: name it with `--gpu`")
    _refuse_unservable(blueprint, assumptions)
    rank = needed_lora_rank({"r": blueprint.rank})
    workspace = render_document(_workspace(blueprint, instance.name, has_config=rank is not None))
    if rank is None:
        return workspace
    return f"{render_document(_config_map(blueprint, {'max-lora-rank': rank}))}---\n{workspace}"


def _refuse_unservable(blueprint: Blueprint, assumptions: Assumptions) -> None:
    model, release = blueprint.model, assumptions.release
    reasons = list(vllm_refusals({"r": blueprint.rank}).values())
    if not takes_adapters(model.model_type):
        reasons.append(f"it takes no adapters for {model.name}")
    if reasons:
        raise CompileError(f"vLLM {release.vllm} of Kaito {release.name} cannot serve this adapter: {reasons[0]}")


def _workspace(blueprint: Blueprint, instance_type: str, *, has_config: bool) -> dict[str, object]:
    """Return the Workspace, without the adapter's strength, which Kaito refuses with vLLM."""
    name = _name(blueprint)
    source = {
        "name": blueprint.name,
        "image": blueprint.output_image,
        "imagePullSecrets": [blueprint.push_secret],
    }
    return {
        "apiVersion": "kaito.sh/v1beta1",
        "kind": "Workspace",
        "metadata": metadata_of(blueprint, name),
        "resource": {
            "instanceType": instance_type,
            "labelSelector": {"matchLabels": {"app": name}},
        },
        "inference": {
            "preset": {"name": blueprint.preset},
            **({"config": f"{name}-params"} if has_config else {}),
            "adapters": [{"source": source}],
        },
    }


def _config_map(blueprint: Blueprint, options: Mapping[str, int]) -> dict[str, object]:
    inner = render_document({SERVING_SECTION: dict(options)})
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": metadata_of(blueprint, f"{_name(blueprint)}-params"),
        "data": {SERVING_DATA_KEY: literal(inner)},
    }


def _name(blueprint: Blueprint) -> str:
    return f"{blueprint.name}-server"
