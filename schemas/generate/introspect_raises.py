r"""Print the `raise` statements of the libraries that stand under conditions on options, as JSON lines.

    PYTHON schemas/generate/introspect_raises.py schemas/training_config/arguments/v0.12.json \
        > schemas/generate/raises/v0.12.jsonl

It runs in a release's throwaway environment and imports nothing of kaitoc. A row is one `raise` under `if` statements
that ask for options of the table: these, where it stands, the first words of its message, and under `when` the
condition in the words of `rules/_conditions.py`: alternatives, each a list of tests that hold together. Where the
condition asks for what is no option, `asks` has that part of it instead. `generate.conditions` writes
`conditions/options.json` from these rows; `tests/oracle/variants.py` records products of the options of a row.
"""

from __future__ import annotations

import ast
import importlib
import importlib.util
import itertools
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

MODULES = (
    "transformers.training_args",
    "transformers.trainer",
    "transformers.trainer_optimizer",
    "transformers.trainer_utils",
    "transformers.data.data_collator",
    "transformers.utils.quantization_config",
    "trl.trainer.sft_trainer",
    "trl.trainer.sft_config",
    "trl.trainer.base_config",
    "peft.tuners.lora.config",
    "peft.tuners.lora.model",
    "peft.tuners.tuners_utils",
)
OF_A_JOB = {
    "TrainingArguments": "TrainingArguments",
    "SFTConfig": "TrainingArguments",
    "BaseConfig": "TrainingArguments",
    "Trainer": "TrainingArguments",
    "SFTTrainer": "TrainingArguments",
    "DataCollatorForLanguageModeling": "DataCollator",
    "BitsAndBytesConfig": "QuantizationConfig",
    "LoraConfig": "LoraConfig",
}
"""The classes that a job makes, and the section whose options they ask for."""
OWNERS = ("self", "args", "training_args", "config", "peft_config", "lora_config")
FACTS = {
    "is_torch_available()": True,
    "is_accelerate_available()": True,
    "is_torch_xla_available()": False,
    "is_sagemaker_mp_enabled()": False,
    "self.is_deepspeed_enabled": False,
    "self.is_fsdp_xla_enabled": False,
    "args.fsdp_config['xla']": False,
    "self._is_vision_dataset": False,
    "compute_loss_func is not None": False,
    "data_collator is None": False,
    "formatting_func": False,
}
"""What holds in every job of Kaito: it passes a collator, rows of text, and no function of its own, on CUDA."""
TESTS = {
    "args.parallel_mode != ParallelMode.DISTRIBUTED": ["gpus", "is", 1],
    "self.eval_dataset is None": ["DatasetConfig.train_test_split", "is", 1],
}
"""What asks for no option, and is what a job has."""
_COMPARISONS: dict[type, tuple[str, str]] = {
    ast.Eq: ("is", "is not"),
    ast.NotEq: ("is not", "is"),
    ast.In: ("in", "not in"),
    ast.NotIn: ("not in", "in"),
    ast.Lt: ("<", ">="),
    ast.LtE: ("<=", ">"),
    ast.Gt: (">", "<="),
    ast.GtE: (">=", "<"),
}
_Alternatives = list[list[list[Any]]]
_TRUE: _Alternatives = [[]]
_FALSE: _Alternatives = []


class UntranslatedError(Exception):
    """A condition asks for what is no option; says what."""


class Translator:
    """Turns expressions of one module into tests of options."""

    def __init__(self, module: str, rows: dict[str, Any], section: str) -> None:
        """Prepare for a class of `module` that asks for the options `rows` of a section."""
        self._module, self._rows = module, rows
        self._prefix = "" if section == "TrainingArguments" else f"{section}."

    def when(self, test: ast.expr, *, is_negated: bool = False) -> _Alternatives:
        """Return the alternatives under which a test holds; raises `UntranslatedError`."""
        text = ast.unparse(test)
        if text in FACTS:
            return _TRUE if FACTS[text] != is_negated else _FALSE
        if text in TESTS and not is_negated:
            return [[TESTS[text]]]
        if isinstance(test, ast.UnaryOp) and isinstance(test.op, ast.Not):
            return self.when(test.operand, is_negated=not is_negated)
        if isinstance(test, ast.BoolOp):
            parts = [self.when(value, is_negated=is_negated) for value in test.values]
            return _all_of(parts) if isinstance(test.op, ast.And) != is_negated else list(itertools.chain(*parts))
        name = self._option(test)
        if name is not None:
            return [[[self._prefix + name, "falsy" if is_negated else "truthy"]]]
        if isinstance(test, ast.Call) and ast.unparse(test.func) == "isinstance":
            return _TRUE if self._is_of_its_type(test) != is_negated else _FALSE
        if isinstance(test, ast.Compare) and len(test.ops) == 1:
            if ast.unparse(test).startswith("len(") and ast.unparse(test).endswith(") > 0"):
                return self.when(test.left.args[0], is_negated=is_negated)  # type: ignore[attr-defined]
            return [[self._comparison(test, is_negated=is_negated)]]
        raise UntranslatedError(text)

    def _comparison(self, test: ast.Compare, *, is_negated: bool) -> list[Any]:
        left, right = test.left, test.comparators[0]
        name = self._option(left)
        if name is None:
            raise UntranslatedError(ast.unparse(test))
        key = self._prefix + name
        if ast.unparse(right) == "None":
            is_unset = isinstance(test.ops[0], (ast.Is, ast.Eq)) != is_negated
            return [key, "unset" if is_unset else "set"]
        if isinstance(test.ops[0], ast.NotEq) and ast.unparse(right) == f"int({ast.unparse(left)})" and not is_negated:
            return [key, "fraction"]
        words = _COMPARISONS.get(type(test.ops[0]))
        if words is None:
            raise UntranslatedError(ast.unparse(test))
        return [key, words[is_negated], self._constant(right)]

    def _option(self, node: ast.expr) -> str | None:
        """Return the option that an attribute of an argument object is."""
        name = option_of(node)
        return name if name in self._rows else None

    def _is_of_its_type(self, test: ast.Call) -> bool:
        """Return whether an option's value is of the type that `isinstance` asks for, as the parser makes it."""
        name, asked = self._option(test.args[0]), ast.unparse(test.args[1])
        row = self._rows.get(name or "")
        if row is None or asked not in ("bool", "int", "float", "str"):
            raise UntranslatedError(ast.unparse(test))
        if row.get("nargs") != "+" and row["type"] != asked:
            raise UntranslatedError(ast.unparse(test))
        return bool(row.get("nargs") != "+")

    def _constant(self, node: ast.expr) -> Any:
        try:
            return ast.literal_eval(node)
        except ValueError:
            pass
        found: Any = importlib.import_module(self._module)
        try:
            for part in ast.unparse(node).split("."):
                found = getattr(found, part)
        except AttributeError as error:
            raise UntranslatedError(ast.unparse(node)) from error
        value = getattr(found, "value", found)
        if not isinstance(value, (str, int, float, list, tuple)):
            raise UntranslatedError(ast.unparse(node))
        return value


def _all_of(parts: list[_Alternatives]) -> _Alternatives:
    """Return the alternatives under which all parts hold, each test once and without what another implies."""
    found: _Alternatives = []
    for chosen in itertools.product(*parts):
        tests: list[list[Any]] = []
        for test in itertools.chain(*chosen):
            if test not in tests:
                tests.append(test)
        fractions = {test[0] for test in tests if test[1] == "fraction"}
        numbers = {test[0] for test in tests if test[1] in ("<", "<=", ">", ">=", "fraction")}
        found.append(
            [
                test
                for test in tests
                if not (test[0] in fractions and test[1:] == [">", 1]) and not (test[0] in numbers and test[1] == "set")
            ]
        )
    return found


def main() -> None:
    """Print a row for each `raise` under a condition on options, each set of them once for a message."""
    sections = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))["sections"]
    known, printed = {name for rows in sections.values() for name in rows}, set()
    for module in MODULES:
        path = _path(module)
        tree = ast.parse(path.read_text(encoding="utf-8")) if path is not None else ast.Module([], [])
        owners = {
            child: node.name
            for node in ast.walk(tree)
            if isinstance(node, ast.ClassDef)
            for child in node.body
            if isinstance(child, ast.FunctionDef)
        }
        for function in ast.walk(tree):
            if not isinstance(function, ast.FunctionDef):
                continue
            section = OF_A_JOB.get(owners.get(function, ""), "")
            translator = Translator(module, sections.get(section, {}), section)
            for path_to, statement in _raises(function.body, ()):
                asked = [name for test, _ in path_to for name in _options(test)]
                options = sorted({name for name in asked if name in known})
                if len(options) < 2 and not (options and section):
                    continue
                row = {"options": options, "at": f"{module}.{function.name}", "message": _message(statement)}
                row.update(_condition(translator, path_to))
                text = json.dumps(row)
                if text not in printed:
                    printed.add(text)
                    print(text)


def _condition(translator: Translator, path_to: tuple[tuple[ast.expr, bool], ...]) -> dict[str, Any]:
    try:
        parts = [translator.when(test, is_negated=not is_entered) for test, is_entered in path_to]
    except UntranslatedError as error:
        return {"asks": str(error)[:100]}
    return {"when": _all_of(parts)}


def _path(name: str) -> Path | None:
    """Locate a module's source, importing only the packages above it."""
    package, _, rest = name.partition(".")
    found = importlib.util.find_spec(package)
    if found is None or found.origin is None:
        return None
    path = Path(found.origin).parent / (rest.replace(".", "/") + ".py")
    return path if path.exists() else None


def _raises(
    body: list[ast.stmt], path_to: tuple[tuple[ast.expr, bool], ...]
) -> Iterator[tuple[tuple[tuple[ast.expr, bool], ...], ast.Raise]]:
    """Yield each `raise` with the tests around it, and whether it stands where a test holds or where it does not."""
    for statement in body:
        if isinstance(statement, ast.Raise):
            yield path_to, statement
        elif isinstance(statement, ast.If):
            yield from _raises(statement.body, (*path_to, (statement.test, True)))
            yield from _raises(statement.orelse, (*path_to, (statement.test, False)))
        elif not isinstance(statement, (ast.FunctionDef, ast.ClassDef)):
            for name in ("body", "orelse", "finalbody"):
                yield from _raises(getattr(statement, name, []), path_to)


def option_of(node: ast.expr) -> str | None:
    """Return the attribute that an expression takes of an argument object."""
    if not isinstance(node, ast.Attribute):
        return None
    owner = node.value
    is_args = isinstance(owner, ast.Attribute) and owner.attr in ("args", "config")
    return node.attr if is_args or (isinstance(owner, ast.Name) and owner.id in OWNERS) else None


def _options(test: ast.expr) -> list[str]:
    """Return the attributes of an argument object that an expression asks for."""
    names = (option_of(node) for node in ast.walk(test) if isinstance(node, ast.expr))
    return [name for name in names if name is not None]


def _message(statement: ast.Raise) -> str:
    texts = [
        node.value for node in ast.walk(statement) if isinstance(node, ast.Constant) and isinstance(node.value, str)
    ]
    return " ".join(" ".join(texts).split())[:100]


if __name__ == "__main__":
    main()
