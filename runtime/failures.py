"""Failures that a user can cause or mend; each becomes one message and an exit code."""

from __future__ import annotations

from kaitoc.compiler.core.errors import KaitocError

EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_OUT_OF_MEMORY = 3
EXIT_INTERRUPTED = 130
EXIT_TERMINATED = 143
EXIT_CODES = frozenset({0, EXIT_FAILED, EXIT_USAGE, EXIT_OUT_OF_MEMORY, EXIT_INTERRUPTED, EXIT_TERMINATED})
"""All that a run ends with. 2 and 3 are final: the same command ends the same way; 1 may pass when it is repeated."""
_MAX_CHARACTERS = 300


class RunFailure(KaitocError):  # noqa: N818  (the name says what it means to the user)
    """A run that cannot go on, but may when it is repeated; `str(error)` is for the user."""

    exit_code = EXIT_FAILED


class FinalFailure(RunFailure):
    """A run that fails again when the same command is repeated, so that nothing should retry it."""

    exit_code = EXIT_USAGE


class DataFailure(FinalFailure):
    """Training data that is missing, empty, truncated or of the wrong shape."""


class ModelFailure(FinalFailure):
    """A model or tokenizer that cannot be loaded, or that is incompatible with the adapter."""


class PlanFailure(FinalFailure):
    """A plan that no run can follow, or one that differs from the run in the output folder."""


class OutputRefused(FinalFailure):
    """An output folder that a run cannot or must not write into."""


class OutputFailure(RunFailure):
    """A write that failed while the run went on: a full disk, a storage error."""


class NetworkFailure(RunFailure):
    """A download that failed in all its attempts."""


class Stopped(RunFailure):
    """The run was asked to stop; `exit_code` says by which signal."""

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code


class OutOfMemory(RunFailure):
    """A run that does not fit the memory of its device."""

    exit_code = EXIT_OUT_OF_MEMORY


def in_words(error: BaseException) -> str:
    """Return the message of a library's error, on one line of bounded length, or its name when it says nothing."""
    said = " ".join(str(error).split())
    return (said if len(said) <= _MAX_CHARACTERS else said[:_MAX_CHARACTERS] + "...") or type(error).__name__
