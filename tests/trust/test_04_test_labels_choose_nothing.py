"""Check 4: with other labels on the test images, training gives the same weights, epoch and thresholds."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import torch

import image_preprocessing
import train_test_data_preparation
import training
from sonoseg.io.files import sha256_of
from sonoseg.io.masks import read_mask, write_label_map
from sonoseg.models.model_header import read_header
from tests.small import phantoms, small_task
from tests.trust.conftest import put_rows, rows_of

NAME = "small_fetal_head"


def where(root: Path) -> list[str]:
    return ["--task", str(root / f"{NAME}.yaml"), "--workspace", str(root)]


def trained(root: Path) -> dict[str, Any]:
    """Run stages 2 and 3 and return all that they chose."""
    assert image_preprocessing.main([*where(root), "--jobs", "1"]) == 0
    assert training.main([*where(root), "--device", "cpu", "--precision", "32-true", "--run", "run"]) == 0
    folder = root / "Models" / NAME
    model = read_header(folder / "best_model.safetensors")
    state = torch.load(folder / "last.ckpt", weights_only=True)
    with (folder / "best_model.safetensors").open("rb") as stream:
        stream.seek(8 + int.from_bytes(stream.read(8), "little"))
        weights = stream.read()
    return {
        "weights": weights,
        "last weights": {name: tensor.numpy().tobytes() for name, tensor in state["network"].items()},
        "epoch": {key: model.info[key] for key in ("best_epoch", "epochs", "validation_dice")},
        "history": [{k: v for k, v in row.items() if "time/" not in k} for row in state["progress"]["history"]],
        "task, with its thresholds": model.task.model_dump(),
    }


def test_scrambled_test_labels(tmp_path: Path) -> None:
    optimizer = {"learning_rate": 0.02, "schedule": "plateau", "plateau": {"patience": 0}}
    training_settings = {"epochs": 4, "batch_size": 4, "patience": 3, "optimizer": optimizer}
    small_task("fetal_head", tmp_path, training=training_settings)
    data = phantoms("fetal_head", tmp_path)
    assert train_test_data_preparation.main([*where(tmp_path), "--data", str(data)]) == 0
    other = Path(shutil.copytree(tmp_path, tmp_path.with_name(tmp_path.name + "_scrambled")))

    table = other / "Train_Test_Dataset" / NAME / "test_split.csv"
    rows, rng = rows_of(table), np.random.default_rng(4)
    for row in rows:
        mask = read_mask(other / row["mask_path"])
        write_label_map(other / row["mask_path"], rng.integers(0, 2, mask.shape, dtype=np.uint8), ["#3bceac"])
        row["mask_sha256"] = sha256_of(other / row["mask_path"])
    put_rows(table, rows)

    ours, theirs = trained(tmp_path), trained(other)
    scores = [json.loads((root / "Models" / NAME / "evaluation.json").read_text()) for root in (tmp_path, other)]
    assert abs(scores[0]["mean_dice"] - scores[1]["mean_dice"]) > 0.01, "the labels have not been scrambled"
    for what in ours:
        assert ours[what] == theirs[what], f"the labels of the test images decide the {what}"
    shutil.rmtree(other)
