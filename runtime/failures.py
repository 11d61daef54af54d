"""Failures that a user can cause or mend; each becomes one message and an exit code."""

from __future__ import annotations

EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_OUT_OF_MEMORY = 3
EXIT_INTERRUPTED = 130
EXIT_TERMINATED = 143
_MAX_CHARACTERS = 300


class RunFailure(Exception):  # noqa: N818  (the name says what it means to the user)
    """A run that cannot start or go on; `str(error)` is for the user."""

    exit_code = EXIT_FAILED


class DataFailure(RunFailure):
    """Training data that is missing, empty, truncated or of the wrong shape."""


class ModelFailure(RunFailure):
    """A model or tokenizer that cannot be loaded, or that does not go with the adapter."""


class OutputFailure(RunFailure):
    """An output folder that cannot be written."""


class PlanFailure(RunFailure):
    """A plan that no run can follow."""


class Terminated(RunFailure):
    """The run was asked to stop and saved a checkpoint."""

    exit_code = EXIT_TERMINATED


class OutOfMemory(RunFailure):
    """A run that does not fit the memory of its device."""

    exit_code = EXIT_OUT_OF_MEMORY


def in_words(error: BaseException) -> str:
    """Return what an error of a library says, on one line of bounded length, or its name when it says nothing."""
    said = " ".join(str(error).split())
    return (said if len(said) <= _MAX_CHARACTERS else said[:_MAX_CHARACTERS] + "...") or type(error).__name__
