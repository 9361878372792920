"""`sonoseg convert`: a folder in another annotation format."""

import argparse
from typing import Any

from sonoseg.errors import printable
from sonoseg.runs.command_line import EXIT_OK, TOOL_FORMATS, path_type


def add(commands: Any) -> None:
    """Add the command and its flags."""
    purpose = "write annotated images into a new folder, in another annotation format"
    convert = commands.add_parser("convert", help=purpose, description=f"{purpose[0].upper()}{purpose[1:]}.")
    convert.add_argument("folder", metavar="IN", type=path_type, help="folder of images and annotations")
    convert.add_argument("out", metavar="OUT", type=path_type, help="folder to write: a new one, or an empty one")
    formats = (*TOOL_FORMATS, "mask_folder")
    convert.add_argument("--to", choices=formats, required=True, help="annotation format to write")
    convert.add_argument("--task", help="task whose annotations are in IN (default: layout and classes are recognised)")
    convert.add_argument("--from", dest="only", choices=formats, help="annotation format to read, where IN has several")
    convert.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Write a data folder in another annotation format; print what became of the annotations."""
    from sonoseg.convert.dataset import check_out, convert
    from sonoseg.convert.source import annotated_folder
    from sonoseg.schema.task_files import load_draft

    check_out(arguments.out, arguments.folder)
    draft = load_draft(arguments.task) if arguments.task else None
    source = annotated_folder(arguments.folder, draft, arguments.only)
    for line in convert(source, arguments.out, arguments.to):
        print(printable(line))
    return EXIT_OK
