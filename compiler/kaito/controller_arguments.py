"""The arguments that Kaito's controller puts on the command line, before those of the config.

Sources: `pkg/model/interface.go` (`buildVLLMInferenceCommand`, `configureParallelism`) and `presets/workspace/models`
at each release's tag. What follows from the size of a model's weights is left out where the size is not known.
"""

from __future__ import annotations

from kaitoc.compiler.catalog.releases import serving_traits
from kaitoc.compiler.core.records import dataclass
from kaitoc.compiler.kaito.vllm_words import CONTROLLER, Word


@dataclass(frozen=True, slots=True)
class ControllerFacts:
    """What decides the controller's arguments: the release, names, the layout, and what annotations ask for."""

    release: str
    model_name: str = ""
    model_id: str = ""
    gpu_model: str = ""
    num_gpus: int | None = None
    num_nodes: int = 1
    is_data_parallel: bool | None = None
    has_adapters: bool = False
    has_tools: bool = True
    performance_mode: str = ""
    is_decode: bool = False


def controller_does(release: str, what: str) -> bool:
    """Return whether a release's controller or webhook has a trait of its entry in `schemas/catalog/releases.json`."""
    return bool(serving_traits(release)[what])


def utilization_of(release: str, gpu_model: str) -> float:
    """Return the share of a GPU's memory that a release's controller lets vLLM take."""
    known = serving_traits(release)
    for override in known["utilization_overrides"]:
        if override["gpu_model"] == gpu_model:
            return float(override["value"])
    return float(known["arguments"]["gpu-memory-utilization"])


def controller_words(facts: ControllerFacts) -> list[Word]:
    """Return the controller's arguments; those of a model's generator are left out, as any of them may be absent."""
    known = serving_traits(facts.release)
    arguments: dict[str, str] = {}
    if facts.model_name:
        arguments["served-model-name"] = facts.model_name
    if facts.model_id:
        arguments["model"] = facts.model_id
    arguments.update(known["arguments"])
    for override in known["utilization_overrides"]:
        if override["gpu_model"] == facts.gpu_model:
            arguments["gpu-memory-utilization"] = override["value"]
    if facts.has_tools:
        arguments["enable-auto-tool-choice"] = ""
    if facts.has_adapters:
        arguments["enable-lora"] = ""
    if facts.performance_mode not in ("", "balanced") and known["has_performance_mode"]:
        arguments["performance-mode"] = facts.performance_mode
    arguments.update(_layout(facts))
    if facts.is_decode:
        arguments["port"] = "5001"
    return [Word(f"--{name}={value}" if value else f"--{name}", CONTROLLER, True) for name, value in arguments.items()]


def _layout(facts: ControllerFacts) -> dict[str, str]:
    """Return one replica per GPU where a model fits on half of one, else one model over all GPUs of the node.

    Several nodes are stages of a pipeline over Ray.
    """
    if facts.num_nodes > 1 and facts.num_gpus is not None:
        return {"tensor-parallel-size": str(facts.num_gpus), "pipeline-parallel-size": str(facts.num_nodes),
                "distributed-executor-backend": "ray"}  # fmt: skip
    if facts.num_gpus is None or (facts.num_gpus > 1 and facts.is_data_parallel is None):
        return {}
    if facts.is_data_parallel and facts.num_gpus > 1:
        return {"data-parallel-size": str(facts.num_gpus), "tensor-parallel-size": "1"}
    return {"tensor-parallel-size": str(facts.num_gpus)}
