"""Conditions between options as data (`schemas/conditions/options.json`), and what they say of a job."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator
from functools import lru_cache

from kaitoc.compiler.catalog.library_changes import LibraryChange, version_number
from kaitoc.compiler.core.annotations import Any
from kaitoc.compiler.core.findings import Severity
from kaitoc.compiler.core.patterns import pattern
from kaitoc.compiler.core.records import dataclass
from kaitoc.compiler.core.redaction import is_secret, masked
from kaitoc.compiler.job.faults import Fault
from kaitoc.compiler.job.job import Job
from kaitoc.compiler.job.memory import stack_of
from kaitoc.compiler.job.optimizer import optimizer_name
from kaitoc.compiler.job.repairs import evaluates_at_all
from kaitoc.compiler.job.warm_up import reads_warmup_steps, warm_up_steps
from kaitoc.compiler.kaito.hub_name import is_repository_name, may_be_a_folder
from kaitoc.compiler.kaito.image_templates import is_image_template
from kaitoc.compiler.manifest.training_config import SECTIONS, Option
from kaitoc.compiler.yaml.placeholders import UnknownValueError
from kaitoc.rules._hazards import is_on_kaito
from kaitoc.schemas import read_json

ARGUMENTS = "TrainingArguments"
_PIECE = pattern(r"[^\sA-Za-z0-9]?[A-Za-z]+|[0-9]{1,3}|[^\sA-Za-z0-9]+|<0x[0-9A-F]{2}>")
_BRACKETED = pattern(r"<\S+>|\[\S+\]")
_HALF = {"bfloat16": "bfloat16", "float16": "float16", "half": "float16"}


@dataclass(frozen=True, slots=True)
class Test:
    """One test of an option's value: a section, a name, a word of `_TESTS` and what it compares with."""

    section: str
    name: str
    word: str
    operand: object

    def holds(self, job: Job) -> bool:
        """Return whether the test holds for a job; one of a value that the parser refused does not."""
        value = value_of(job, self.section, self.name)
        if self.word in _TESTS_OF_TWO:
            return _TESTS_OF_TWO[self.word](value, job.value(*_split(str(self.operand))))
        return _TESTS[self.word](value, self.operand)


@dataclass(frozen=True, slots=True)
class Condition:
    """What an option's value makes of a run: under `tests` it stops at `stage`, or does what `says` describes."""

    section: str
    name: str
    tests: tuple[Test, ...]
    stage: str
    says: str
    help: str
    severity: Severity | None

    def holds(self, job: Job) -> bool:
        """Return whether all tests hold for a job."""
        return all(test.holds(job) for test in self.tests)

    def fault(self, job: Job, option: Option) -> Fault:
        """Return the fault of a job for which this condition on an option holds."""
        others = {
            test.name: _plainly(job.value(test.section, test.name)) for test in self.tests if test.section in SECTIONS
        }
        effect = f"; {self.stage}" if self.stage else ""
        message = f"{written(option)} {self.says.format_map(others)}{effect}"
        return Fault(job.place_of(option), message, help=self.help.format_map(others), severity=self.severity)


def _plainly(value: object) -> object:
    """Return a value as somebody would write it: steps that the parser takes as a float have no `.0`."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def faults_under(job: Job, code: str) -> Iterator[Fault]:
    """Yield the faults of a job under the conditions of one rule, one for an option."""
    if not is_on_kaito(job) or job.config is None:
        return
    release = job.release.name
    for key in job.config.memo.get(("conditions", release), lambda: _keys_written(job)).get(code, ()):
        option = job.option(*_split(key))
        if option is None or option.plain is None:  # a null is KT205's
            continue
        for condition in _conditions(release, code, key):
            if condition.holds(job):
                yield condition.fault(job, option)
                break


def _keys_written(job: Job) -> dict[str, list[str]]:
    """Return the keys with conditions that a config writes, or may write, by rule; jobs of one text share them."""
    entries = _entries(job.release.name)
    return {code: [key for key in keys if _may_be_written(job, key)] for code, keys in entries.items()}


def _may_be_written(job: Job, key: str) -> bool:
    try:
        return job.option(*_split(key)) is not None
    except UnknownValueError:
        return True


def null_stage(job: Job, section: str, name: str) -> str:
    """Name the stage at which the string `None`, which a null becomes, stops a job; empty when it trains."""
    key = name if section == ARGUMENTS else f"{section}.{name}"
    found = (condition for condition in _conditions(job.release.name, "KT205", key) if condition.holds(job))
    return next((condition.stage for condition in found), "")


def written(option: Option) -> str:
    """Return an option as messages show it: its key and its value, shortened; of a secret the key alone."""
    if is_secret(option.name):
        return f"`{option.name}`"
    text = masked(" ".join(option.value.source.slice(option.node.span).split()))
    return f"`{option.name}: {text[:57] + '...' if len(text) > 60 else text}`" if text else f"`{option.name}`"


def stage_effect(stage: str) -> str:
    """Say what has been paid for when a job stops at a stage."""
    text: str = _data()["stages"][stage]
    return text


def value_of(job: Job, section: str, name: str) -> object:
    """Return an option's value, or what the job as a whole is: its GPUs, its model, its adapter's type."""
    if (section, name) == (ARGUMENTS, "optim"):
        return optimizer_name(job)
    if section in SECTIONS:
        return job.value(section, name)
    return _OF_THE_JOB[name](job)


def adapter_dtype(job: Job) -> str:
    """Return the type of the adapter: that of unquantized weights in PEFT before 0.12, else what TRL casts it to."""
    release = job.release
    if job.flag("QuantizationConfig", "load_in_4bit") or job.flag("QuantizationConfig", "load_in_8bit"):
        return "bfloat16" if release.has(LibraryChange.BFLOAT16_ADAPTERS) else "float32"
    if release.has(LibraryChange.FLOAT32_ADAPTERS):
        return "float32"
    dtype = job.value("ModelConfig", "torch_dtype")
    if isinstance(dtype, str):
        return _HALF.get(dtype, "float32")
    return "bfloat16" if release.has(LibraryChange.CHECKPOINT_DTYPE) else "float32"


@lru_cache(maxsize=8)
def _entries(release: str) -> dict[str, dict[str, list[dict[str, Any]]]]:
    """Return the entries that hold in a release, by rule and key; only those of written keys become conditions."""
    found: dict[str, dict[str, list[dict[str, Any]]]] = {}
    for entry in _data()["conditions"]:
        if ("since" not in entry and "until" not in entry) or _is_within(release, entry):
            found.setdefault(entry["code"], {}).setdefault(entry["key"], []).append(entry)
    return found


@lru_cache(maxsize=512)
def _conditions(release: str, code: str, key: str) -> tuple[Condition, ...]:
    """Return the conditions of one rule on one key."""
    return tuple(_condition(entry) for entry in _entries(release).get(code, {}).get(key, ()))


@lru_cache(maxsize=1)
def _data() -> Any:
    return read_json("conditions/options")


def _is_within(release: str, entry: dict[str, Any]) -> bool:
    number = version_number(release)
    since, until = entry.get("since"), entry.get("until")
    return (since is None or number >= version_number(since)) and (until is None or number <= version_number(until))


def _condition(entry: dict[str, Any]) -> Condition:
    section, name = _split(entry["key"])
    severity = Severity(entry["severity"]) if "severity" in entry else None
    stage = stage_effect(entry["stage"]) if "stage" in entry else ""
    tests = tuple(_test(*test) for test in entry["when"])
    return Condition(section, name, tests, stage, entry["says"], entry.get("help", ""), severity)


def _test(key: str, word: str, operand: object = None) -> Test:
    section, name = ("", key) if key in _OF_THE_JOB else _split(key)
    return Test(section, name, word, operand)


def _split(key: str) -> tuple[str, str]:
    section, _, name = key.rpartition(".")
    return section or ARGUMENTS, name


def _number(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    return value


def _compares(compare: Callable[[float, float], bool]) -> Callable[[object, object], bool]:
    def holds(value: object, operand: object) -> bool:
        number, bound = _number(value), _number(operand)
        return number is not None and bound is not None and compare(number, bound)

    return holds


def _is_fraction(value: object, _operand: object) -> bool:
    """Return whether a number of steps above one is not whole; below one it is a share of all steps."""
    number = _number(value)
    return number is not None and number > 1 and (math.isinf(number) or number != int(number))


def _is_no_multiple(value: object, other: object) -> bool:
    """Return whether saves fall between evaluations, as transformers' `_validate_args` decides it."""
    saved, evaluated = _number(value), _number(other)
    if saved is None or not evaluated or not math.isfinite(saved) or not math.isfinite(evaluated):
        return False
    if saved % evaluated == 0:
        return False
    if saved >= 1 and evaluated >= 1:
        return True
    if saved >= 1 or evaluated >= 1:
        return True
    return (saved * 1_000_000) % (evaluated * 1_000_000) != 0


def _equals(value: object, operand: object) -> bool:
    return value == operand and isinstance(value, bool) == isinstance(operand, bool)


def _is_among(value: object, operand: object) -> bool:
    return isinstance(operand, list) and any(_equals(value, one) for one in operand)


def _has_words_among(value: object, operand: object) -> bool:
    return isinstance(value, str) and isinstance(operand, list) and all(word in operand for word in value.split())


def _is_no_token(value: object, own: object) -> bool:
    """Return whether a text is in no vocabulary: neither one of the model's own tokens nor a piece that can be learned.

    A tokenizer splits a text where letters, digits and punctuation meet before it learns pieces. Without a list of the
    model's own tokens, every text in brackets is taken for one.
    """
    if not isinstance(value, str) or not value.isascii() or _is_among(value, own):
        return False
    return _PIECE.fullmatch(value) is None and (own is not None or _BRACKETED.fullmatch(value) is None)


def _is_nowhere(value: object, _operand: object) -> bool:
    return isinstance(value, str) and bool(value) and not may_be_a_folder(value) and not is_repository_name(value)


def _quantizes(patterns: object, module: object) -> bool:
    """Return whether none of the names to skip keeps a module as it is (`should_convert_module` of transformers 5)."""

    def skips(pattern: str) -> bool:
        try:
            return re.match(pattern, str(module)) is not None or str(module).endswith(pattern)
        except re.error:
            return True  # stops for another reason

    return isinstance(patterns, (list, tuple)) and not any(skips(str(one)) for one in patterns)


def _has_no_pattern(patterns: object, _operand: object) -> bool:
    try:
        return isinstance(patterns, (list, tuple)) and not all(re.compile(str(one)) for one in patterns)
    except re.error:
        return True


def _texts(operand: object) -> tuple[str, ...]:
    return tuple(map(str, operand)) if isinstance(operand, list) else ()


def _rounds_to_zero(share: object, steps: object) -> bool:
    """Return whether a negative share of all steps becomes zero steps (transformers' `compute_steps`)."""
    number, total = _number(share), _number(steps)
    return number is not None and total is not None and -1 < number * total < 0


def _exceeds_one(value: object, other: object) -> bool:
    first, second = _number(value), _number(other)
    return first is not None and second is not None and first + second > 1


_OF_THE_JOB: dict[str, Callable[[Job], object]] = {
    "gpus": lambda job: job.num_gpus,
    "evaluates": evaluates_at_all,
    "adapter dtype": adapter_dtype,
    "has bfloat16": lambda job: job.gpu.value.has_bf16 if job.gpu is not None else None,
    "reentrant checkpointing": lambda job: stack_of(job).reentrant_checkpointing,
    "template in the image": lambda job: is_image_template(
        job.release.name, job.value(ARGUMENTS, "chat_template_path")
    ),
    "warm-up steps": warm_up_steps,
    "reads warmup_steps": reads_warmup_steps,
    "model type": lambda job: job.model.value.model_type if job.model is not None else None,
    "model name": lambda job: job.model.value.name if job.model is not None else None,
}
"""What conditions ask of a job as a whole, by the name they give it."""
_TESTS_OF_TWO: dict[str, Callable[[object, object], bool]] = {
    "no multiple of": _is_no_multiple,
    "rounds to zero of": _rounds_to_zero,
    "as many as": lambda value, other: value is not None and value == other,
    "adds up above one with": _exceeds_one,
}
_TESTS: dict[str, Callable[[object, object], bool]] = {
    "is": _equals,
    "is not": lambda value, operand: not _equals(value, operand),
    "in": _is_among,
    "not in": lambda value, operand: not _is_among(value, operand),
    "text not in": lambda value, operand: isinstance(value, str) and not _is_among(value, operand),
    "text not like": lambda value, pattern: isinstance(value, str) and re.fullmatch(str(pattern), value) is None,
    "text like": lambda value, pattern: isinstance(value, str) and re.fullmatch(str(pattern), value) is not None,
    "lower in": lambda value, operand: isinstance(value, str) and _is_among(value.lower(), operand),
    "lower not in": lambda value, operand: isinstance(value, str) and not _is_among(value.lower(), operand),
    "not reentrant off": lambda value, _: not (isinstance(value, dict) and value.get("use_reentrant") in (False, 0)),
    "has not set": lambda value, operand: not (isinstance(value, dict) and value.get(str(operand))),
    "has set": lambda value, operand: isinstance(value, dict) and bool(value.get(str(operand))),
    "lacks": lambda value, operand: isinstance(value, (list, tuple)) and operand not in value,
    "ends with": lambda value, operand: isinstance(value, str) and value.endswith(_texts(operand)),
    "begins with none of": lambda value, operand: isinstance(value, str) and not value.startswith(_texts(operand)),
    "no token beside": _is_no_token,
    "no token": _is_no_token,
    "no path or repository": _is_nowhere,
    "skips not": _quantizes,
    "has no pattern": _has_no_pattern,
    "words in": _has_words_among,
    "words not in": lambda value, operand: isinstance(value, str) and not _has_words_among(value, operand),
    "set": lambda value, _: value is not None,
    "unset": lambda value, _: value is None,
    "truthy": lambda value, _: bool(value),
    "falsy": lambda value, _: not value,
    "non-zero": lambda value, _: _number(value) not in (None, 0),
    "<": _compares(lambda value, bound: value < bound),
    "<=": _compares(lambda value, bound: value <= bound),
    ">": _compares(lambda value, bound: value > bound),
    ">=": _compares(lambda value, bound: value >= bound),
    "nan": lambda value, _: isinstance(value, float) and math.isnan(value),
    "infinite": lambda value, _: isinstance(value, float) and math.isinf(value),
    "fraction": _is_fraction,
}
