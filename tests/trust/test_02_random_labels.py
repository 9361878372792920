"""Check 2: random labels score at chance, however many images of each patient there are.

The model here overfits completely: it predicts the mask of the most similar training image (1-nearest neighbour).
`tests/test_chance.py` trains a network on the same data.
"""

from pathlib import Path

import numpy as np
import pytest
import yaml

import image_preprocessing
import train_test_data_preparation
from sonoseg.io.masks import read_mask
from sonoseg.io.readers import read_image
from sonoseg.runs.split_tables import Prepared, read_index
from tests.test_chance import TASK, chance, write_images


def memorised(root: Path) -> float:
    """Return the mean Dice, over the test images, of the mask of the most similar training image."""
    folder = root / "Train_Test_Dataset" / "chance"
    train, test = (read_index(folder / part / "index.csv", root) for part in ("train", "test"))

    def pixels_and_mask(row: Prepared) -> tuple[np.ndarray, np.ndarray]:
        return read_image(row.image_path).pixels.astype(float), read_mask(row.mask_path) > 0

    known = [pixels_and_mask(row) for row in train]
    scores = []
    for row in test:
        image, mask = pixels_and_mask(row)
        _, ours = min(known, key=lambda pair: float(np.square(pair[0] - image).sum()))
        scores.append(2 * np.count_nonzero(ours & mask) / (np.count_nonzero(ours) + np.count_nonzero(mask)))
    return float(np.mean(scores))


@pytest.mark.parametrize(
    ("pattern", "at_chance"), [(r"^(p\d+)_", True), (r"^(.+)$", False)], ids=["whole patients", "single images"]
)
def test_random_labels(tmp_path: Path, pattern: str, at_chance: bool) -> None:
    """In the second case each image counts as a patient: the same model then scores high, so the first is a test."""
    write_images(tmp_path / "Datasets" / "chance")
    (tmp_path / "chance.yaml").write_text(yaml.safe_dump(TASK | {"patients": {"pattern": pattern}}))
    where = ["--task", str(tmp_path / "chance.yaml"), "--workspace", str(tmp_path)]
    assert train_test_data_preparation.main(where) == 0
    assert image_preprocessing.main([*where, "--jobs", "1"]) == 0
    score = memorised(tmp_path)
    if at_chance:
        assert score < chance(tmp_path) + 0.15
    else:
        assert score > 0.9
