"""The command line: a plain `kaitoc check` is answered at once, everything else by one module per command."""

from __future__ import annotations

import gc
import os
import sys

from kaitoc.compiler.core.errors import KaitocError

TYPE_CHECKING = False  # as `typing` has it
if TYPE_CHECKING:
    from kaitoc.compiler.cli.group import COMMANDS as COMMANDS
    from kaitoc.compiler.cli.group import cli as cli


def main() -> None:
    """Run the command line; errors that are not the user's are named as such, without a traceback."""
    # A check makes many small objects and few cycles: collecting seldom saves a fifth of its time.
    gc.set_threshold(500_000, 50, 50)
    try:
        sys.exit(_run(sys.argv[1:]))
    except BrokenPipeError:
        # The reader of our output has gone (`kaitoc check | head`); there is nobody left to tell.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except RecursionError:
        sys.exit(_fail("the input is nested too deeply"))
    except KaitocError as error:
        sys.exit(_fail(str(error)))
    except Exception as error:
        if os.environ.get("KAITOC_DEBUG"):
            raise
        sys.exit(_fail(f"internal error ({type(error).__name__}: {error}); set KAITOC_DEBUG=1 to see where"))
    finally:
        # What is left goes with the process: looking for cycles in it takes a tenth of a check.
        gc.freeze()


def _run(arguments: list[str]) -> int:
    """Run a command; return its exit code, unless click exits with it."""
    from kaitoc.compiler.cli.plain_check import plain_check  # after the collector was told to wait

    options = plain_check(arguments, os.environ)
    if options is None:
        return _run_by_click()
    from kaitoc.compiler.cli.check_options import run_check

    try:
        return run_check(options)
    except (EOFError, KeyboardInterrupt, OSError) as error:
        return _end_by_click(error)


def _run_by_click() -> int:
    from kaitoc.compiler.cli.group import cli  # a plain check does without click, which takes long to import

    cli(prog_name="kaitoc")
    return 0


def _end_by_click(error: BaseException) -> int:
    """End as every command does that is interrupted, or whose output nobody reads."""
    import click  # a check that ends otherwise does without

    @click.command()
    def interrupted() -> None:
        raise error

    interrupted(args=[], prog_name="kaitoc")
    return 0


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
