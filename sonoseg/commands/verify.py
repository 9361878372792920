"""`sonoseg verify`: are files those that the stages wrote?"""

import argparse
import sys
from collections import Counter
from typing import Any

from sonoseg.errors import printable
from sonoseg.runs.command_line import EXIT_OK, EXIT_SOME_FAILED, path_type


def add(commands: Any) -> None:
    """Add the command and its flags."""
    purpose = "check that datasets, models and results are byte for byte the files that the stages wrote"
    verify = commands.add_parser(
        "verify",
        help=purpose,
        description=f"{purpose[0].upper()}{purpose[1:]}. Exit code 0: all are; 1: a file differs; 2: wrong use.",
    )
    verify.add_argument(
        "paths",
        type=path_type,
        nargs="+",
        metavar="PATH",
        help="a folder such as Train_Test_Dataset/spine, Models/spine or result/spine, or a file in one",
    )
    verify.add_argument("--list", action="store_true", help="also list the unchanged files")
    verify.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Compare files with the lists that the stages wrote; see `sonoseg verify --help` for the exit code."""
    from rich.progress import track

    from sonoseg.models.engines.verify import check_engines, engine_folders, is_in_engines
    from sonoseg.models.model_header import check_unlisted
    from sonoseg.runs.verify import STATUSES, compare, plan

    engines = list(dict.fromkeys(folder for path in arguments.paths for folder in engine_folders(path)))
    entries, findings = plan([path for path in arguments.paths if not is_in_engines(path, engines)])
    findings = [check_unlisted(finding) for finding in findings]
    findings += [finding for folder in engines for finding in check_engines(folder)]
    progress = track(entries, "verify", disable=not sys.stderr.isatty(), transient=True)
    findings += [compare(entry) for entry in progress]
    for finding in sorted(findings, key=lambda finding: finding.path):
        if finding.status != "ok" or arguments.list:
            note = f": {printable(finding.note)}" if finding.note else ""
            print(f"{finding.status:9} {printable(str(finding.path))}{note}")
    count = Counter(finding.status for finding in findings)
    print(f"{len(findings)} checked: {', '.join(f'{count[status]} {status}' for status in STATUSES)}")
    if count["ok"] == len(findings) > 0:
        return EXIT_OK
    if count["changed"] or count["missing"]:
        print("restore changed and missing files from a copy, or run the stage that wrote them again")
    return EXIT_SOME_FAILED
