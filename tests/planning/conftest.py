"""A small data folder to plan from."""

from pathlib import Path

import numpy as np
import pytest

from sonoseg.io.masks import write_label_map
from sonoseg.io.png import write_image

SIZE = (96, 128)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twenty images, two of each patient, with a bright disc in the upper half."""
    folder = tmp_path_factory.mktemp("data")
    random = np.random.default_rng(0)
    y, x = np.mgrid[: SIZE[0], : SIZE[1]]
    for number in range(20):
        centre = random.uniform(20, 40), random.uniform(30, 100)
        mask = (y - centre[0]) ** 2 + (x - centre[1]) ** 2 < random.uniform(10, 16) ** 2
        image = np.clip(random.normal(60, 20, SIZE) + 90 * mask, 0, 255).astype(np.uint8)
        name = f"{number // 2:02d}_{number % 2}.png"
        write_image(folder / "images" / name, image)
        write_label_map(folder / "masks" / name, mask.astype(np.uint8), ["#ff0000"])
    return folder
