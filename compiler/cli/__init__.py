"""The command line: a plain `kaitoc check` is answered at once, everything else by one module per command."""

from __future__ import annotations

import errno
import gc
import os
import sys

from kaitoc.compiler.core.errors import KaitocError

TYPE_CHECKING = False  # as `typing` has it
if TYPE_CHECKING:
    from kaitoc.compiler.cli.group import COMMANDS as COMMANDS
    from kaitoc.compiler.cli.group import cli as cli


EXIT_UNREAD = 128 + 13
_OUTPUT_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)
"""What writing to a full or a failing device raises."""


class Answered(SystemExit):
    """A plain check has been answered, or an editor has left, and nothing is left to do."""

    def __init__(self, exit_code: int) -> None:
        super().__init__(exit_code)
        self.exit_code = exit_code


def main_process() -> None:
    """Run the command line as all that this process does.

    A plain check ends it at once, as mypy does: taking a process's objects apart takes a thirtieth of a check.
    """
    try:
        main()
    except Answered as answered:
        from atexit import _run_exitfuncs as run_exit_functions  # as Python does, which then takes all apart

        run_exit_functions()
        for stream in (sys.stdout, sys.stderr):
            if not stream.closed:  # a language server closes its own
                stream.flush()
        os._exit(answered.exit_code)


def main() -> None:
    """Run the command line; errors that are not the user's are named as such, without a traceback."""
    _open_closed_streams()
    # A check makes many small objects and few cycles: collecting seldom saves a fifth of its time.
    gc.set_threshold(500_000, 50, 50)
    try:
        _run(sys.argv[1:])
    except BrokenPipeError:
        sys.exit(_unread())
    except RecursionError:
        sys.exit(_fail("the input is nested too deeply"))
    except KaitocError as error:
        sys.exit(_fail(str(error)))
    except OSError as error:
        if error.filename is not None or error.errno not in _OUTPUT_ERRORS:
            raise
        sys.exit(_fail(f"cannot write to standard output: {error.strerror}"))
    except Exception as error:
        if os.environ.get("KAITOC_DEBUG"):
            raise
        sys.exit(_fail(f"internal error ({type(error).__name__}: {error}); set KAITOC_DEBUG=1 to see where"))
    finally:
        # What is left goes with the process: looking for cycles in it takes a tenth of a check.
        gc.freeze()


def _unread() -> int:
    """Close the output that nobody reads any more, as in `kaitoc rules | head`; return the exit code.

    It is the code that a shell shows for a command that SIGPIPE ended, such as kubectl, and not that of findings.
    """
    from contextlib import suppress  # whoever reads to the end does without

    with suppress(OSError):  # output that is no file, as under a test
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return EXIT_UNREAD


def _open_closed_streams() -> None:
    """Give a process that was started without output, as by `>&-`, output that goes nowhere."""
    if sys.stdout is None:
        sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115  (until the process ends)
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115


def _run(arguments: list[str]) -> None:
    """Run a command, which exits with its code."""
    from kaitoc.compiler.cli.plain_check import plain_check  # after the collector was told to wait

    options = plain_check(arguments, os.environ)
    if options is None:
        from kaitoc.compiler.cli.group import UnreadOutputError, cli  # click takes long to import

        try:
            cli(prog_name="kaitoc")
        except UnreadOutputError as unread:
            raise unread.error from None
        return
    from kaitoc.compiler.cli.check_options import run_check

    try:
        code = run_check(options)
        sys.stdout.flush()
    except KeyboardInterrupt:
        from kaitoc.compiler.cli.console import stopped  # a check that is not stopped does without

        sys.exit(stopped())
    except BrokenPipeError:
        raise
    except (EOFError, OSError) as error:
        _end_by_click(error)
    else:
        raise Answered(code)


def _end_by_click(error: BaseException) -> None:
    """End as every command does whose input ends early."""
    import click  # a check that ends otherwise does without

    @click.command()
    def ended() -> None:
        raise error

    ended(args=[], prog_name="kaitoc")


def _fail(message: str) -> int:
    from kaitoc.compiler.cli.console import complain

    complain(message)
    return 2


def __getattr__(name: str) -> object:
    """Load the commands when something asks for them: a plain check does without click."""
    if name not in ("COMMANDS", "cli"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from kaitoc.compiler.cli import group

    value: object = getattr(group, name)
    return value
