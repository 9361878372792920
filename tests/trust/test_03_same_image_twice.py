"""Check 3: the same picture under two names, in training and in test, is reported and refused."""

import json
import shutil
from pathlib import Path

import pytest
from PIL import Image

import image_preprocessing as stage2
import train_test_data_preparation as stage1
import training as stage3
from sonoseg.io.files import sha256_of
from tests.trust.conftest import everything, put_rows, rows_of
from tests.trust.runs import NAME, run


@pytest.mark.parametrize("way", ["the same file", "the same pixels"])
def test_stage_1_names_both(workspace: Path, capsys: pytest.CaptureFixture[str], way: str) -> None:
    split, data = workspace / "Train_Test_Dataset" / NAME, workspace / "spine"
    original = workspace / rows_of(split / "train_split.csv")[0]["image_path"]
    copy = original.with_name("copy.png")
    if way == "the same file":
        shutil.copy(original, copy)
    else:
        Image.open(original).convert("RGB").save(copy)
        assert sha256_of(copy) != sha256_of(original)
    shapes = json.loads((data / "annotations.json").read_text())
    (data / "annotations.json").write_text(json.dumps(shapes | {"copy": next(iter(shapes.values()))}))
    table = rows_of(data / "metadata.csv")
    put_rows(data / "metadata.csv", [*table, {**table[0], "image": "copy", "patient": "somebody else"}])
    before = everything(split)
    assert run(stage1, workspace, "--force") == 2
    said = " ".join(capsys.readouterr().err.split())
    assert f"images/{original.name}: {way} as images/copy.png, but of patients" in said and "somebody else" in said
    assert everything(split) == before


def test_training_names_both(workspace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The copy is added after stage 1, in edited tables: stage 2 accepts them, training refuses them."""
    split = workspace / "Train_Test_Dataset" / NAME
    train, test = rows_of(split / "train_split.csv"), rows_of(split / "test_split.csv")
    for what in ("image_path", "mask_path"):
        shutil.copy(workspace / train[0][what], workspace / test[0][what])
    test[0] |= {name: train[0][name] for name in ("sha256", "mask_sha256", "width", "height")}
    put_rows(split / "test_split.csv", test)
    assert run(stage2, workspace) == 0
    before = everything(workspace / "Models")
    assert run(stage3, workspace) == 2
    said = capsys.readouterr().err
    assert train[0]["id"] in said and test[0]["id"] in said and "are the same file" in said
    assert everything(workspace / "Models") == before
