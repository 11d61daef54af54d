"""From paths to the files of a data set: folders, files that are packed, and what `Dataset.save_to_disk` wrote."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from kaitoc.runtime.failures import DataFailure

FORMATS = {
    ".jsonl": "json", ".json": "json", ".csv": "csv", ".tsv": "tsv", ".parquet": "parquet", ".arrow": "arrow",
    ".txt": "text",
}  # fmt: skip
GZIP = ".gz"
_ZIPPED = ("json", "csv", "tsv", "text")
_SAVED, _SAVED_SPLITS = "state.json", "dataset_dict.json"
_OF_SAVED = (_SAVED, _SAVED_SPLITS, "dataset_info.json")
"""What `Dataset.save_to_disk` writes beside the data: which files there are, which splits, what the columns are."""
_ENDINGS = f"{', '.join(FORMATS)}, or {GZIP} behind a text format"


def format_of(path: Path) -> str | None:
    """Return the format that a file's name says, also that of a text format that is packed by gzip."""
    is_zipped = path.suffix.lower() == GZIP
    name = FORMATS.get(path.with_suffix("").suffix.lower() if is_zipped else path.suffix.lower())
    return None if is_zipped and name not in _ZIPPED else name


def data_files(paths: tuple[str, ...], format_name: str | None = None) -> list[Path]:
    """Return the data files that paths name, folders searched in order of names; raises `DataFailure` for none.

    `format_name` is how files are read whose names do not say so. Of what `save_to_disk` wrote with splits, `train`
    is read.
    """
    files: list[Path] = []
    for name in paths:
        path = _train_split(Path(name))
        if (path / _SAVED).is_file():
            files += _saved_files(path)
        elif path.is_dir():
            files += sorted(file for file in path.rglob("*") if _is_data(file, path, format_name))
        elif not path.exists():
            raise DataFailure(
                f"{name}: no such file or folder; --data names what is trained on, --eval-data what is evaluated"
            )
        elif format_name is not None or format_of(path) is not None:
            files.append(path)
        else:
            raise DataFailure(f"{name}: data files end in {_ENDINGS}")
    if not files:
        raise DataFailure(f"{', '.join(paths)}: no data file in it; data files end in {_ENDINGS}")
    return files


def _is_data(file: Path, folder: Path, format_name: str | None) -> bool:
    """Return whether a file below a folder is read.

    What is hidden is not, nor is anything in a hidden folder: a ConfigMap that is mounted has every file twice, once as
    a link and once in a folder that begins with two dots.
    """
    known = format_of(file)
    is_hidden = _is_hidden(file, folder) or file.name in _OF_SAVED
    return file.is_file() and not is_hidden and known is not None and format_name in (None, known)


def _is_hidden(place: Path, folder: Path) -> bool:
    return any(part.startswith(".") for part in place.relative_to(folder).parts)


def is_searched(folder: Path, place: Path) -> bool:
    """Return whether data files at a place are read with those of a folder."""
    is_saved = (folder / _SAVED).is_file() or (folder / _SAVED_SPLITS).is_file()
    return folder.is_dir() and not is_saved and place.is_relative_to(folder) and not _is_hidden(place, folder)


def other_splits(paths: tuple[str, ...]) -> list[str]:
    """Return the folders of splits beside the one that is read of each path."""
    roots = [Path(name) for name in paths]
    return [str(root / split) for root in roots for split in _splits(root) if root / split != _train_split(root)]


def _train_split(path: Path) -> Path:
    """Return the folder of the split to train on, or the path itself where there are none; raises `DataFailure`."""
    splits = _splits(path)
    if not splits or "train" in splits or len(splits) == 1:
        return path / ("train" if "train" in splits else splits[0]) if splits else path
    raise DataFailure(f"{path}: it has no split `train`; name one of its folders, such as {path / splits[0]}")


def _splits(path: Path) -> list[str]:
    return _saved(path / _SAVED_SPLITS, "splits") if (path / _SAVED_SPLITS).is_file() else []


def _saved_files(folder: Path) -> list[Path]:
    """Return the files of a data set as `save_to_disk` lists them: caches of its own lie beside them."""
    files = [folder / str(entry["filename"]) for entry in _saved(folder / _SAVED, "_data_files")]
    missing = next((file for file in files if not file.is_file()), None)
    if missing is not None:
        raise DataFailure(f"{missing}: missing, though {_SAVED} lists it; was the folder copied whole?")
    return files


def _saved(path: Path, key: str) -> list[Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))[key]
        if isinstance(value, list):
            return value
    except (OSError, ValueError, KeyError, TypeError):
        pass
    raise DataFailure(f"{path}: not a folder that `save_to_disk` wrote")
