"""What a check is asked for, and the files and findings that it counts."""

from __future__ import annotations

import os
from collections.abc import Iterable

from kaitoc.compiler.check.engine import Engine
from kaitoc.compiler.check.engine_options import EngineOptions
from kaitoc.compiler.check.inputs import WHOLE_SEARCH, Inputs, Search, find_files
from kaitoc.compiler.check.outcome import Outcome
from kaitoc.compiler.core.annotations import Protocol
from kaitoc.compiler.core.findings import Finding
from kaitoc.compiler.core.records import dataclass
from kaitoc.compiler.job.settings import SettingsError


class Accepted(Protocol):
    """What tells the findings that are accepted from new ones, as a baseline does."""

    def new_among(self, findings: Iterable[Finding]) -> list[Finding]:
        """Return the findings of a file that are new."""
        ...

    def num_gone(self, path: str, num_known: int) -> int:
        """Count a file's accepted findings that are gone, given how many are still found."""
        ...

    def num_in_missing_files(self) -> int:
        """Count the accepted findings of files that no longer exist."""
        ...


@dataclass(frozen=True, slots=True)
class CheckRequest:
    """How to check: `strict` fails for warnings too, `changed_since` is a git revision, `baseline` a file.

    `num_processes` 0 means one, and more above a number of files at which they pay.
    """

    engine: EngineOptions = EngineOptions()
    strict: bool = False
    baseline: str | None = None
    changed_since: str | None = None
    num_processes: int = 0
    search: Search = WHOLE_SEARCH

    def accepted(self) -> Accepted | None:
        """Load the baseline as a filter of known findings; raises `BaselineError`."""
        if self.baseline is None:
            return None
        from kaitoc.compiler.check.baseline import load_baseline  # seldom asked for

        return load_baseline(self.baseline)


def files_of(inputs: Inputs, engine: Engine, request: CheckRequest) -> list[str]:
    """Return the files to check, by default those in the current folder; a text is handed to the engine.

    Raises `GitError` where git does not say what changed, and `SettingsError` for a text, of which git knows nothing.
    """
    if inputs.text is not None:
        if request.changed_since is not None:
            raise SettingsError("--changed-since selects files; it is incompatible with standard input (`-`)")
        engine.library.add_source(inputs.text)
        return [inputs.text.path]
    files = list(find_files(inputs.paths or (".",), engine.settings, request.search))
    if request.changed_since is None:
        return files
    from kaitoc.compiler.check.changed_files import changed_since  # seldom asked for

    changed = changed_since(request.changed_since)
    return [file for file in files if os.path.realpath(file) in changed]


def name_templates(engine: Engine, outcome: Outcome) -> None:
    """Name the templates that a text was rendered from, where it says so."""
    from kaitoc.compiler.manifest.rendered import tell_origins  # for texts only

    for checked in outcome.checked:
        if checked.error is None:
            checked.move(tell_origins(checked.findings, engine.library.load(checked.path)))
