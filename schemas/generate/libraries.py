"""Write what each release's libraries ask of schedulers, optimizers, reporters and nested arguments.

`python -m kaitoc.schemas.generate.libraries RELEASE --python PATH` runs `introspect_libraries.py` with an interpreter
that holds the release's pins (`catalog/releases.json`) and none of the optional packages that Kaito's image does
not have either; without `--python` it makes such an environment first. The result is `libraries/RELEASE.json`.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import tempfile
import venv
from pathlib import Path
from typing import Any

from kaitoc.schemas import ROOT
from kaitoc.schemas.generate.training_config import TORCH, resolved_versions

FOLDER = Path(ROOT) / "libraries"
_Json = dict[str, Any]


def rendered(facts: _Json) -> str:
    """Return the text of a release's facts, one word or key a line."""
    parts = []
    for name, value in facts.items():
        if isinstance(value, dict) and name != "stack":
            rows = ",\n".join(f"    {json.dumps(key)}: {json.dumps(row)}" for key, row in value.items())
            parts.append(f"  {json.dumps(name)}: {{\n{rows}\n  }}")
        else:
            parts.append(f"  {json.dumps(name)}: {json.dumps(value)}")
    return "{\n" + ",\n".join(parts) + "\n}\n"


def introspect(release: str, python: str | None = None) -> _Json:
    """Return a release's facts, read from its pinned libraries."""
    if python is not None:
        return _run(python, release)
    pins = resolved_versions(release)
    with tempfile.TemporaryDirectory() as folder:
        venv.create(folder, with_pip=True)
        made = str(Path(folder) / "bin" / "python")
        requirements = [TORCH, *(f"{name}=={version}" for name, version in pins.items() if name != "torch")]
        subprocess.run([made, "-m", "pip", "install", "--quiet", *requirements], check=True)  # noqa: S603
        return _run(made, release)


def _run(python: str, release: str) -> _Json:
    script = Path(__file__).with_name("introspect_libraries.py")
    command = [python, str(script), release]
    printed = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout  # noqa: S603
    facts: _Json = json.loads(printed.splitlines()[-1])
    return facts


def main() -> None:
    """Write the files of the releases that are named."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("releases", nargs="+", metavar="RELEASE")
    parser.add_argument("--python", help="an interpreter that has the release's libraries")
    options = parser.parse_args()
    FOLDER.mkdir(exist_ok=True)
    for release in options.releases:
        facts = introspect(release, options.python)
        (FOLDER / f"{release}.json").write_text(rendered(facts), encoding="utf-8")


if __name__ == "__main__":
    main()
