"""`sonoseg new-task`: the task file of a folder."""

import argparse
import re
import shlex
from pathlib import Path
from typing import Any

from sonoseg.errors import printable
from sonoseg.runs.command_line import EXIT_OK, number_type, path_type


def add(commands: Any) -> None:
    """Add the command and its flags."""
    purpose = "look at a folder of annotated images, and write the task file for it"
    new = commands.add_parser("new-task", help=purpose, description=f"{purpose[0].upper()}{purpose[1:]}.")
    new.add_argument("folder", type=path_type, help="folder of images and annotations, as stage 1 takes it")
    new.add_argument("--name", help="name of the task (default: from the folder's)")
    new.add_argument("--out", type=path_type, help="task file to write (default: NAME.yaml here); never overwritten")
    new.add_argument(
        "--minutes", type=number_type(float, 1, 100_000), default=30, help="length of a training on this machine"
    )
    new.add_argument("--list", action="store_true", help="write nothing: print what was recognised, as JSON")
    new.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Write the task file of a folder, and a picture of six images; print what was recognised and what comes next."""
    from sonoseg.errors import UsageError
    from sonoseg.new_task.findings import look_at, task_name
    from sonoseg.new_task.similar import with_similar_groups
    from sonoseg.new_task.task_text import findings_json, findings_lines
    from sonoseg.new_task.writing import check_target, write_task
    from sonoseg.schema.task_files import available_tasks

    name = arguments.name or task_name(arguments.folder, available_tasks())
    if not re.fullmatch(r"[a-z][a-z0-9_]{0,99}", name) or name == "auto":
        raise UsageError(f"--name {name!a}: expected small letters, digits and underscores, a letter first, not auto")
    out = arguments.out or Path(f"{name}.yaml")
    if not arguments.list:
        try:
            check_target(out)
        except UsageError as problem:
            raise UsageError(f"{problem}, with --out") from None
    findings = with_similar_groups(look_at(arguments.folder))
    if arguments.list:
        print(findings_json(findings))
        return EXIT_OK
    picture = write_task(out, name, findings, arguments.minutes)
    for line in findings_lines(findings):
        print(printable(line))
    print(printable(f"written: {out}"))
    print(printable(f"look at: {picture}") if picture else "no picture: stage 1 would refuse each image")
    data = shlex.quote(str(arguments.folder))
    print(printable(f"next: python train_test_data_preparation.py --task {shlex.quote(str(out))} --data {data}"))
    return EXIT_OK
