"""A picture of some annotated images with the outlines of their structures, to be looked at before anything is run."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sonoseg.annotations import FORMATS
from sonoseg.io.masks import decode_label_map, rgb
from sonoseg.io.readers import read_image
from sonoseg.new_task.mask_structures import evenly
from sonoseg.prepare.verify import check
from sonoseg.reporting.drawing import thumbnail
from sonoseg.reporting.image_text import legend
from sonoseg.schema.task import Task

PICTURES, COLUMNS, WIDTH, GAP = 6, 3, 420, 6


def outline_sheet(folder: Path, task: Task) -> NDArray[np.uint8] | None:
    """Return RGB `(H, W, 3)` uint8 of up to six images, evenly over the folder, with a legend; None without any.

    Images that stage 1 would refuse are left out.
    """
    items, _ = FORMATS[task.annotations.format].read(folder, task.annotations, task.structures)
    tiles = []
    for item in evenly(items, PICTURES):
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
