"""Path patterns of the settings, with the meaning they have in a `.gitignore`.

`*` and `?` stay within one folder, `**` crosses folders, `[...]` is a set. A pattern without a slash, other than
at its end, names a file or folder at any depth; another one starts at the settings file's folder. A pattern that
matches a folder matches everything below it.
"""

from __future__ import annotations

import os
import re
from functools import lru_cache


def matches_path(pattern: str, path: str, root: str) -> bool:
    """Return whether a pattern of the settings in folder `root` matches a path; never for one outside `root`."""
    try:
        inside = os.path.relpath(path, root).replace(os.sep, "/")
    except ValueError:  # another drive on Windows
        return False
    return inside not in (".", "..") and not inside.startswith("../") and bool(_compiled(pattern).match(inside))


@lru_cache(maxsize=256)
def _compiled(pattern: str) -> re.Pattern[str]:
    pattern = pattern.removeprefix("./").rstrip("/")
    prefix = "" if "/" in pattern else "(?:.*/)?"
    return re.compile(f"{prefix}{_translated(pattern.lstrip('/'))}(?:/.*)?\\Z", re.DOTALL)


def _translated(pattern: str) -> str:
    pieces = []
    for part in re.findall(r"\*\*/|\*+|\?|\[!?\]?[^\]]*\]|.", pattern, re.DOTALL):
        if part == "**/":
            pieces.append("(?:.*/)?")
        elif part.startswith("**"):
            pieces.append(".*")
        elif part == "*":
            pieces.append("[^/]*")
        elif part == "?":
            pieces.append("[^/]")
        elif len(part) > 1:
            pieces.append(_set(part[1:-1]))
        else:
            pieces.append(re.escape(part))
    return "".join(pieces)


def _set(content: str) -> str:
    negated = content.startswith("!")
    members = content[negated:].replace("\\", "\\\\").replace("[", "\\[").replace("]", "\\]").replace("^", "\\^")
    members = re.sub(r"([&~|])", r"\\\1", members)
    try:
        re.compile(f"[{members}]")
    except re.error:
        return re.escape(f"[{content}]")
    return f"(?!/)[{'^' if negated else ''}{members}]"
