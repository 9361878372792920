"""Tools beside the four scripts: python -m sonoseg verify PATH..."""

import argparse
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from sonoseg.runs.command_line import EXIT_OK, EXIT_SOME_FAILED, run_guarded


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m sonoseg", description="Tools beside the four scripts.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    says = "tell whether datasets, models and results are still, byte for byte, what the stages wrote"
    verify = commands.add_parser(
        "verify",
        help=says,
        description=f"{says[0].upper()}{says[1:]}. Exit code 0: all of it; 1: something differs; 2: wrong use.",
    )
    verify.add_argument(
        "paths",
        type=Path,
        nargs="+",
        metavar="PATH",
        help="a folder such as Train_Test_Dataset/spine, Models/spine or result/spine, or a file in one",
    )
    verify.add_argument("--list", action="store_true", help="name the files that are as they were, too")
    return parser.parse_args(argv)


def story(argv: Sequence[str] | None) -> int:
    arguments = parse(argv)

    from rich.progress import track

    from sonoseg.models.model_header import check_unlisted
    from sonoseg.runs.verify import STATUSES, compare, plan

    entries, findings = plan(arguments.paths)
    findings = [check_unlisted(one) for one in findings]
    watched = track(entries, "verify", disable=not sys.stderr.isatty(), transient=True)
    findings += [compare(entry) for entry in watched]
    for one in sorted(findings, key=lambda one: one.path):
        if one.status != "ok" or arguments.list:
            print(f"{one.status:9} {printable(str(one.path))}{f': {printable(one.note)}' if one.note else ''}")
    count = Counter(one.status for one in findings)
    print(f"{len(findings)} checked: {', '.join(f'{count[status]} {status}' for status in STATUSES)}")
    if count["ok"] == len(findings) > 0:
        return EXIT_OK
    if count["changed"] or count["missing"]:
        print("take what is changed or missing from a copy, or run the stage that wrote it again")
    return EXIT_SOME_FAILED


def printable(text: str) -> str:
    """Return text for a terminal: line ends, control characters and undecodable bytes of file names as escapes."""
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)


def main(argv: Sequence[str] | None = None) -> int:
    """Run a tool; `verify` returns 0 when all files are as they were written, 1 when not, 2 for wrong use."""
    return run_guarded(story, argv)


if __name__ == "__main__":
    sys.exit(main())
