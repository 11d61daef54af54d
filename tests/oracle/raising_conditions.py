"""Print the options that share a raising condition in the libraries' sources, as JSON lines.

    PYTHON tests/oracle/raising_conditions.py schemas/training_config/arguments/v0.12.json \\
        > tests/oracle/raising_conditions-v0.12.jsonl

It runs in a release's throwaway environment and imports nothing of kaitoc. A row is one `raise` under `if` statements
that ask for two options or more of the table: these, where it stands, and the first words of its message.
`variants.py` records products of boundary values of the options of a row.
"""

from __future__ import annotations

import ast
import importlib.util
import json
import sys
from pathlib import Path

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
OWNERS = ("self", "args", "training_args", "config", "peft_config", "lora_config")


def main() -> None:
    """Print a row for each `raise` under a condition on several options, each set of them once for a message."""
    sections = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))["sections"]
    known, printed = {name for rows in sections.values() for name in rows}, set()
    for name in MODULES:
        path = _path(name)
        if path is None:
            continue
        for function in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(function, ast.FunctionDef):
                for asked, message in _raises(function.body, ()):
                    options = [option for option in asked if option in known]
                    row = json.dumps({"options": options, "at": f"{name}.{function.name}", "message": message})
                    if len(options) > 1 and row not in printed:
                        printed.add(row)
                        print(row)


def _path(name: str) -> Path | None:
    """Return where a module's source is, without importing more than the packages above it."""
    package, _, rest = name.partition(".")
    found = importlib.util.find_spec(package)
    if found is None or found.origin is None:
        return None
    path = Path(found.origin).parent / (rest.replace(".", "/") + ".py")
    return path if path.exists() else None


def _raises(body: list[ast.stmt], asked: tuple[str, ...]):
    """Yield the options asked for around each `raise`, and its message."""
    for statement in body:
        if isinstance(statement, ast.Raise):
            options = sorted(set(asked))
            if options:
                yield options, _message(statement)
        elif isinstance(statement, ast.If):
            inner = (*asked, *_options(statement.test))
            yield from _raises(statement.body, inner)
            yield from _raises(statement.orelse, inner)
        elif not isinstance(statement, (ast.FunctionDef, ast.ClassDef)):
            for name in ("body", "orelse", "finalbody"):
                yield from _raises(getattr(statement, name, []), asked)


def _options(test: ast.expr) -> list[str]:
    """Return the attributes of an argument object that an expression asks for."""
    found = []
    for node in ast.walk(test):
        if isinstance(node, ast.Attribute):
            owner = node.value
            is_args = isinstance(owner, ast.Attribute) and owner.attr in ("args", "config")
            if is_args or (isinstance(owner, ast.Name) and owner.id in OWNERS):
                found.append(node.attr)
    return found


def _message(statement: ast.Raise) -> str:
    texts = [
        node.value for node in ast.walk(statement) if isinstance(node, ast.Constant) and isinstance(node.value, str)
    ]
    return " ".join(" ".join(texts).split())[:100]


if __name__ == "__main__":
    main()
