"""Which files changed since a git revision: committed, staged, unstaged, and untracked but not ignored."""

from __future__ import annotations

import os

from kaitoc.compiler.core.errors import KaitocError


class GitError(KaitocError):
    """Git cannot say what changed; `str(error)` is for the user."""


def changed_since(revision: str) -> frozenset[str]:
    """Return the absolute, real paths of the files that differ from a revision and still exist; raises `GitError`."""
    if revision.startswith("-"):
        raise GitError(f"`{revision}` is not a git revision")
    root = _git("rev-parse", "--show-toplevel").removesuffix("\n")
    # From a folder below, git leaves out new files beside it, and with `diff.relative` all of what lies there.
    differing = _git("-C", root, "diff", "--name-only", "-z", "--diff-filter=d", revision, "--").split("\0")
    untracked = _git("-C", root, "ls-files", "--others", "--exclude-standard", "-z").split("\0")
    return frozenset(os.path.realpath(os.path.join(root, name)) for name in (*differing, *untracked) if name)


def _git(*arguments: str) -> str:
    import subprocess

    try:
        result = subprocess.run(["git", *arguments], capture_output=True, check=False)  # noqa: S603, S607
    except OSError as error:
        raise GitError(f"--changed-since needs git: {error.strerror}") from error
    if result.returncode:
        message = result.stderr.decode("utf-8", "replace").strip().partition("\n")[0]
        raise GitError(f"--changed-since: {message.removeprefix('fatal: ')}")
    return os.fsdecode(result.stdout)
