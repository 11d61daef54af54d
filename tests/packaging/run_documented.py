"""Runs many commands by the Python of an installation, each in a process that is forked once all is imported."""

from __future__ import annotations

import json
import os
import sys
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules

from kaitoc.__main__ import main
from kaitoc.compiler import cli

for module in iter_modules(cli.__path__):
    import_module(f"kaitoc.compiler.cli.{module.name}")

for run in json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")):
    sys.stdout.flush()
    pid = os.fork()
    if pid == 0:
        os.chdir(run["folder"])
        os.dup2(os.open(run["stdin"], os.O_RDONLY), 0)
        for number, name in ((1, "stdout"), (2, "stderr")):
            os.dup2(os.open(run[name], os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
        os.environ.update(run["variables"])
        sys.argv = ["kaitoc", *run["words"]]
        main()
        sys.exit()
    print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
