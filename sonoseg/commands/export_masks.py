"""`sonoseg export-masks`: the label maps of an archive's results as files."""

import argparse
from typing import Any

from sonoseg.errors import printable
from sonoseg.runs.command_line import EXIT_OK, path_type


def add(commands: Any) -> None:
    """Add the command and its flags."""
    purpose = "write the label maps of an archive's results as files again"
    masks = commands.add_parser("export-masks", help=purpose, description=f"{purpose[0].upper()}{purpose[1:]}.")
    masks.add_argument("folder", metavar="OUT_FOLDER", type=path_type, help="output folder of --results parquet")
    masks.add_argument("target", metavar="TARGET", type=path_type, help="folder to write: a new one, or an empty one")
    masks.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Write the label maps of an archive's results as files, and print how many."""
    from sonoseg.archive.export_masks import export_masks

    number = sum(1 for _ in export_masks(arguments.folder, arguments.target))
    print(printable(f"{number} label maps written to {arguments.target}; not for clinical use"))
    return EXIT_OK
