"""Write the skeleton of a rule: `make new-rule NAME=some-fault CODE=KT499`.

It writes the module and its page (documentation and test in one), registers the rule, and brings the index, the frozen
surface and the changelog up to date. The skeleton finds a fault of its own, a `run_name` like the rule's name, so that
the page's tests pass from the start; what it finds, says and cites is yours to write.
"""

from __future__ import annotations

import argparse
import keyword
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
CODE = re.compile(r'^CODE = "(KT\d\d\d)"$', re.MULTILINE)
NAME = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")
ENTRY = re.compile(r'^    (?:late\(\s*")?(\w+)', re.MULTILINE)
COMMANDS = re.compile(r"(no|disallow|avoid|use|prefer|allow|check)-")

MODULE = '''"""A `run_name` of `{name}`."""

from __future__ import annotations

from collections.abc import Iterator

from kaitoc.compiler.core.findings import Severity
from kaitoc.compiler.job.faults import Fault
from kaitoc.compiler.job.job import Job

CODE = "{code}"
NAME = "{name}"
SEVERITY = Severity.WARNING
FIX = None
SINCE = "{since}"


def check(job: Job) -> Iterator[Fault]:
    """Yield a fault when the run is named after this rule."""
    option = job.option("TrainingArguments", "run_name")
    if option is None or job.value("TrainingArguments", "run_name") != NAME:
        return
    yield Fault(job.place_of(option), f"the run is named `{{NAME}}`", help="give the run a name of its own")
'''

PAGE = """# {name} ({code})

## What it does

Finds `TrainingArguments.run_name: {name}`.

## Why it matters

Say what happens on the cluster, and what it costs.

## Example

```yaml
apiVersion: v1
kind: ConfigMap
metadata:
  name: tuning
data:
  training_config.yaml: |
    training_config:
      TrainingArguments:
        run_name: {name} # warning: [{code}]
```

## Corrected

```yaml
apiVersion: v1
kind: ConfigMap
metadata:
  name: tuning
data:
  training_config.yaml: |
    training_config:
      TrainingArguments:
        run_name: phi-4-support
```

## Fix safety

There is no fix.

## Releases

All.

## References

- The code that this rule is held to, with its file and version
"""


class RefusedError(Exception):
    """A name or a code that a new rule cannot have."""


def taken_codes(root: Path) -> dict[str, str]:
    """Return the module of every rule by its code."""
    found = {}
    for path in sorted((root / "rules").glob("[!_]*.py")):
        code = CODE.search(path.read_text(encoding="utf-8"))
        if code is not None:
            found[code[1]] = path.stem
    return found


def refuse(root: Path, name: str, code: str) -> None:
    """Raise `RefusedError` for a bad or taken name or code."""
    taken = taken_codes(root)
    module = name.replace("-", "_")
    areas = sorted({known[:3] for known in taken})
    if NAME.fullmatch(name) is None or keyword.iskeyword(module):
        raise RefusedError(f"the name must be words in lower case joined by dashes, such as some-fault, not {name!r}")
    if COMMANDS.match(name):
        raise RefusedError(f"the name must state the fault and read well after 'allow', which {name!r} does not")
    if re.fullmatch(r"KT\d\d\d", code) is None or code[:3] not in areas:
        raise RefusedError(f"the code must be one of {', '.join(areas)} and two digits, such as KT499, not {code!r}")
    if code in taken:
        raise RefusedError(f"the code {code} is taken by {taken[code].replace('_', '-')}")
    if (root / "rules" / f"{module}.py").exists():
        raise RefusedError(f"the name {name} is taken by rules/{module}.py")


def registered(text: str, module: str, code: str, taken: dict[str, str]) -> str:
    """Return `rules/__init__.py` with a rule more: its import in order of names, its entry in order of codes."""
    imported = _block(text, "from kaitoc.rules import (\n")
    text = text.replace(imported, "".join(sorted({*imported.splitlines(keepends=True), f"    {module},\n"})), 1)
    entries = _block(text, "JOB_RULES = JobRules(\n")
    codes = {known: other for other, known in taken.items()}
    later = (entry.start() for entry in ENTRY.finditer(entries) if codes[entry[1]] > code)
    position = next(later, len(entries))
    return text.replace(entries, f"{entries[:position]}    {module},\n{entries[position:]}", 1)


def _block(text: str, opening: str) -> str:
    """Return the lines between an opening parenthesis and the one that closes it."""
    return text.partition(opening)[2].partition(")\n")[0]


def with_changelog_line(text: str, line: str) -> str:
    """Return the changelog with a line at the end of its first section, the unreleased one."""
    head, mark, rest = text.partition("\n## ")
    section, next_mark, older = rest.partition("\n## ")
    return f"{head}{mark}{section.rstrip()}\n{line}\n" + (f"{next_mark}{older}" if next_mark else "")


def write(root: Path, name: str, code: str) -> None:
    """Write a rule's skeleton into a working tree; raises `RefusedError` and leaves the tree as it is."""
    refuse(root, name, code)
    rules, module = root / "rules", name.replace("-", "_")
    version = re.search(r'__version__ = "([^"]+)"', (root / "compiler" / "__init__.py").read_text(encoding="utf-8"))
    values = {"name": name, "code": code, "since": version[1] if version is not None else ""}
    registry, changelog = rules / "__init__.py", root / "CHANGELOG.md"
    text = registered(registry.read_text(encoding="utf-8"), module, code, taken_codes(root))
    (rules / f"{module}.py").write_text(MODULE.format(**values), encoding="utf-8")
    (rules / f"{module}.md").write_text(PAGE.format(**values), encoding="utf-8")
    registry.write_text(text, encoding="utf-8")
    line = f"- New rule `{name}` ({code})."
    changelog.write_text(with_changelog_line(changelog.read_text(encoding="utf-8"), line), encoding="utf-8")
    _generate(root, "tests/cli/test_surface.py")
    index = _generate(root, "-m", "kaitoc.compiler.check.rule_index")
    (root / "docs" / "rules.md").write_text(index, encoding="utf-8")


def _generate(root: Path, *words: str) -> str:
    """Run a generator of the working tree and return its output."""
    words = tuple(str(root / word) if word.endswith(".py") else word for word in words)
    # Not from the root: its folder `kaitoc` would be taken for the whole package.
    command = [sys.executable, *words]
    result = subprocess.run(command, cwd=root / "docs", check=True, stdout=subprocess.PIPE, encoding="utf-8")  # noqa: S603
    return result.stdout


def main() -> None:
    """Write the skeleton into this repository."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0], prog="new-rule")
    parser.add_argument("name", help="the fault, in lower case joined by dashes")
    parser.add_argument("code", help="KT, the area's digit and two more")
    options = parser.parse_args()
    try:
        write(ROOT, options.name, options.code)
    except RefusedError as error:
        sys.exit(f"new-rule: {error}")
    module = options.name.replace("-", "_")
    print(f"wrote rules/{module}.py and rules/{module}.md; registered it in rules/__init__.py, docs/rules.md,")
    print("tests/cli/surface.json and CHANGELOG.md")
    print(f"now write what it finds, and run: pytest tests/rules/test_rule_pages.py -k {options.code}")


if __name__ == "__main__":
    main()
