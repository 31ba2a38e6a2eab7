"""How a command ends: an exit code, and one message where it failed."""

import contextlib
import sys
import traceback

import typer
from rich.console import Console
from rich.markup import escape

DONE, REFUSED, USAGE, FILES, MISSING, BUG = 0, 1, 2, 3, 4, 70
INTERRUPTED = 130

_WORDS = {
    REFUSED: "refused",
    FILES: "file",
    MISSING: "missing",
    BUG: "unexpected error",
}


@contextlib.contextmanager
def outcome(debug=False):
    """Turns whatever is raised inside into a message and an exit code.

    Args:
        debug: bool, whether the traceback is shown too.

    Raises:
        typer.Exit: with one of the codes above.
    """
    try:
        yield
    except (typer.Exit, typer.Abort, typer.BadParameter):
        raise
    except KeyboardInterrupt:
        _say("interrupted: no file is half written")
        raise typer.Exit(INTERRUPTED) from None
    except Exception as error:
        if debug:
            traceback.print_exc(file=sys.stderr)
        code = code_of(error)
        message = str(error) or type(error).__name__
        if code == BUG:
            message = f"{type(error).__name__}: {message}"
            if not debug:
                message += "\nRun it again with --debug to see where."
        _say(f"{_WORDS[code]}: {message}")
        raise typer.Exit(code) from None


def code_of(error):
    """The exit code of an exception.

    Example:

    >>> code_of(FileNotFoundError()), code_of(ImportError())
    (3, 4)
    """
    # Only where Keras was imported can growing have been refused.
    errors = sys.modules.get("kgrow.algebra.errors")
    if isinstance(error, OSError):
        return FILES
    if errors is not None and isinstance(error, errors.GrowthError):
        return REFUSED
    if isinstance(error, ImportError):
        own = (error.name or "").split(".")[0] == "kgrow"
        return BUG if own else MISSING
    return BUG


def _say(message):
    console = Console(stderr=True, highlight=False, soft_wrap=True)
    console.print(f"[bold red]kgrow[/] {escape(message)}")
