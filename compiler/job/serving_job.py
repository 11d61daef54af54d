"""The intermediate representation of one server: what serves a model, its ConfigMap, the model, GPUs and release."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property

from kaitoc.compiler.catalog.architecture import Architecture
from kaitoc.compiler.catalog.gpus import InstanceType
from kaitoc.compiler.catalog.instance_listing import listed_instance_type
from kaitoc.compiler.catalog.served_models import ServedConfig, find_served
from kaitoc.compiler.core.memo import Memo
from kaitoc.compiler.core.records import dataclass, field
from kaitoc.compiler.job.job import Assumptions, Job, Setting
from kaitoc.compiler.job.serving_nodes import served_nodes
from kaitoc.compiler.kaito.controller_arguments import ControllerFacts, controller_does, controller_words
from kaitoc.compiler.kaito.node_estimate import NodeEstimate, scanned_length
from kaitoc.compiler.kaito.node_layout import takes_replicas
from kaitoc.compiler.kaito.vllm_engine import engine_problems
from kaitoc.compiler.kaito.vllm_engine_problem import EngineFacts, EngineProblem
from kaitoc.compiler.kaito.vllm_options import ServingTable, serving_table
from kaitoc.compiler.kaito.vllm_parser import ServingParse, parse_words
from kaitoc.compiler.kaito.vllm_words import Word, words_of
from kaitoc.compiler.manifest.objects import Manifest, Place
from kaitoc.compiler.manifest.serving_config import SERVING_SECTION, Option, ServingConfig, serving_text
from kaitoc.compiler.manifest.serving_objects import ServingView
from kaitoc.compiler.memory.serving.models import shape_of
from kaitoc.compiler.memory.serving.weights import files_bytes
from kaitoc.compiler.yaml.tree import Mapping, ProblemKind, Scalar

RUNTIME_ANNOTATION = "kaito.sh/runtime"
PERFORMANCE_ANNOTATION = "kaito.sh/performance-mode"
TRANSFORMERS = "transformers"
_THINKING = ("deepseek-r1", "qwen3", "qwq", "gpt-oss", "nemotron", "ministral-3", "magistral", "kimi", "glm")
_WITH_TOOLS = ("llama", "phi-4", "qwen", "mistral", "ministral", "deepseek", "gpt-oss")
"""Names of models for which Kaito turns on the choice of tools (presets/workspace/generator)."""
_WITHOUT_DRAFTS = ("llama", "mistral", "qwen2", "qwen3", "qwen3_moe", "phi", "phi3", "falcon", "gpt_oss", "gemma3_text")
"""Types of models that no checkpoint of has layers for multi-token prediction, nor does vLLM for them."""
_TEXT_MODELS = ("llama", "mistral", "qwen2", "qwen3", "phi3", "falcon", "gpt_oss", "deepseek_v3", "qwen3_moe", "phi")
_SELF_SCALED = ("gpt_oss", "deepseek_v3")
"""Types of models whose context follows from their own scaling of positions."""


@dataclass(frozen=True, slots=True)
class TrainedAdapter:
    """An adapter of a server, where it is named, and the run whose output it is."""

    place: Place
    job: Job


@dataclass(frozen=True, eq=False)
class ServingJob:
    """One server, resolved. `view` is None for a ConfigMap that nobody at hand uses; parts not known are None.

    `find_trainers` finds the runs that train its adapters, of those at hand.
    """

    view: ServingView | None
    config_map: Manifest | None
    config: ServingConfig | None
    preset: Setting[str] | None
    model: Setting[Architecture] | None
    instance: Setting[InstanceType] | None
    instance_type: Setting[str] | None
    assumptions: Assumptions
    may_name_unknown: bool = False
    find_trainers: Callable[[], tuple[TrainedAdapter, ...]] = tuple
    memo: Memo = field(default_factory=Memo, init=False)

    @property
    def release(self) -> str:
        """Return the name of the Kaito release the server is judged by."""
        return self.assumptions.release.name

    @property
    def manifest(self) -> Manifest:
        """Return the object that stands for the server: what asks for it, else the ConfigMap."""
        manifest = self.view.owner if self.view is not None else self.config_map
        if manifest is None:
            raise AssertionError("a server has an object or a ConfigMap")
        return manifest

    @property
    def table(self) -> ServingTable:
        """Return the option table of the release's vLLM."""
        return serving_table(self.release)

    @property
    def uses_vllm(self) -> bool:
        """Return whether vLLM runs the model: unless an annotation names transformers."""
        return self.annotation(RUNTIME_ANNOTATION) != TRANSFORMERS

    def annotation(self, name: str) -> str:
        """Return an annotation's text, empty when there is none; raises `UnknownValueError`."""
        return self.view.holder.text("metadata", "annotations", name) if self.view is not None else ""

    @property
    def options(self) -> tuple[Option, ...]:
        """Return the pairs under `vllm`, one of each key that YAML tells apart."""
        section = self.config.section(SERVING_SECTION) if self.config is not None else None
        return section.options if section is not None else ()

    @property
    def is_readable(self) -> bool:
        """Return whether the launcher can read the config: a mapping whose `vllm` is one too."""
        config = self.config
        if config is None or not isinstance(config.document_root, Mapping):
            return False
        if any(problem.kind is not ProblemKind.DUPLICATE_KEY for problem in config.problems):
            return False
        section = config.section(SERVING_SECTION)
        return section is None or section.is_mapping

    @property
    def config_text(self) -> str:
        """Return the text of the config as the ConfigMap holds it, empty where there is none at hand."""
        if self.config_map is None or self.config is None:
            return ""
        if self.config_map.plain is not None:
            return self.config_map.source.text
        field = serving_text(self.config_map)
        return field.node.value if field is not None and isinstance(field.node, Scalar) else ""

    @property
    def known_options(self) -> tuple[Option, ...]:
        """Return the pairs whose value is known."""
        return tuple(option for option in self.options if not option.placeholder)

    @property
    def controller_words(self) -> list[Word]:
        """Return the arguments that Kaito's controller writes; raises `UnknownValueError`."""
        return controller_words(self._controller(self.num_nodes))

    @cached_property
    def parsed(self) -> ServingParse:
        """Parse the controller's arguments and the config as vLLM does; raises `UnknownValueError`."""
        return self.parsed_on(self.num_nodes)

    def parsed_on(self, num_nodes: int) -> ServingParse:
        """Parse what the server would be started with on a number of nodes; raises `UnknownValueError`."""
        pairs = [(option.name, option.plain) for option in self.known_options] if self.is_readable else []
        return parse_words(controller_words(self._controller(num_nodes)), words_of(pairs), self.table)

    @cached_property
    def engine_problems(self) -> tuple[EngineProblem, ...]:
        """Return the problems for which vLLM's configuration refuses; none where the parser already stops."""
        if not self.parsed.is_accepted:
            return ()
        return tuple(engine_problems(self.parsed, self.table, self._facts()))

    def option_at(self, index: int) -> Option:
        """Return the pair of an index of the parse."""
        return self.known_options[index]

    def option_of(self, name: str) -> Option | None:
        """Return the pair that sets an option in the end, None where the config sets it not."""
        served = self.parsed.values.get(name)
        return self.option_at(served.index) if served is not None and served.index >= 0 else None

    @property
    def num_gpus(self) -> int | None:
        """Count the instance type's GPUs, None for an unknown type."""
        return self.instance.value.num_gpus if self.instance is not None else None

    @property
    def is_listed(self) -> bool:
        """Return whether Kaito's release knows the instance type, if one is named: of no other it counts the GPUs."""
        stated = self.instance_type
        return stated is None or listed_instance_type(stated.value, self.assumptions.release) is not None

    @cached_property
    def kaito_nodes(self) -> NodeEstimate | None:
        """Kaito's own estimate of the nodes, None where the estimator, the model or the instance type is unknown."""
        if self.instance is None or self.served is None or not self.is_listed:
            return None
        return served_nodes(self.release, self.instance.value, self.served, scanned_length(self.config_text))

    @property
    def num_nodes(self) -> int:
        """Count the nodes that Kaito starts: 1 where its estimator refuses to, or is not known."""
        estimate = self.kaito_nodes
        return (estimate.num_nodes or 1) if estimate is not None else 1

    @property
    def is_data_parallel(self) -> bool | None:
        """Return whether Kaito runs a replica on each GPU: where the weights take less than half of one's memory."""
        served = self.served
        if self.instance is None or served is None:
            return None
        has_replicas = controller_does(self.release, "has_data_parallel_tier")
        return has_replicas and takes_replicas(self.instance.value, files_bytes(shape_of(served)))

    @property
    def served(self) -> ServedConfig | None:
        """Look up the served model in the catalog, including models that only serve; None when it is not there."""
        if self.preset is not None and self.assumptions.model is None:
            return find_served(self.preset.value)
        return find_served(self.model.value.name) if self.model is not None else None

    @property
    def offloads(self) -> bool:
        """Return whether the launcher offloads the KV cache to host memory, as far as the config says."""
        section = self.config.section("kv_cache_cpu_memory_utilization") if self.config is not None else None
        written = section.node.value if section is not None and hasattr(section.node, "value") else ""
        return written not in ("0", "0.0")

    def _controller(self, num_nodes: int) -> ControllerFacts:
        preset = self.preset.value if self.preset is not None else ""
        instance = self.instance.value if self.instance is not None else None
        return ControllerFacts(
            release=self.release,
            model_name=preset.rpartition("/")[2].lower(),
            model_id=self.model.value.hf_id if self.model is not None else preset,
            gpu_model=instance.gpu_model if instance is not None else "",
            num_gpus=self.num_gpus,
            num_nodes=num_nodes,
            is_data_parallel=self.is_data_parallel,
            has_adapters=self.view is not None and bool(self.view.inference.fields("adapters")),
            has_tools=self.model is None or any(word in self.model.value.name.lower() for word in _WITH_TOOLS),
            performance_mode=self.annotation(PERFORMANCE_ANNOTATION),
            is_decode=self.view is not None and self.view.role == "decode",
        )

    def _facts(self) -> EngineFacts:
        shape = shape_of(self.served) if self.served is not None else None
        # The preset's name: a distilled model is an alias of the model whose shape it has.
        name = self.preset.value if self.preset is not None else shape.name if shape is not None else ""
        data = self.config_map.fields("data") if self.config_map is not None else []
        keys = frozenset(field.pointer.rpartition("/")[2] for field in data)
        if shape is None:
            return EngineFacts(num_gpus=self.num_gpus, config_keys=keys, offloads=self.offloads)
        return EngineFacts(
            num_gpus=self.num_gpus,
            num_nodes=self.num_nodes,
            max_length=shape.max_length_tokens or None,
            is_dense=shape.experts is None,
            is_text=shape.model_type in _TEXT_MODELS,
            is_self_scaled=shape.model_type in _SELF_SCALED,
            quantization=shape.quantization,
            lacks_think_tokens=not any(word in name.lower() for word in _THINKING),
            config_keys=keys,
            offloads=self.offloads,
            has_draft_layers=self._has_draft_layers,
        )

    @property
    def _has_draft_layers(self) -> bool | None:
        """Whether the checkpoint has layers for multi-token prediction, None where no catalog says so."""
        if self.served is None:
            return None
        model = shape_of(self.served)
        return True if model.num_draft_layers else False if model.model_type in _WITHOUT_DRAFTS else None

    @property
    def preset_place(self) -> Place:
        """Locate the model for a finding: its name, else the object."""
        return self.preset.place if self.preset is not None and self.preset.place is not None else self.manifest.place

    @property
    def config_place(self) -> Place:
        """Locate the configuration as a whole for a finding: its ConfigMap key, else the object."""
        if self.config_map is not None:
            text = serving_text(self.config_map)
            return text.key if text is not None else self.config_map.place
        return self.manifest.place
