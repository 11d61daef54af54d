"""Write the JSON Schemas of Kaito's training config, and the argument tables they come from.

`python -m kaitoc.schemas.generate.training_config` renders `training_config/RELEASE.json` from
`training_config/arguments/RELEASE.json`. With `--introspect RELEASE...` it first makes those tables anew: it installs
the release's pinned libraries (`training_config/stacks.json`) into a throwaway environment and runs
`introspect_arguments.py` in it; `--python PATH` names an environment that holds them already.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import venv
from pathlib import Path
from typing import Any

from kaitoc.schemas import ROOT, read_json
from kaitoc.schemas.generate.training_config_schema import render_schema

FOLDER = Path(ROOT) / "training_config"
TORCH = "torch==2.13.0"
_Json = dict[str, Any]


def release_names() -> list[str]:
    """Return the releases that have an argument table, oldest first, `bundled` last."""
    return list(read_json("training_config/stacks")["releases"])


def rendered_schema(release: str) -> str:
    """Return the text that `training_config/RELEASE.json` must have."""
    table = read_json(f"training_config/arguments/{release}")
    descriptions = read_json("training_config/descriptions")["sections"]
    return json.dumps(render_schema(table, descriptions), indent=2, ensure_ascii=False) + "\n"


def rendered_table(table: _Json) -> str:
    """Return the text of an argument table, one argument a line."""
    head = {key: value for key, value in table.items() if key != "sections"}
    lines = [f"  {json.dumps(key)}: {json.dumps(value)}," for key, value in head.items()]
    sections = []
    for name, arguments in table["sections"].items():
        rows = ",\n".join(f"      {json.dumps(key)}: {json.dumps(row)}" for key, row in arguments.items())
        sections.append(f"    {json.dumps(name)}: {{\n{rows}\n    }}")
    return "{\n" + "\n".join(lines) + '\n  "sections": {\n' + ",\n".join(sections) + "\n  }\n}\n"


def introspect(release: str, python: str | None = None) -> _Json:
    """Return the argument table of a release, read from its pinned libraries."""
    if python is not None:
        return _run(python, release)
    with tempfile.TemporaryDirectory() as folder:
        venv.create(folder, with_pip=True)
        made = str(Path(folder) / ("Scripts" if sys.platform == "win32" else "bin") / "python")
        pins = _stack(release)["pins"]
        requirements = [TORCH, *(f"{name}=={version}" for name, version in pins.items())]
        subprocess.run([made, "-m", "pip", "install", "--quiet", *requirements], check=True)  # noqa: S603
        return _run(made, release)


def _run(python: str, release: str) -> _Json:
    script = Path(__file__).with_name("introspect_arguments.py")
    command = [python, str(script), str(FOLDER / "sections.json"), release, _stack(release)["trainer"]]
    printed = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout  # noqa: S603
    table: _Json = json.loads(printed)
    return table


def _stack(release: str) -> _Json:
    stack: _Json = read_json("training_config/stacks")["releases"][release]
    return stack


def main() -> None:
    """Write the files."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--introspect", nargs="*", default=[], metavar="RELEASE")
    parser.add_argument("--python", help="an interpreter that has the release's libraries")
    options = parser.parse_args()
    for release in options.introspect:
        path = FOLDER / "arguments" / f"{release}.json"
        path.write_text(rendered_table(introspect(release, options.python)), encoding="utf-8")
    for release in release_names():
        (FOLDER / f"{release}.json").write_text(rendered_schema(release), encoding="utf-8")


if __name__ == "__main__":
    main()
