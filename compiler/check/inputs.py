"""What there is to check: files and folders by their names, or a text that is at hand."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence

from kaitoc.compiler.core.records import dataclass
from kaitoc.compiler.core.source import Source
from kaitoc.compiler.job.neighbours import YAML_SUFFIXES
from kaitoc.compiler.job.settings import SettingsFinder

TEXT_NAME = "<text>"
"""What reports call a text that no file holds."""

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
        """Return a text as all there is."""
        return cls((source.path,), source)


def inputs_of(paths_or_text: PathsOrText, text_name: str = TEXT_NAME) -> Inputs:
    """Return what a caller passes; raises `TypeError` for what is neither names nor a text."""
    if isinstance(paths_or_text, str):
        if "\n" in paths_or_text or "\r" in paths_or_text:
            return Inputs.of_text(Source.decode(text_name, paths_or_text.encode("utf-8", "surrogatepass")))
        return Inputs((paths_or_text,))
    if isinstance(paths_or_text, os.PathLike):
        return Inputs((os.fspath(paths_or_text),))
    return Inputs(tuple(os.fspath(path) for path in paths_or_text))


def find_files(paths: Sequence[str], settings: SettingsFinder) -> Iterator[str]:
    """Yield the files that paths name, each once, `./a.yaml` as `a.yaml`, which is what those beside it call it.

    Folders are searched for YAML, hidden and excluded files left out.
    """
    if len(paths) == 1:
        yield from _files_of(paths[0], settings)
        return
    seen = set()
    for path in paths:
        for found in _files_of(path, settings):
            place = os.path.abspath(found) if os.path.exists(found) else found
            if place not in seen:
                seen.add(place)
                yield found


def _files_of(path: str, settings: SettingsFinder) -> Iterator[str]:
    if not os.path.isdir(path):
        yield path.removeprefix(os.curdir + os.sep)
        return
    for folder, folders, names in os.walk(path):
        here = settings.for_path(folder)
        folders[:] = sorted(
            name for name in folders if not name.startswith(".") and not here.excludes(os.path.join(folder, name))
        )
        for name in sorted(names):
            found = os.path.normpath(os.path.join(folder, name))
            if name.endswith(YAML_SUFFIXES) and not here.excludes(found):
                yield found
