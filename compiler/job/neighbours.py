"""Which files can hold manifests, and those of a folder, in which the partners of an object are looked for."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator

from kaitoc.compiler.core.source import Source, SourceError
from kaitoc.compiler.manifest.recognition import DATA_KEY, KAITO_API_GROUP, PLAN_LABEL, SERVING_DATA_KEY

YAML_SUFFIXES = (".yaml", ".yml")
JSON_SUFFIX = ".json"
_MAX_NEIGHBOURS = 1000


def files_of_kaito_in(
    folder: str, is_known: Callable[[str], bool], names_sought: tuple[str, ...] = ()
) -> Iterator[str]:
    """Yield the paths of a folder's YAML files that name something of Kaito's, without those that are known.

    With `names_sought` only files that mention one of them are yielded. Files that cannot be read are passed over, as
    are all after the first 1,000.
    """
    for path in _yaml_files(folder):
        normal_path = os.path.normpath(path)
        if is_known(path) or is_known(normal_path):
            continue
        try:
            text = Source.read(normal_path).text
        except SourceError:
            continue
        if names_kaito(text) and (not names_sought or any(name in text for name in names_sought)):
            yield normal_path


def names_kaito(text: str) -> bool:
    """Return whether a text can hold something of Kaito's, the key of a training config, or a plan."""
    return any(word in text for word in (DATA_KEY, SERVING_DATA_KEY, KAITO_API_GROUP, PLAN_LABEL))


def _yaml_files(folder: str) -> Iterable[str]:
    try:
        names = sorted(name for name in os.listdir(folder) if name.endswith(YAML_SUFFIXES))
    except OSError:
        return []
    paths = [os.path.join(folder, name) if folder != "." else name for name in names[:_MAX_NEIGHBOURS]]
    return [path for path in paths if os.path.isfile(path)]  # a pipe would be waited for
