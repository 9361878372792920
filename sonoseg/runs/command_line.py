"""What the four scripts share at the command line: common flags, exit codes, and the handling of errors."""

import argparse
import errno
import math
import os
import shlex
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from sonoseg.errors import SonoSegError, Stopped, UsageError, is_machine_error, machine_error, printable
from sonoseg.io.limits import MAX_PIXELS
from sonoseg.io.numbers import parse_integer, parse_number
from sonoseg.runs.checkout import default_workspace
from sonoseg.runs.signals import one_interrupt
from sonoseg.runs.streams import lasting_streams
from sonoseg.sizes import Spacing

_REMEDIES = {
    errno.EACCES: "choose a folder or file that you may use",
    errno.ELOOP: "links that lead back to themselves; remove them, or choose another path",
    errno.ENAMETOOLONG: "choose a shorter name",
    errno.ENOTDIR: "a file is where a folder is expected; move it, or choose another folder",
}

INTERRUPTED = "interrupted; finished outputs are intact, run the same command to continue"
MOST_PIXELS = 10**12
EXIT_OK, EXIT_SOME_FAILED, EXIT_WRONG_USE, EXIT_INTERRUPTED = 0, 1, 2, 130


class _Help(argparse.ArgumentDefaultsHelpFormatter):
    """Shows default values; those that are None are described in the flag's own help text."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        return action.help if action.default is None else super()._get_help_string(action)


class _StageParser(argparse.ArgumentParser):
    """Also stores the command line as `command`, for the record of the run."""

    def parse_args(self, args: Any = None, namespace: Any = None) -> Any:
        given = list(sys.argv[1:] if args is None else args)
        for text in given:
            if any("\ud800" <= letter <= "\udfff" for letter in text):  # tables and records are UTF-8, which has none
                self.error(
                    f"found {printable(text)}, no text in {sys.getfilesystemencoding()}; set PYTHONUTF8=1, or rename"
                )
        parsed = super().parse_args(given, namespace)
        parsed.command = [self.prog, *given]
        return parsed


def stage_parser(description: str) -> argparse.ArgumentParser:
    """Return a parser with the flags of every stage: --task, --workspace and --max-pixels.

    Parsed arguments have one more attribute, `command`: the script's name and its arguments.
    """
    parser = _StageParser(description=description, formatter_class=_Help)
    parser.add_argument("--task", default="spine", help="name of a task in sonoseg/tasks, or the path of a task file")
    parser.add_argument(
        "--workspace",
        type=path_type,
        default=default_workspace(),
        help="folder that contains Datasets/, Models/, result/ and logs/",
    )
    parser.add_argument(
        "--max-pixels",
        type=number_type(int, 1, MOST_PIXELS),
        default=MAX_PIXELS,
        metavar="N",
        help="pictures that declare more than N pixels (width times height) are refused before they are decoded",
    )
    return parser


def spacing_of(texts: Sequence[str] | None) -> Spacing | None:
    """Return (row_mm, col_mm) from one or two numbers. Raises UsageError for any other values."""
    if texts is None:
        return None
    try:
        values = [parse_number(text) for text in texts]
    except ValueError as problem:
        raise UsageError(f"--spacing {' '.join(texts)}: {problem}") from None
    if len(values) > 2 or min(values) <= 0:
        raise UsageError(f"--spacing {' '.join(texts)}: expected one or two numbers above 0, mm per pixel")
    return values[0], values[-1]


def next_command(script: str, arguments: argparse.Namespace) -> str:
    """Return the command of the next stage, with the same task and workspace."""
    elsewhere = [] if arguments.workspace == default_workspace() else ["--workspace", str(arguments.workspace)]
    return shlex.join(["python", script, "--task", str(arguments.task), *elsewhere])


def number_type(kind: type[int] | type[float], low: float, high: float) -> Callable[[str], float]:
    """Return an argparse type that accepts an integer, or any plain number, from `low` to `high`."""

    def parse(text: str) -> float:
        try:
            value = parse_integer(text) if kind is int else parse_number(text)
        except ValueError:
            value = math.nan
        if not low <= value <= high:
            found = printable(text if len(text) <= 40 else f"{text[:37]}...")
            raise argparse.ArgumentTypeError(f"found {found}; expected a number from {low} to {high}")
        return value

    return parse


TOOL_FORMATS = ("labelme", "coco", "cvat", "label_studio", "shapes_json")
"""Annotation formats that have shapes; here, as the formats themselves take long to import."""

SEED = number_type(int, 0, 2**32 - 1)
JOBS = number_type(int, 1, 1024)
"""Number of threads or processes."""


def path_type(text: str) -> Path:
    """Return the path of a flag; argparse names the flag when no file can have it."""
    try:
        os.stat(text)
        return Path(text)
    except ValueError:
        problem = "a path with a NUL, or no text in the locale's encoding"
    except OSError as error:
        if error.errno not in (errno.ELOOP, errno.ENAMETOOLONG):
            return Path(text)
        problem = str(error.strerror)
    found = printable(text if len(text) <= 80 else f"{text[:77]}...")
    raise argparse.ArgumentTypeError(f"found {found}: {problem}; expected the path of a file or folder")


def run_guarded(run_stage: Callable[[Sequence[str] | None], int], argv: Sequence[str] | None = None) -> int:
    """Call `run_stage(argv)` and turn every failure into one message on stderr and an exit code.

    Returns the exit code of `run_stage`; 2 for a SonoSegError, an error of the machine (no memory, no space) or of
    the operating system (unwritable folder); 130 when interrupted; 128 plus the signal's number when a signal stopped
    the run after it was saved. A reader of the output that goes away changes nothing; an output that could not be
    written makes 2 of a 0. With `argv` None, the command line of a process that then ends, a later Ctrl-C is ignored.
    With SONOSEG_DEBUG=1 in the environment the traceback is printed too.
    """
    with one_interrupt(argv is None, INTERRUPTED), lasting_streams() as (out, _):
        code = _guarded(run_stage, argv)
        out.flush()
        if out.error is not None and code == EXIT_OK:
            reason = out.error.strerror or out.error
            code = _end(f"standard output: {reason}; the run is complete, only its messages are lost", EXIT_WRONG_USE)
    return code


def _guarded(run_stage: Callable[[Sequence[str] | None], int], argv: Sequence[str] | None) -> int:
    try:
        return run_stage(argv)
    except SystemExit as end:  # argparse has printed its message or the help
        return end.code if isinstance(end.code, int) else EXIT_OK
    except KeyboardInterrupt:
        return _end(INTERRUPTED, EXIT_INTERRUPTED)
    except Stopped as stop:
        return _end(str(stop), stop.code)
    except SonoSegError as error:
        return _end(str(error), EXIT_WRONG_USE)
    except UnicodeEncodeError as error:
        return _end(
            f"{error.object[error.start : error.end]!a} cannot be part of a name or text in {error.encoding}, which "
            "the locale decides; set PYTHONUTF8=1 and run the same command again",
            EXIT_WRONG_USE,
        )
    except Exception as error:
        if _is_interrupt(error):
            return _end(INTERRUPTED, EXIT_INTERRUPTED)
        if is_machine_error(error):
            return _end(str(machine_error(error)), EXIT_WRONG_USE)
        if not isinstance(error, OSError):
            return _end(
                f"unexpected {type(error).__name__}: {error}. This is a bug of SonoSeg: please report it with the "
                "output of the same command under SONOSEG_DEBUG=1",
                EXIT_WRONG_USE,
            )
        where = f"{error.filename}: " if error.filename else ""
        remedy = _REMEDIES.get(error.errno or 0, "check the file and run the same command again")
        return _end(f"{where}{error.strerror or error}; {remedy}", EXIT_WRONG_USE)


def _is_interrupt(error: BaseException | None) -> bool:
    """Return whether Ctrl-C caused the error: while a class is created, Python turns it into a RuntimeError."""
    while error is not None:
        if isinstance(error, KeyboardInterrupt):
            return True
        error = error.__cause__
    return False


def _end(message: str, code: int) -> int:
    if os.environ.get("SONOSEG_DEBUG"):
        import traceback

        traceback.print_exc()
    print(f"error: {message}" if code == EXIT_WRONG_USE else message, file=sys.stderr)
    return code
