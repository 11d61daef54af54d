"""What there is to check: files and folders by their names, or a text that is at hand."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence

from kaitoc.compiler.check.ignored_files import IgnoredFiles
from kaitoc.compiler.core.path_patterns import matches_path
from kaitoc.compiler.core.records import dataclass, field
from kaitoc.compiler.core.source import Source
from kaitoc.compiler.job.neighbours import JSON_SUFFIX, YAML_SUFFIXES, names_kaito
from kaitoc.compiler.job.settings import Settings, SettingsFinder

TEXT_NAME = "<text>"
"""What reports call a text that no file holds."""

_FOREIGN_FOLDERS = frozenset({"node_modules", "vendor"})
"""What package managers fill with the files of others."""

Path = str | os.PathLike[str]
PathsOrText = Path | Iterable[Path]
"""Names of files and folders; a string with a line break is not a name but the text of a manifest."""


@dataclass(frozen=True, slots=True)
class Inputs:
    """Names of files and folders, or a text with the name that reports call it by."""

    paths: tuple[str, ...]
    text: Source | None = None

    @classmethod
    def of_text(cls, source: Source) -> Inputs:
        """Wrap a text, such as standard input, as the only input."""
        return cls((source.path,), source)


@dataclass(frozen=True, slots=True)
class Search:
    """How folders are searched, besides the settings: patterns are relative to the current folder."""

    exclude: tuple[str, ...] = ()
    respect_gitignore: bool = True

    def excludes(self, path: str) -> bool:
        """Match a path against the `exclude` patterns, which are relative to the working folder."""
        return any(matches_path(pattern, path, os.curdir) for pattern in self.exclude)


WHOLE_SEARCH = Search()
"""A search that leaves out what the settings and git do."""


def inputs_of(paths_or_text: PathsOrText, text_name: str = TEXT_NAME) -> Inputs:
    """Return a caller's argument as inputs; raises `TypeError` for what is neither names nor a text."""
    if isinstance(paths_or_text, str):
        if "\n" in paths_or_text or "\r" in paths_or_text:
            return Inputs.of_text(Source.decode(text_name, paths_or_text.encode("utf-8", "surrogatepass")))
        return Inputs((paths_or_text,))
    if isinstance(paths_or_text, os.PathLike):
        return Inputs((os.fspath(paths_or_text),))
    return Inputs(tuple(os.fspath(path) for path in paths_or_text))


def find_files(paths: Sequence[str], settings: SettingsFinder, search: Search = WHOLE_SEARCH) -> Iterator[str]:
    """Yield the files that paths name, each once, `./a.yaml` as `a.yaml`, which is what those beside it call it.

    Folders are searched for YAML, and for JSON that names something of Kaito's. Left out are hidden files, what git
    ignores or the settings exclude, and what package managers put beside one's own files.
    """
    folders = _FolderSearch(settings, search)
    if len(paths) == 1:
        yield from folders.files_of(paths[0])
        return
    seen = set()
    for path in paths:
        for found in folders.files_of(path):
            place = os.path.abspath(found) if os.path.exists(found) else found
            if place not in seen:
                seen.add(place)
                yield found


@dataclass(slots=True)
class _FolderSearch:
    """Looks through folders for files that can hold manifests."""

    settings: SettingsFinder
    search: Search
    ignored: IgnoredFiles = field(default_factory=IgnoredFiles)

    def files_of(self, path: str) -> Iterator[str]:
        """Yield a file that is named, whatever it is, or the manifests of a folder and of those in it, sorted."""
        if not os.path.isdir(path):
            yield path.removeprefix(os.curdir + os.sep)
            return
        is_asked_for = self.ignored.ignores(path, is_folder=True)
        for folder, folders, names in os.walk(path):
            here = self.settings.for_path(folder)
            respects_git = here.respect_gitignore and self.search.respect_gitignore and not is_asked_for
            folders[:] = sorted(
                name
                for name in folders
                if not name.startswith(".")
                and name not in _FOREIGN_FOLDERS
                and not self._leaves_out(os.path.join(folder, name), here, respects_git, is_folder=True)
            )
            for name in sorted(names):
                found = os.path.normpath(os.path.join(folder, name))
                if (
                    name.endswith((*YAML_SUFFIXES, JSON_SUFFIX))
                    and not self._leaves_out(found, here, respects_git)
                    and not _is_special(found)
                    and (not name.endswith(JSON_SUFFIX) or _is_kaitos(found))
                ):
                    yield found

    def _leaves_out(self, path: str, here: Settings, respects_git: bool, *, is_folder: bool = False) -> bool:
        return (
            here.excludes(path)
            or self.search.excludes(path)
            or (respects_git and self.ignored.ignores(path, is_folder=is_folder))
        )


def _is_special(path: str) -> bool:
    """Return whether a folder's entry is a pipe, socket or device, which could be waited for without end."""
    return os.path.exists(path) and not os.path.isfile(path)


def _is_kaitos(path: str) -> bool:
    """Return whether a JSON file names something of Kaito's, so that one of another program is not read as YAML."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return names_kaito(file.read())
    except OSError:
        return True  # the check says why it cannot be read
