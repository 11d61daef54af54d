"""How fast a server answers, by what its GPUs compute and move: a roofline of prompts and of single tokens.

A forward pass takes as long as its arithmetic or its traffic, whichever is longer (Williams et al. 2009), at the shares
of the GPU's peaks that training's kernels reach (`schemas/catalog/throughput.json`), and its ranks add up their outputs
twice in each layer. What the host does between two passes is not counted, so that small models answer later than this
says; `docs/throughput.md` has the error. It is for comparing configurations with each other.
"""

from __future__ import annotations

from kaitoc.compiler.catalog.gpus import Gpu, InstanceType
from kaitoc.compiler.core.records import dataclass
from kaitoc.compiler.memory.closed_form.kernel import Unit
from kaitoc.compiler.memory.closed_form.sharding.collective import Collective, CollectiveKind
from kaitoc.compiler.memory.serving.cache_spec import read_bytes, seen_tokens
from kaitoc.compiler.memory.serving.footprint import ServingFootprint
from kaitoc.compiler.memory.serving.weights import Stage, active_parameters, pass_bytes, stages_of
from kaitoc.compiler.memory.serving.workload import ServingWorkload
from kaitoc.compiler.memory.stacks import BUNDLED
from kaitoc.compiler.memory.throughput.links import links_between
from kaitoc.compiler.memory.throughput.rates import rates_of
from kaitoc.compiler.memory.workload import Dtype

_HALF_BYTES = 2
_REDUCTIONS_PER_LAYER = 2
"""Behind attention's projection and behind the MLP (`RowParallelLinear` in vllm/model_executor/layers/linear.py)."""


@dataclass(frozen=True, slots=True)
class RequestShape:
    """The requests to answer: those of the benchmark that Kaito runs on a new server (`benchmark_entrypoint.py`)."""

    prompt_tokens: int = 2048
    output_tokens: int = 256

    @property
    def context_tokens(self) -> int:
        """Count the tokens a finished request holds in the KV cache."""
        return self.prompt_tokens + self.output_tokens


def shape_within(length_tokens: int) -> RequestShape:
    """Return Kaito's requests, or shorter ones of the same proportion where a context is too short for them."""
    whole = RequestShape()
    if length_tokens >= whole.context_tokens:
        return whole
    output = max(1, length_tokens * whole.output_tokens // whole.context_tokens)
    return RequestShape(max(1, length_tokens - output), output)


@dataclass(frozen=True, slots=True)
class ServingSpeed:
    """A predicted speed.

    `first_token_seconds` and `token_seconds` are those of a request that is served alone. `tokens_per_second` are the
    output tokens of all replicas when as many requests wait as fit, `num_requests` in each replica.
    """

    first_token_seconds: float
    token_seconds: float
    num_requests: int
    tokens_per_second: float
    shape: RequestShape

    @property
    def request_seconds(self) -> float:
        """Return the time of one request that is served alone."""
        return self.first_token_seconds + self.token_seconds * (self.shape.output_tokens - 1)


def serving_speed(
    footprint: ServingFootprint, gpu: Gpu, instance: InstanceType | None, shape: RequestShape
) -> ServingSpeed | None:
    """Return the predicted speed of a server, None for one that does not start or holds no request of the shape."""
    workload = footprint.workload
    if footprint.length_tokens < shape.context_tokens:
        return None
    held = footprint.pool.concurrency(shape.context_tokens)
    batch = min(footprint.limits.sequences, int(held))
    if batch < 1:
        return None
    passes = Passes(workload, gpu, instance)
    middle = shape.prompt_tokens + shape.output_tokens // 2
    prompt = passes.prompt_seconds(shape.prompt_tokens, footprint.limits.tokens)
    per_output = passes.round_seconds(batch, middle) / batch
    bottleneck = prompt / workload.pipeline_parallel
    per_request = bottleneck + shape.output_tokens * per_output
    return ServingSpeed(
        first_token_seconds=prompt,
        token_seconds=sum(passes.decode_seconds(stage, 1, middle) for stage in passes.stages),
        num_requests=batch,
        tokens_per_second=shape.output_tokens / per_request * workload.data_parallel,
        shape=shape,
    )


class Passes:
    """Forward passes of one replica on one kind of GPU."""

    def __init__(self, workload: ServingWorkload, gpu: Gpu, instance: InstanceType | None) -> None:
        self.workload = workload
        self.stages = stages_of(len(workload.model.layers), workload.pipeline_parallel)
        self._rates = rates_of(gpu, Dtype.BFLOAT16, BUNDLED)
        self._links = links_between(gpu, instance, workload.tensor_parallel, 1).likely

    def round_seconds(self, num_requests: int, context_tokens: int) -> float:
        """Return the time in which every request of a batch gets one more token.

        The stages of a pipeline work on as many parts of the batch at once; the slowest holds up the others.
        """
        num_parts = len(self.stages)
        part = -(-num_requests // num_parts)
        return num_parts * max(self.decode_seconds(stage, part, context_tokens) for stage in self.stages)

    def decode_seconds(self, stage: Stage, num_requests: int, context_tokens: int) -> float:
        """Return the time of one more token for each request on a stage."""
        layers = [self.workload.model.layers[index] for index in stage.layers]
        cached = sum(read_bytes(self.workload, layer.cache, context_tokens) for layer in layers)
        moved = pass_bytes(self.workload, stage, num_requests) + num_requests * cached
        return self._seconds(stage, num_requests, context_tokens, moved, num_requests)

    def prompt_seconds(self, prompt_tokens: int, step_tokens: int) -> float:
        """Return the time of a prompt on all stages, in steps of so many tokens at most."""
        total, done = 0.0, 0
        while done < prompt_tokens:
            part = min(step_tokens, prompt_tokens - done)
            seen = done + part // 2  # a token sees those before it
            for stage in self.stages:
                total += self._seconds(stage, part, seen, pass_bytes(self.workload, stage, part), 1)
            done += part
        return total

    def _seconds(
        self, stage: Stage, num_tokens: int, context_tokens: int, moved_bytes: float, num_outputs: int
    ) -> float:
        """Return the time of a pass: arithmetic or traffic, and the collectives that nothing runs beside."""
        workload, model = self.workload, self.workload.model
        flops = attention = 0.0
        for index in stage.layers:
            layer = model.layers[index]
            flops += 2 * active_parameters(workload, layer) * num_tokens
            width = layer.cache.key_dim + (layer.cache.value_dim or layer.cache.key_dim)
            seen = seen_tokens(layer.cache, context_tokens)
            attention += 2 * width * model.num_heads / workload.tensor_parallel * seen * num_tokens
        if stage.has_head:
            flops += 2 * model.hidden_size * model.vocab_size / workload.tensor_parallel * num_outputs
        rates = self._rates
        computed = flops / rates.flops[Unit.HALF] + attention / rates.flops[Unit.FUSED_ATTENTION]
        return max(computed, moved_bytes / rates.stream_bandwidth) + self._reduction_seconds(stage, num_tokens)

    def _reduction_seconds(self, stage: Stage, num_tokens: int) -> float:
        ranks = self.workload.tensor_parallel
        if ranks == 1:
            return 0.0
        reduced = Collective(CollectiveKind.ALL_REDUCE, num_tokens * self.workload.model.hidden_size * _HALF_BYTES)
        return len(stage.layers) * _REDUCTIONS_PER_LAYER * self._links.seconds(reduced, ranks, ranks)
