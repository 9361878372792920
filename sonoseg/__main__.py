"""The command `sonoseg` (also `python -m sonoseg`): tools beside the four scripts, such as `sonoseg verify PATH...`."""

import argparse
import sys
from collections.abc import Sequence

from sonoseg.commands import convert, dicom_node, export, models, new_task, quantize, review, suggest, verify
from sonoseg.runs.command_line import run_guarded


def parse_arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="sonoseg", description="Tools beside the four scripts.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for command in (new_task, convert, verify, models, export, quantize, dicom_node, review, suggest):
        command.add(commands)
    return parser.parse_args(argv)


def run_tool(argv: Sequence[str] | None) -> int:
    arguments = parse_arguments(argv)
    code: int = arguments.run(arguments)
    return code


def main(argv: Sequence[str] | None = None) -> int:
    """Run a tool; `verify` returns 0 when all files are unchanged, 1 when not, 2 for wrong use."""
    return run_guarded(run_tool, argv)


if __name__ == "__main__":
    sys.exit(main())
