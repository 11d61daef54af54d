"""Which files git ignores, by the `.gitignore` files of a repository, without asking git."""

from __future__ import annotations

import os
from collections.abc import Iterable

from kaitoc.compiler.core.annotations import TYPE_CHECKING, TypeAlias
from kaitoc.compiler.core.records import dataclass, field

if TYPE_CHECKING:
    from pathspec import Pattern

_GITIGNORE = ".gitignore"
_BELOW = "ps_d"
"""The group in the library's expressions that holds what comes below a folder that a pattern names."""
_Patterns: TypeAlias = "tuple[Pattern, ...]"


@dataclass(slots=True)
class IgnoredFiles:
    """Reads each `.gitignore` of a repository once; outside a repository nothing is ignored.

    As in git, the closest file with a matching pattern decides, and of its patterns the last one.
    Source: https://git-scm.com/docs/gitignore
    """

    _specs: dict[str, tuple[tuple[str, _Patterns], ...] | None] = field(default_factory=dict)

    def ignores(self, path: str, *, is_folder: bool = False) -> bool:
        """Return whether a path in a repository is ignored, where none of the folders that it lies in is."""
        absolute = os.path.abspath(path)
        for root, patterns in self._specs_for(os.path.dirname(absolute)) or ():
            inside = os.path.relpath(absolute, root).replace(os.sep, "/")
            is_ignored = _verdict(patterns, inside + "/" if is_folder else inside)
            if is_ignored is not None:
                return is_ignored
        return False

    def _specs_for(self, folder: str) -> tuple[tuple[str, _Patterns], ...] | None:
        """Return the patterns that hold in a folder, the closest first; None outside a repository."""
        if folder not in self._specs:
            self._specs[folder] = self._read(folder)
        return self._specs[folder]

    def _read(self, folder: str) -> tuple[tuple[str, _Patterns], ...] | None:
        above: tuple[tuple[str, _Patterns], ...] | None = ()
        if not os.path.exists(os.path.join(folder, ".git")):
            parent = os.path.dirname(folder)
            above = self._specs_for(parent) if parent != folder else None
        if above is None:
            return None
        own = _patterns(os.path.join(folder, _GITIGNORE))
        return above if own is None else ((folder, own), *above)


def _verdict(patterns: _Patterns, path: str) -> bool | None:
    """Return whether the last pattern that names a path itself ignores it, None where none does.

    The library also has a folder's pattern match all below it, which for git depends on whether it enters the folder.
    """
    for pattern in reversed(patterns):
        found = pattern.match_file(path) if pattern.include is not None else None
        if found is not None:
            groups = found.match.groupdict()
            if groups.get(_BELOW) is None or found.match.start(_BELOW) == len(path) - 1:
                return pattern.include
    return None


def _patterns(path: str) -> _Patterns | None:
    """Return the patterns of a `.gitignore`, None where there is none that can be read."""
    try:
        with open(path, encoding="utf-8", errors="surrogateescape") as file:
            lines = file.read().splitlines()
    except OSError:
        return None
    return tuple(pattern for line in lines for pattern in _patterns_in(line))


def _patterns_in(line: str) -> Iterable[Pattern]:
    """Return the pattern of a line, if it has one; git passes over those that it cannot read."""
    from pathspec import GitIgnoreSpec  # for repositories that ignore something

    try:
        return GitIgnoreSpec.from_lines([line]).patterns
    except ValueError:
        return ()
