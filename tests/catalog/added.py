"""A copy of the data under `schemas/` to add entries to, and the programs that read it from there."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from kaitoc.schemas import ROOT

_WITH_ROOT = "import sys, kaitoc.schemas\nkaitoc.schemas.ROOT = sys.argv.pop(1)\n"
_COMMAND_LINE = f"{_WITH_ROOT}from kaitoc.compiler.cli import main\nmain()\n"
_MODULE = f"{_WITH_ROOT}import runpy\nrunpy.run_module(sys.argv.pop(1), run_name='__main__')\n"


class Data:
    """A copy of `schemas/`'s data in a folder of its own."""

    def __init__(self, root: Path) -> None:
        self.root = root
        shutil.copytree(ROOT, root, ignore=shutil.ignore_patterns("*.py", "__pycache__", "generate"))

    def add(self, name: str, key: str, entry: dict[str, Any]) -> None:
        """Append an entry to the list that stands under `key` in a file."""
        path = self.root / f"{name}.json"
        content = json.loads(path.read_text(encoding="utf-8"))
        content[key].append(entry)
        path.write_text(json.dumps(content), encoding="utf-8")

    def entry(self, name: str, key: str, subject: str) -> dict[str, Any]:
        """Return the entry of a subject by its name."""
        entries = json.loads((self.root / f"{name}.json").read_text(encoding="utf-8"))[key]
        found: dict[str, Any] = next(entry for entry in entries if entry["name"] == subject)
        return found

    def kaitoc(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run the command line on this data."""
        return _run(_COMMAND_LINE, str(self.root), *words)

    def module(self, name: str, *words: str) -> subprocess.CompletedProcess[str]:
        """Run a module as a program on this data."""
        return _run(_MODULE, str(self.root), name, *words)


def _run(code: str, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, check=False)
