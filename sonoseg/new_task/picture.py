"""A picture of some annotated images with the outlines of their structures, to be looked at before anything is run."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sonoseg.io.masks import decode_label_map
from sonoseg.io.readers import read_image
from sonoseg.new_task.findings import Findings
from sonoseg.prepare.verify import check
from sonoseg.reporting.drawing import thumbnail
from sonoseg.schema.task import Task

PICTURES, COLUMNS, WIDTH = 6, 3, 420


def outline_sheet(findings: Findings, task: Task) -> NDArray[np.uint8] | None:
    """Return RGB `(H, W, 3)` uint8 of up to six images, evenly over the folder; None where none can be read."""
    from sonoseg.annotations import FORMATS

    items, _ = FORMATS[task.annotations.format].read(findings.folder, task.annotations, task.structures)
    tiles = []
    for at in np.unique(np.linspace(0, len(items) - 1, min(PICTURES, len(items))).round()):
        item = items[int(at)]
        verified, _ = check(item, findings.folder, task)
        if verified:
            pixels = read_image(item.image).pixels
            tiles.append(thumbnail(pixels, decode_label_map(verified.mask_png), task.colors, WIDTH))
    if not tiles:
        return None
    height = max(tile.shape[0] for tile in tiles)
    rows = -(-len(tiles) // COLUMNS)
    sheet = np.full((rows * (height + 6), COLUMNS * (WIDTH + 6), 3), 255, np.uint8)
    for number, tile in enumerate(tiles):
        top, left = number // COLUMNS * (height + 6), number % COLUMNS * (WIDTH + 6)
        sheet[top : top + tile.shape[0], left : left + tile.shape[1]] = tile
    return sheet


def picture_path(task_file: Path) -> Path:
    """Return where the picture of a task file lies: beside it."""
    return task_file.with_name(f"{task_file.stem}_outlines.png")
