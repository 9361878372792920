"""Writes the task file and its picture; an existing file is never changed."""

import os
from pathlib import Path

import numpy as np

from sonoseg.annotations import FORMATS
from sonoseg.annotations.base import matching_folders
from sonoseg.errors import UsageError
from sonoseg.io.files import write_text
from sonoseg.io.masks import decode_label_map, rgb
from sonoseg.io.png import write_image
from sonoseg.io.readers import read_image
from sonoseg.new_task.findings import Findings
from sonoseg.new_task.task_text import task_text
from sonoseg.prepare.reading.regions import images_of
from sonoseg.prepare.statistics import evenly
from sonoseg.prepare.verify import check
from sonoseg.reporting.drawing import thumbnail
from sonoseg.reporting.image_text import legend
from sonoseg.schema.annotation_formats import section_of
from sonoseg.schema.task import Task
from sonoseg.schema.task_files import load_draft, task_of
from sonoseg.types import Picture

PICTURES, COLUMNS, WIDTH, GAP = 6, 3, 420, 6
"""Of the picture: images, images in a row, and sizes in pixels."""


def picture_path(file: Path) -> Path:
    """Return where the picture of a task file lies: beside it."""
    return file.with_name(f"{file.stem}_outlines.png")


def check_target(file: Path) -> None:
    """Raise UsageError for a file that is no task file by its name, that exists, or whose picture exists."""
    if file.suffix not in (".yaml", ".yml"):
        raise UsageError(f"{file}: expected the name of a task file, which ends in .yaml")
    for path in (file, picture_path(file)):
        if os.path.lexists(path):
            raise UsageError(f"{path}: exists already, and is never overwritten; choose another file")


def write_task(file: Path, name: str, findings: Findings, minutes: float) -> Path | None:
    """Write a task file, and a picture of six images; return the picture's path, None where no image can be used.

    Raises UsageError as `check_target` does, and for a file in a folder of images or annotations, where the picture
    would be taken for an image; TaskError, and leaves no file, for a name that no task can have; OSError.
    """
    check_target(file)
    settings = section_of(findings.section)
    named = FORMATS[settings.format].folders(settings)
    for folder in [folder for name in named for folder in [name, *matching_folders(findings.folder, name).values()]]:
        if (findings.folder / folder).resolve() == file.resolve().parent:
            raise UsageError(
                f"{file}: in the folder of the images, where its picture would be taken for one; choose another file"
            )
    write_text(file, task_text(name, findings, minutes))
    try:
        task = task_of(load_draft(file.absolute()))
        sheet = _outline_sheet(findings.folder, task)
        if sheet is not None:
            write_image(picture_path(file), sheet)
    except BaseException:
        file.unlink(missing_ok=True)
        raise
    return picture_path(file) if sheet is not None else None


def _outline_sheet(folder: Path, task: Task) -> Picture | None:
    """Return RGB `(H, W, 3)` uint8 of up to six images, evenly over the folder, with a legend; None without any.

    Images that stage 1 would refuse are left out.
    """
    items, _ = FORMATS[task.annotations.format].read(folder, task.annotations, task.structures)
    tiles = []
    for item in evenly(images_of(items, folder)[0], PICTURES):
        verified, _ = check(item, folder, task)
        if verified:
            pixels = read_image(item.image).pixels
            tiles.append(thumbnail(pixels, decode_label_map(verified.mask_png), task.colors, WIDTH))
    if not tiles:
        return None
    height = max(tile.shape[0] for tile in tiles)
    rows = -(-len(tiles) // COLUMNS)
    sheet = np.full((rows * (height + GAP), min(COLUMNS, len(tiles)) * (WIDTH + GAP), 3), 255, np.uint8)
    for number, tile in enumerate(tiles):
        top, left = number // COLUMNS * (height + GAP), number % COLUMNS * (WIDTH + GAP)
        sheet[top : top + tile.shape[0], left : left + tile.shape[1]] = tile
    names = [(rgb(structure.color), structure.name) for structure in task.structures]
    return np.vstack([sheet, legend(names, sheet.shape[1])])
