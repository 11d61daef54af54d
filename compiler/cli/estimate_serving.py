"""`kaitoc estimate --task serve`: its options, and what it prints."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, TypeVar

import click

from kaitoc.compiler.check.inputs import Inputs
from kaitoc.compiler.cli.console import complain, say
from kaitoc.compiler.cli.estimate_model import named_model
from kaitoc.compiler.cli.option_records import first_given
from kaitoc.compiler.cli.option_types import Choice, Integer, Number
from kaitoc.compiler.cli.options import with_options
from kaitoc.compiler.core.records import dataclass, replace
from kaitoc.compiler.job.assumptions import Overrides, stated_gpu
from kaitoc.compiler.job.settings import SettingsFinder
from kaitoc.compiler.memory.estimate import EstimateError
from kaitoc.compiler.memory.result import Verdict

if TYPE_CHECKING:
    from kaitoc.estimating_servers import Serve, ServingEstimate

F = TypeVar("F", bound=Callable[..., Any])

WEIGHT_FORMATS = ("bf16", "fp16", "fp8", "int8", "awq", "gptq", "int4-experts", "mxfp4", "nvfp4", "bitsandbytes")
SOLVABLE = ("max-model-len", "concurrency", "gpus", "instance")


@dataclass(frozen=True, slots=True)
class ServingOptions:
    """The options of a server; None leaves it to Kaito's controller, or to vLLM."""

    tp: int | None = None
    pp: int | None = None
    dp: int | None = None
    expert_parallel: bool = False
    max_model_len: int | None = None
    max_num_seqs: int | None = None
    max_num_batched_tokens: int | None = None
    kv_dtype: str | None = None
    weights: str | None = None
    gpu_memory_utilization: float | None = None
    kv_cache_memory_bytes: int | None = None
    enforce_eager: bool = False
    enable_prefix_caching: bool = False
    kv_offload: bool = True
    max_loras: int | None = None
    max_lora_rank: int | None = None
    speculative_config: str | None = None
    limit_mm_per_prompt: str | None = None
    at: str | None = None

    @property
    def describing(self) -> str | None:
        """Return the first option given that a manifest answers by itself, None where there is none."""
        return first_given(self, ServingOptions(at=self.at))


_POSITIVE = Integer(min=1)
_OPTIONS = (
    click.option("--tp", type=_POSITIVE, metavar="N", help="Server: GPUs that share the model (default: Kaito's)."),
    click.option("--pp", type=_POSITIVE, metavar="N", help="Server: stages of the pipeline (default: 1)."),
    click.option("--dp", type=_POSITIVE, metavar="N", help="Server: replicas (default: Kaito's)."),
    click.option("--expert-parallel", is_flag=True, help="Server: shard experts across the replicas."),
    click.option("--max-model-len", type=_POSITIVE, metavar="N", help="Server: context length (default: what fits)."),
    click.option("--max-num-seqs", type=_POSITIVE, metavar="N", help="Server: sequences per step."),
    click.option("--max-num-batched-tokens", type=_POSITIVE, metavar="N", help="Server: tokens per step."),
    click.option("--kv-dtype", metavar="T", help="Server: type of the KV cache, such as fp8 (default: the model's)."),
    click.option("--weights", type=Choice(WEIGHT_FORMATS), help="Server: weights (default: the checkpoint's)."),
    click.option("--gpu-memory-utilization", type=Number(0, 1, min_open=True), metavar="U",
                 help="Server: share of the GPU that vLLM may take (default: Kaito's)."),
    click.option("--kv-cache-memory-bytes", type=_POSITIVE, metavar="N", help="Server: bytes of the KV cache."),
    click.option("--enforce-eager", is_flag=True, help="Server: capture no CUDA graphs."),
    click.option("--enable-prefix-caching", is_flag=True, help="Server: cache prefixes of recurrent models too."),
    click.option("--kv-offload/--no-kv-offload", default=True, help="Server: LMCache, which Kaito turns on."),
    click.option("--max-loras", type=_POSITIVE, metavar="N", help="Server: adapters loaded at once (default: none)."),
    click.option("--max-lora-rank", type=_POSITIVE, metavar="N", help="Server: rank of the adapters (default: 16)."),
    click.option("--speculative-config", metavar="JSON",
                 help='Server: speculative decoding, such as \'{"method": "mtp", "num_speculative_tokens": 1}\'.'),
    click.option("--limit-mm-per-prompt", metavar="JSON",
                 help='Server: images a prompt may have, such as \'{"image": 0, "video": 0}\'.'),
    click.option("--at", metavar="N,N", help="Server: show the concurrency at these lengths."),
)  # fmt: skip


def serving_options(command: F) -> F:
    """Add the options of `ServingOptions`."""
    return with_options(command, _OPTIONS)


@dataclass(frozen=True, slots=True)
class ServingRequest:
    """What `kaitoc estimate --task serve` is asked for."""

    paths: tuple[str, ...]
    model: str | None
    model_config: str | None
    num_gpus: int | None
    overrides: Overrides
    settings: SettingsFinder
    options: ServingOptions
    solve: str | None
    format_name: str
    strict: bool

    @property
    def describing(self) -> dict[str, object]:
        """Return the shared options that a manifest of a server answers by itself, by name."""
        return {"--gpus": self.num_gpus, "--model-config": self.model_config}


def estimate_servers(request: ServingRequest) -> int:
    """Print the estimates of servers and return the exit code."""
    from kaitoc.compiler.report.estimate.serving import UNSOLVED  # a fine-tune is estimated without what serves

    _require_open_question(request)
    codes = []
    for number, estimated in enumerate(_estimates(request)):
        if request.format_name == "json":
            click.echo(estimated.to_json(), nl=False)
        else:
            say(("\n" if number else "") + str(estimated))
        failing = (Verdict.DOES_NOT_FIT, *((Verdict.TIGHT,) if request.strict else ()))
        solved = estimated.need.solved
        codes.append(int(solved in UNSOLVED if solved else estimated.verdict in failing))
    return max(codes)


def _estimates(request: ServingRequest) -> Iterator[ServingEstimate]:
    from kaitoc.compiler.memory.serving.solve import SolvedServing
    from kaitoc.compiler.memory.serving.workload import LoraSlots, WeightFormat
    from kaitoc.estimating_servers import (  # a fine-tune is estimated without what serves
        Serve,
        described,
        estimates_in,
        model_to_serve,
        predict_described,
        smallest_instance,
    )

    options, overrides = request.options, request.overrides
    lengths, solve = _lengths(options.at), SolvedServing(request.solve) if request.solve else None
    if request.paths:
        option = options.describing or next((name for name, value in request.describing.items() if value), None)
        if option is not None:
            raise EstimateError(f"{option} cannot be combined with manifests: remove the option or the paths")
        for estimated in estimates_in(
            Inputs(request.paths), overrides, lengths=lengths, solve=solve, settings=request.settings
        ):
            _note_own_gpu(estimated, overrides)
            yield estimated
        return
    lora = None
    if options.max_loras is not None or options.max_lora_rank is not None:
        lora = LoraSlots(options.max_loras or 1, options.max_lora_rank or 16)
    serve = Serve(
        model=model_to_serve(*named_model(request.model, request.model_config)),
        num_gpus=request.num_gpus,
        tensor_parallel=options.tp,
        pipeline_parallel=options.pp,
        data_parallel=options.dp,
        expert_parallel=options.expert_parallel,
        utilization=options.gpu_memory_utilization,
        max_length_tokens=options.max_model_len,
        max_sequences=options.max_num_seqs,
        max_batched_tokens=options.max_num_batched_tokens,
        kv_dtype=options.kv_dtype or "auto",
        weight_format=WeightFormat(options.weights) if options.weights else None,
        eager=options.enforce_eager,
        prefix_caching=options.enable_prefix_caching,
        offloads=options.kv_offload,
        lora=lora,
        kv_cache_bytes=options.kv_cache_memory_bytes,
        speculative_config=_mapping("--speculative-config", options.speculative_config),
        items_per_prompt=_mapping("--limit-mm-per-prompt", options.limit_mm_per_prompt),
    )
    _note_unused(serve)
    subject = described(serve, overrides)
    if solve is SolvedServing.INSTANCE and subject.gpu is None:
        overrides = replace(overrides, gpu=smallest_instance(subject).name)
        subject = described(serve, overrides)
    yield predict_described(subject, overrides, lengths=lengths, solve=solve)


def _require_open_question(request: ServingRequest) -> None:
    """Raise `EstimateError` for an option that states what is to be solved for."""
    options = request.options
    stated = {
        "max-model-len": (("--max-model-len", options.max_model_len),),
        "gpus": (("--gpus", request.num_gpus), ("--tp", options.tp), ("--pp", options.pp), ("--dp", options.dp)),
    }
    for option, value in stated.get(request.solve or "", ()):
        if value is not None:
            raise EstimateError(f"--solve {request.solve} finds the value of {option}; leave {option} out")


def _mapping(option: str, text: str | None) -> dict[str, Any] | None:
    try:
        found = json.loads(text) if text is not None else None
    except ValueError:
        found = text
    if found is not None and not isinstance(found, dict):
        raise EstimateError(f"{option} {text}: not JSON of a mapping")
    return found


def _note_unused(serve: Serve) -> None:
    """Say which switches do nothing for the model."""
    model = serve.model
    if serve.expert_parallel and model.experts is None:
        complain(f"note: --expert-parallel has no effect: {model.name} has no experts")
    if serve.prefix_caching and not model.is_hybrid:
        complain(f"note: --enable-prefix-caching has no effect: {model.name} keeps no recurrent state")


def _note_own_gpu(estimated: ServingEstimate, overrides: Overrides) -> None:
    """Say that a server runs on the GPU of its manifest's instance type, whatever is assumed."""
    assumed, own = stated_gpu(overrides), estimated.subject.gpu
    if assumed is not None and own is not None and assumed != own:
        option = "--gpu" if overrides.gpu is not None else "--gpu-memory"
        complain(f"note: {option} has no effect on `{estimated.job.title}`: its instance type has {own.name}")


def _lengths(text: str | None) -> tuple[int, ...]:
    parts = [part.strip() for part in (text or "").split(",") if part.strip()]
    if any(not part.isdigit() or int(part) < 1 for part in parts):
        raise EstimateError(f"--at {text}: not a list of lengths, such as 2048,8192")
    return tuple(int(part) for part in parts)
