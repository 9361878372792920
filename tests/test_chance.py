"""Random labels score at chance on patients who are not in training, however many images of each there are."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml

import image_preprocessing
import train_test_data_preparation
import training
from sonoseg.io.masks import read_mask
from sonoseg.runs.split_tables import read_split

SIDE, PATIENTS, IMAGES = 48, 12, 6
TASK = {
    "name": "chance",
    "title": "Random labels",
    "structures": [{"name": "DISC", "shape": "region", "color": "#ffd23f"}],
    "annotations": {"format": "mask_folder"},
    "split": {"test_size": 0.25, "folds": 4},
    "input": {"size": [SIDE, SIDE]},
    "augmentation": {"copies": 0},
    "network": {"name": "unet", "channels": [16, 32, 64], "strides": [2, 2]},
    "training": {
        "epochs": 10,
        "batch_size": 8,
        "loss": {"name": "bce_dice"},
        "optimizer": {"learning_rate": 0.005, "schedule": "one_cycle"},
    },
}


def write_images(folder: Path) -> None:
    """Each patient has a texture, the same in all images but for noise, and a disc at a random place."""
    rng = np.random.default_rng(0)
    for name in ("images", "masks"):
        (folder / name).mkdir(parents=True)
    rows, cols = np.mgrid[:SIDE, :SIDE]
    for patient in range(PATIENTS):
        coarse = rng.uniform(0, 255, (8, 8)).astype(np.float32)
        texture = cv2.resize(coarse, (SIDE, SIDE), interpolation=cv2.INTER_CUBIC)
        x, y = rng.uniform(10, SIDE - 10, 2)
        mask = (((cols - x) ** 2 + (rows - y) ** 2) < 81).astype(np.uint8) * 255
        for number in range(IMAGES):
            noisy = np.clip(texture + rng.normal(0, 8, texture.shape), 0, 255).astype(np.uint8)
            cv2.imwrite(str(folder / "images" / f"p{patient:02d}_{number}.png"), noisy)
            cv2.imwrite(str(folder / "masks" / f"p{patient:02d}_{number}_mask.png"), mask)


def score_on_test(root: Path, pattern: str) -> float:
    """Return the test Dice after the first three scripts, with patients identified by `pattern`."""
    write_images(root / "Datasets" / "chance")
    (root / "chance.yaml").write_text(yaml.safe_dump(TASK | {"patients": {"pattern": pattern}}))
    where = ["--task", str(root / "chance.yaml"), "--workspace", str(root)]
    assert train_test_data_preparation.main(where) == 0
    assert image_preprocessing.main([*where, "--jobs", "1"]) == 0
    assert training.main([*where, "--device", "cpu"]) == 0
    return json.loads((root / "Models" / "chance" / "evaluation.json").read_text())["mean_dice"]


def chance(root: Path) -> float:
    """Return the Dice of guessing another patient's disc, over all pairs of a test and a training patient."""
    folder = root / "Train_Test_Dataset" / "chance"
    train, test = (read_split(folder / f"{part}_split.csv", ["DISC"], root) for part in ("train", "test"))
    masks = {sample.patient: read_mask(sample.mask) > 0 for sample in [*train, *test]}
    pairs = [
        2
        * np.count_nonzero(masks[ours] & masks[theirs])
        / (np.count_nonzero(masks[ours]) + np.count_nonzero(masks[theirs]))
        for ours in {sample.patient for sample in test}
        for theirs in {sample.patient for sample in train}
    ]
    return float(np.mean(pairs))


def test_random_labels_score_at_chance(tmp_path: Path) -> None:
    dice = score_on_test(tmp_path, r"^(p\d+)_")
    assert dice < chance(tmp_path) + 0.15


def test_a_split_by_image_would_have_hidden_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The same images, each counted as a patient: the network recognises the patient and repeats the label."""
    assert score_on_test(tmp_path, r"^(.+)$") > 0.7
