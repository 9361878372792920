"""What the four scripts share at the command line: their common flags and how an error ends them."""

import argparse
import errno
import math
import os
import shlex
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from sonoseg.errors import SonoSegError, Stopped
from sonoseg.io.limits import MAX_PIXELS, set_max_pixels

REPOSITORY = Path(__file__).resolve().parents[2]

_REMEDIES = {
    errno.ENOSPC: "free some space and run the same command again",
    errno.EDQUOT: "free some space and run the same command again",
    errno.EROFS: "choose a folder that can be written",
    errno.EACCES: "choose a folder or file that you may use",
    errno.ENOTDIR: "a file stands where a folder is expected; move it, or choose another folder",
}

EXIT_OK, EXIT_SOME_FAILED, EXIT_WRONG_USE, EXIT_INTERRUPTED = 0, 1, 2, 130


class _Help(argparse.ArgumentDefaultsHelpFormatter):
    """Shows defaults, and not those that are decided later: their help says by what."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        return action.help if action.default is None else super()._get_help_string(action)


class _StageParser(argparse.ArgumentParser):
    """Also says what was typed, in `command`: a run records it. And sets the limit for pictures."""

    def parse_args(self, args: Any = None, namespace: Any = None) -> Any:
        parsed = super().parse_args(args, namespace)
        parsed.command = [self.prog, *(sys.argv[1:] if args is None else args)]
        set_max_pixels(parsed.max_pixels)
        return parsed


def stage_parser(description: str) -> argparse.ArgumentParser:
    """Return a parser with the flags that every stage takes: --task, --workspace and --max-pixels.

    What it parses has, beside the flags, `command`: the script's name and all that was typed after it.
    """
    parser = _StageParser(description=description, formatter_class=_Help)
    parser.add_argument("--task", default="spine", help="name of a task in sonoseg/tasks, or a task file of your own")
    parser.add_argument(
        "--workspace", type=Path, default=REPOSITORY, help="folder that holds Datasets/, Models/, result/ and logs/"
    )
    parser.add_argument(
        "--max-pixels",
        type=number_type(int, 1),
        default=MAX_PIXELS,
        metavar="N",
        help="pictures that declare more than N pixels (width times height) are refused before they are decoded",
    )
    return parser


def next_command(script: str, arguments: argparse.Namespace) -> str:
    """Return what to type for the stage after this one, with the same task and workspace."""
    elsewhere = [] if arguments.workspace == REPOSITORY else ["--workspace", str(arguments.workspace)]
    return shlex.join(["python", script, "--task", str(arguments.task), *elsewhere])


def number_type(kind: Callable[[str], float], low: float, high: float = math.inf) -> Callable[[str], float]:
    """Return an argparse type: a number from `low` to `high`, anything else is refused with one sentence."""

    def parse(text: str) -> float:
        try:
            value = kind(text)
        except ValueError:
            value = math.nan
        if not low <= value <= high:
            allowed = f"a number from {low:g} to {high:g}" if math.isfinite(high) else f"at least {low:g}"
            raise argparse.ArgumentTypeError(f"found {text}; expected {allowed}")
        return value

    return parse


SEED = number_type(int, 0, 2**32 - 1)


def run_guarded(story: Callable[[Sequence[str] | None], int], argv: Sequence[str] | None = None) -> int:
    """Run a script's story and turn every failure into one message on stderr and an exit code.

    Returns the story's own code; 2 for a SonoSegError or an operating-system error (no space, unwritable folder);
    130 when interrupted; 128 plus its number for a signal after which the run was saved. Set SONOSEG_DEBUG=1 to see the
    traceback of any of them.
    """
    try:
        return story(argv)
    except SystemExit as end:  # argparse: it has said what is wrong, or shown the help
        return end.code if isinstance(end.code, int) else EXIT_OK
    except KeyboardInterrupt:
        return _end("interrupted; finished outputs are intact, run the same command to continue", EXIT_INTERRUPTED)
    except Stopped as stop:
        return _end(str(stop), stop.code)
    except SonoSegError as error:
        return _end(str(error), EXIT_WRONG_USE)
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        remedy = _REMEDIES.get(error.errno or 0, "check the file and run the same command again")
        return _end(f"{where}{error.strerror or error}; {remedy}", EXIT_WRONG_USE)
    except Exception as error:
        return _end(
            f"unexpected {type(error).__name__}: {error}. This is a fault of SonoSeg: please report it with the "
            "output of the same command under SONOSEG_DEBUG=1",
            EXIT_WRONG_USE,
        )


def _end(message: str, code: int) -> int:
    if os.environ.get("SONOSEG_DEBUG"):
        import traceback

        traceback.print_exc()
    print(f"error: {message}" if code == EXIT_WRONG_USE else message, file=sys.stderr)
    return code
