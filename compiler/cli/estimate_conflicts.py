"""Options of `kaitoc estimate` that would change nothing where they stand: each is refused, with what to write."""

from __future__ import annotations

from collections.abc import Iterator

from kaitoc.compiler.cli.estimate_options import EstimateOptions
from kaitoc.compiler.memory.estimate import EstimateError
from kaitoc.compiler.memory.solve import SolvedSize
from kaitoc.compiler.memory.stacks import BUNDLED

SIZES = tuple(size.value for size in SolvedSize)
GPUS = "gpus"


def require_effect(options: EstimateOptions) -> None:
    """Raise `EstimateError` for the first option of a fine-tune that has no effect beside the others."""
    for message in (*_of_the_question(options), *(() if options.paths else _of_the_run(options))):
        raise EstimateError(message)


def require_settings_apply(options: EstimateOptions) -> None:
    """Raise `EstimateError` for a settings file where no manifest is judged by it."""
    if options.config is not None and not options.paths:
        raise EstimateError("settings apply to manifests only; remove --config, or pass a manifest")


def _of_the_question(options: EstimateOptions) -> Iterator[str]:
    """Yield what is wrong with what is asked of a run."""
    solve = options.solve
    if solve is not None:
        for option, is_stated in _beside_solve(options):
            if is_stated:
                yield f"--solve {solve} is incompatible with {option}; leave one of them out"
        if solve in SIZES and getattr(options.training, solve.replace("-", "_")) is not None:
            yield f"--solve {solve} finds the value of --{solve}; leave --{solve} out"
        if solve == GPUS and (options.sharing.gpus is not None or options.sharing.nodes != 1):
            yield "--solve gpus finds how many GPUs and nodes it takes; leave out --gpus and --nodes"
    if options.plot is not None and options.sweep is None:
        yield "--plot needs --sweep, such as --sweep seq-len=512:8192"
    if options.prices and options.samples is None:
        yield "--price is for the cost of an epoch; add --samples N"
    if options.task == "dpo" and options.target == "kaito":
        yield "--task dpo runs on the bundled runtime; leave out --target kaito"


def _beside_solve(options: EstimateOptions) -> Iterator[tuple[str, bool]]:
    yield "--sweep", options.sweep is not None
    yield "--trace", options.use_trace
    yield "--samples", options.samples is not None
    yield "--price", bool(options.prices)
    yield "--plot", options.plot is not None


def _of_the_run(options: EstimateOptions) -> Iterator[str]:
    """Yield what is wrong with the description of a run without a manifest."""
    training, rows = options.training, options.rows
    if training.method == "full" and training.of_adapters is not None:
        yield f"{training.of_adapters} is for adapters; use --method lora or qlora, or leave it out"
    if rows.batching is not None and rows.data is None and rows.lengths is None:
        yield "--batching needs to know how long rows are; add --lengths P50,P90,MAX or --data FILE"
    if options.kaito_version is not None:
        if options.stack is not None:
            yield "--stack already names the software; leave out --kaito-version"
        if options.target == "bundled" or options.task == "dpo":
            yield "the bundled runtime does not depend on a Kaito release; leave out --kaito-version"
    if options.target == "bundled" and options.stack not in (None, BUNDLED):
        yield f"--stack already names the software; leave out --target bundled, or use --stack {BUNDLED}"
