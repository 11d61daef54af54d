"""Print what the libraries of the running Python ask of schedulers, optimizers and nested arguments, as JSON.

It runs inside a release's own environment (see `generate.libraries`), so it imports nothing of kaitoc. Nothing here
is read from documentation: signatures are inspected, and constructors are called with boundary values.
"""

from __future__ import annotations

import dataclasses
import hashlib
import inspect
import itertools
import json
import re
import sys
import tempfile
from typing import Any, Dict  # noqa: UP035  run by the Python of each release

_Json = Dict[str, Any]  # noqa: UP006  run by the Python of each release
_PASSED = ("optimizer", "num_warmup_steps", "num_training_steps")
_BOUNDARIES = (-1.0, -1e-12, 0.0, 1e-12, 0.5, 1.0 - 1e-9, 1.0, 1.0 + 1e-9, 2.0, 1e30)
_RANGED = ("learning_rate", "adam_beta1", "adam_beta2", "adam_epsilon", "weight_decay")


def schedulers() -> _Json:
    """Return the keyword arguments of every scheduler: all, the required, and those of which one is needed."""
    from transformers.optimization import TYPE_TO_SCHEDULER_FUNCTION

    return {
        str(getattr(kind, "value", kind)): _scheduler(kind, function)
        for kind, function in TYPE_TO_SCHEDULER_FUNCTION.items()
    }


def _scheduler(kind: Any, function: Any) -> _Json:
    import torch
    from transformers import optimization

    parameters = inspect.signature(function).parameters
    takes = [name for name in parameters if name not in _PASSED and name != "kwargs"]
    if "kwargs" in parameters:
        behind = {"get_greedy_schedule": getattr(optimization, "GreedyLR", None)}
        target = behind.get(function.__name__) or torch.optim.lr_scheduler.ReduceLROnPlateau
        takes = [name for name in inspect.signature(target).parameters if name not in _PASSED]
    if _ignores(kind):
        return {"ignores_kwargs": True, "takes": []}
    required = [name for name in takes if name in parameters and parameters[name].default is inspect.Parameter.empty]
    given = dict.fromkeys(required, 1)
    described: _Json = {"takes": takes}
    if required:
        described["requires"] = required
    if _refusal(function, given):
        enough = [name for name in takes if name not in given and not _refusal(function, {**given, name: 1e-12})]
        if enough:
            described["needs_one_of"] = enough
            described["excludes"] = [
                list(pair)
                for pair in itertools.combinations(enough, 2)
                if _refusal(function, {**given, **dict.fromkeys(pair, 1e-12)})
            ]
    needed = described.get("needs_one_of", [])
    refused = [name for name in takes if _refuses_null(function, given, needed, name)]
    if refused:
        described["refuses_null"] = refused
    return described


def _ignores(kind: Any) -> bool:
    """Return whether the trainer's way to a scheduler drops its arguments."""
    import torch
    from transformers import get_scheduler

    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1e-3)
    try:
        get_scheduler(kind, optimizer, 0, 10, {"no scheduler takes this": 1})
    except Exception:
        return False
    return True


def _refuses_null(function: Any, given: _Json, needed: list[str], name: str) -> bool:
    """Return whether a null for an argument is what stops a run, in the making or within a few steps."""
    others = {key: value for key, value in given.items() if key != name}
    others.update(dict.fromkeys([key for key in needed if key != name][:1], 1e-12))
    return bool(_refusal(function, {**others, name: None}, num_steps=12))


def _refusal(function: Any, given: _Json, num_steps: int = 0) -> str:
    import torch

    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1e-3)
    passed = {"num_warmup_steps": 2 if num_steps else 0, "num_training_steps": 10}
    wanted = {name: value for name, value in passed.items() if name in inspect.signature(function).parameters}
    try:
        scheduler = function(optimizer, **wanted, **given)
        measures = "metrics" in inspect.signature(scheduler.step).parameters
        for _ in range(num_steps):
            optimizer.step()
            scheduler.step(*([1.0] if measures else []))
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return ""


def optimizers() -> _Json:
    """Return every word of `optim`: what keeps it from being built, and the numbers its constructor takes."""
    import torch
    from transformers import Trainer, TrainingArguments
    from transformers.training_args import OptimizerNames

    described: _Json = {}
    model = torch.nn.Sequential(torch.nn.Linear(4, 4))
    for name in (member.value for member in OptimizerNames):
        with tempfile.TemporaryDirectory() as folder:
            arguments = TrainingArguments(
                output_dir=folder, optim=name, optim_target_modules="all-linear", use_cpu=True
            )
            described[name] = _optimizer(Trainer, arguments, model)
    return described


def _optimizer(trainer: Any, arguments: Any, model: Any) -> _Json:
    refusal = _build(trainer, arguments, model)
    if refusal is not None:
        return {"refusal": refusal}
    ranges: _Json = {}
    for key in _RANGED:
        usual = getattr(arguments, key)
        verdicts = []
        for value in _BOUNDARIES:
            setattr(arguments, key, value)
            verdicts.append(_build(trainer, arguments, model) is None)
        setattr(arguments, key, usual)
        interval = _interval(verdicts)
        if interval:
            ranges[key] = interval
    return {"ranges": ranges} if ranges else {}


def _build(trainer: Any, arguments: Any, model: Any) -> str | None:
    try:
        made, options = trainer.get_optimizer_cls_and_kwargs(arguments, model)
        options.pop("params", None)
        made([{"params": list(model.parameters()), "weight_decay": arguments.weight_decay}], **options)
    except Exception as error:
        return f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
    return None


def _interval(verdicts: list[bool]) -> _Json:
    """Return the bounds that the accepted values lie within; nothing where all are accepted."""
    accepted = [value for value, is_accepted in zip(_BOUNDARIES, verdicts, strict=True) if is_accepted]
    if len(accepted) == len(_BOUNDARIES):
        return {}
    if not accepted:
        raise AssertionError("no value is accepted")
    low, high = min(accepted), max(accepted)
    bounds: _Json = {}
    if low != _BOUNDARIES[0]:
        bounds = {"at_least": 0.0} if low == 0.0 else {"above": 0.0}
    if high != _BOUNDARIES[-1]:
        bounds["at_most" if high == 1.0 else "below"] = 1.0
    if not all(is_accepted == (low <= value <= high) for value, is_accepted in zip(_BOUNDARIES, verdicts, strict=True)):
        raise AssertionError("the accepted values are no interval")
    return bounds


def nested() -> _Json:
    """Return the keys of the arguments that are mappings themselves."""
    import torch
    from accelerate.utils import GradientAccumulationPlugin  # type: ignore[import-untyped]
    from transformers.trainer_pt_utils import AcceleratorConfig

    checkpoint = torch.utils.checkpoint.checkpoint
    named = [name for name in inspect.signature(checkpoint).parameters if name not in ("function", "args", "kwargs")]
    popped = re.findall(r'kwargs\.pop\("(\w+)"', inspect.getsource(checkpoint))
    return {
        "accelerator_config": [field.name for field in dataclasses.fields(AcceleratorConfig)],
        "accelerator_config.gradient_accumulation_kwargs": [
            field.name for field in dataclasses.fields(GradientAccumulationPlugin)
        ],
        "gradient_checkpointing_kwargs": [*named, *popped],
    }


def reporters() -> _Json:
    """Return every word of `report_to`, and what keeps it from being used in this environment."""
    from transformers.integrations import integration_utils

    described: _Json = {}
    for name, callback in integration_utils.INTEGRATION_TO_CALLBACK.items():
        try:
            callback()
        except Exception as error:
            described[name] = {"refusal": f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"}
        else:
            described[name] = {}
    return described


def training_templates() -> _Json:
    """Return the chat templates that TRL has a form for training of, by name, each as a hash of its text."""
    try:
        from trl import chat_template_utils as known
    except ImportError:
        return {}
    marker = "_training_chat_template"
    names = [name[: -len(marker)] for name in vars(known) if name.endswith(marker) and not name.startswith("get")]
    texts = {name: getattr(known, f"{name}_chat_template") for name in names}
    return {name: hashlib.sha256(text.encode()).hexdigest()[:16] for name, text in sorted(texts.items())}


def templates() -> _Json:
    """Return the filters and tests of the environment that chat templates are rendered in."""
    from transformers.utils import chat_template_utils

    language = chat_template_utils._compile_jinja_template("").environment
    return {"filters": sorted(language.filters), "tests": sorted(language.tests)}


def main() -> None:
    """Print everything, with the versions that it was read from."""
    from importlib.metadata import version

    names = ("transformers", "accelerate", "bitsandbytes", "trl", "peft")
    found = {
        "release": sys.argv[1],
        "stack": {name: version(name) for name in names},
        "schedulers": schedulers(),
        "optimizers": optimizers(),
        "nested": nested(),
        "reporters": reporters(),
        "training_templates": training_templates(),
        "templates": templates(),
    }
    json.dump(found, sys.stdout)


if __name__ == "__main__":
    main()
