"""The four scripts in order on tiny simulated images, as a user runs them, and with one mistake each."""

import csv
import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
import yaml
from safetensors.torch import load_file
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import image_preprocessing
import inference
import train_test_data_preparation
import training
from sonoseg.evaluation.metrics import agreement
from sonoseg.io.masks import read_mask
from sonoseg.io.readers import read_image_header
from sonoseg.models.model_header import read_header
from sonoseg.phantom.__main__ import main as make_phantoms
from sonoseg.runs.split_tables import read_index, read_split
from sonoseg.schema.task_files import load_task

TINY = {
    "extends": "spine",
    "name": "tiny",
    "title": "Tiny",
    "input": {"size": [64, 96]},
    "augmentation": {"copies": 2},
    "network": {"channels": [8, 16, 32], "strides": [2, 2], "residual_units": 1},
    "training": {
        "epochs": 2,
        "batch_size": 4,
        "loss": {"hausdorff": {"start_epoch": 1, "ramp_epochs": 1, "max_weight": 0.5}},
        "optimizer": {"learning_rate": 0.01},
    },
}


@pytest.fixture(scope="module", autouse=True)
def two_threads() -> Iterator[None]:
    """Give torch two cores here, as it has several where a user runs it."""
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def workspace(two_threads: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace in which all four scripts have run."""
    root = tmp_path_factory.mktemp("workspace")
    (root / "tiny.yaml").write_text(yaml.safe_dump(TINY))
    dataset = root / "Datasets" / "tiny"
    assert make_phantoms(["--out", str(dataset), "--images", "12", "--seed", "3", "--size-scale", "0.4"]) == 0
    for script in (train_test_data_preparation, image_preprocessing, training, inference):
        extra = ["--run", "first", "--device", "cpu"] if script is training else []
        assert script.main([*where(root), *extra]) == 0, script.__name__
    return root


def where(root: Path) -> list[str]:
    return ["--task", str(root / "tiny.yaml"), "--workspace", str(root)]


def copy_of(workspace: Path, tmp_path: Path) -> Path:
    """A copy of the workspace, for one test."""
    return Path(shutil.copytree(workspace, tmp_path / "copy"))


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as stream:
        return list(csv.DictReader(stream))


def test_stage_1_splits_by_patient_and_draws_masks_at_full_size(workspace: Path) -> None:
    folder = workspace / "Train_Test_Dataset" / "tiny"
    train, test = (
        read_split(folder / f"{part}_split.csv", ["MID", "VTB", "EPI"], workspace) for part in ("train", "test")
    )
    assert len(train) + len(test) == 12 and test
    assert not {sample.patient for sample in train} & {sample.patient for sample in test}
    for sample in [*train, *test]:
        mask = read_mask(sample.mask)
        assert mask.shape == (sample.height, sample.width) == read_image_header(sample.image.path).size
        assert sample.present == {name: index in mask for index, name in enumerate(("MID", "VTB", "EPI"), start=1)}


def test_stage_2_copies_training_images_only(workspace: Path) -> None:
    folder = workspace / "Train_Test_Dataset" / "tiny"
    train, test = (read_index(folder / part / "index.csv", workspace) for part in ("train", "test"))
    sources = [row for row in train if row.augmentation == "none"]
    assert len(train) == 3 * len(sources) and all(row.augmentation == "none" for row in test)
    assert len(sources) + len(test) == 12
    for row in train:
        assert read_image_header(row.image_path).size == read_mask(row.mask_path).shape == (64, 96)


def test_stage_2_again_does_nothing_and_a_changed_setting_does_what_changed(
    workspace: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = copy_of(workspace, tmp_path)
    index = root / "Train_Test_Dataset" / "tiny" / "train" / "index.csv"
    before = index.read_bytes()
    assert image_preprocessing.main(where(root)) == 0
    assert "12 already prepared, 0 to do" in capsys.readouterr().out and index.read_bytes() == before

    picture = read_index(index, root)[0].image_path
    kept = picture.read_bytes()
    picture.unlink()
    assert image_preprocessing.main(where(root)) == 0
    assert "11 already prepared, 1 to do" in capsys.readouterr().out and picture.read_bytes() == kept

    assert image_preprocessing.main([*where(root), "--copies", "1"]) == 0
    said = capsys.readouterr().out
    tests = len(read_index(root / "Train_Test_Dataset" / "tiny" / "test" / "index.csv", root))
    assert f"{tests} already prepared, {12 - tests} to do" in said
    assert len(list(index.parent.glob("images/*.png"))) == 2 * (12 - tests)


def test_stage_2_is_the_same_on_one_and_two_processes(workspace: Path, tmp_path: Path) -> None:
    root = copy_of(workspace, tmp_path)
    shutil.rmtree(root / "Train_Test_Dataset" / "tiny" / "train")
    assert image_preprocessing.main([*where(root), "--jobs", "1"]) == 0
    for path in sorted((workspace / "Train_Test_Dataset" / "tiny" / "train").rglob("*.png")):
        assert path.read_bytes() == (root / path.relative_to(workspace)).read_bytes(), path.name


def test_stage_3_leaves_one_model_that_knows_its_task(workspace: Path) -> None:
    folder = workspace / "Models" / "tiny"
    model = read_header(folder / "best_model.safetensors")
    assert model.task.name == "tiny" and model.task.input.size == (64, 96)
    assert model.info["epochs"] == 2 and set(model.info["data"]) >= {"tiny/train_split.csv", "tiny/test_split.csv"}
    scores = json.loads((folder / "evaluation.json").read_text())
    cases = rows_of(folder / "per_case.csv")
    tests = rows_of(workspace / "Train_Test_Dataset" / "tiny" / "test_split.csv")
    assert scores["images"] == len(cases) == len(tests) and scores["part"] == "test"
    for name, one in scores["classes"].items():
        reference_there = sum(row[name] == "1" for row in tests)
        assert one["n"] - one["n_empty_reference"] == reference_there
        assert 0 <= one["dice"]["mean"] <= 1
    assert cv2.imread(str(folder / "curves.png")) is not None
    events = list((workspace / "logs" / "tiny" / "first").glob("events.out.tfevents.*"))
    assert events


def events_of(run: Path) -> EventAccumulator:
    events = EventAccumulator(str(run))
    events.Reload()
    return events


def test_tensorboard_shows_terms_classes_rates_pictures_and_the_task(workspace: Path) -> None:
    events = events_of(workspace / "logs" / "tiny" / "first")
    tags = events.Tags()
    wanted = {"loss/total", "loss/dice_ce", "loss/validation", "loss/hausdorff", "schedule/hausdorff_weight"}
    wanted |= {f"{kind}/{name}" for kind in ("dice", "iou") for name in ("MID", "VTB", "EPI")}
    wanted |= {"dice/mean", "schedule/learning_rate", "time/images_per_second", "time/data"}
    assert wanted <= set(tags["scalars"])
    assert [event.value for event in events.Scalars("schedule/hausdorff_weight")] == [0, 0.5]
    assert tags["images"] and any("task" in tag for tag in tags["tensors"])


def test_stage_4_gives_every_image_a_mask_an_overlay_and_a_row(workspace: Path) -> None:
    folder = workspace / "result" / "tiny"
    rows = rows_of(folder / "results.csv")
    tests = read_split(workspace / "Train_Test_Dataset" / "tiny" / "test_split.csv", ["MID", "VTB", "EPI"], workspace)
    assert len(rows) == len(tests)
    run = json.loads((folder / "run.json").read_text())
    assert run["model_sha256"] == read_header(workspace / "Models" / "tiny" / "best_model.safetensors").sha256
    for sample in tests:
        name = sample.image.path.stem
        assert read_mask(folder / f"{name}_mask.png").shape == (sample.height, sample.width)
        assert read_image_header(folder / f"{name}_overlay.png").size == (sample.height, sample.width)
        assert json.loads((folder / f"{name}.json").read_text())["status"] in ("ok", "check", "reject")


def test_the_score_is_of_what_stage_4_gives(workspace: Path) -> None:
    cases = {row["id"]: row for row in rows_of(workspace / "Models" / "tiny" / "per_case.csv")}
    found = {row["image"]: row for row in rows_of(workspace / "result" / "tiny" / "results.csv")}
    for sample in read_split(
        workspace / "Train_Test_Dataset" / "tiny" / "test_split.csv", ["MID", "VTB", "EPI"], workspace
    ):
        image = sample.image.path
        ours = read_mask(workspace / "result" / "tiny" / f"{image.stem}_mask.png")
        reference = read_mask(sample.mask)
        for index, name in enumerate(("MID", "VTB", "EPI"), start=1):
            one = agreement(ours == index, reference == index, sample.spacing)
            assert float(cases[sample.id][f"{name}_dice"]) == pytest.approx(one.dice)
        assert cases[sample.id]["skin_to_epi_mm"] == found[image.name]["skin_to_epi_mm"]


def test_an_interrupted_training_resumes_to_the_same_tensors(
    workspace: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = copy_of(workspace, tmp_path)
    expected = load_file(root / "Models" / "tiny" / "best_model.safetensors")
    history = torch.load(root / "Models" / "tiny" / "last.ckpt", weights_only=True)["progress"]["history"]
    shutil.rmtree(root / "Models" / "tiny")

    import sonoseg.training.loop as loop

    real = loop.train_epoch

    def stop_in_the_second(*arguments: object) -> Iterator[object]:
        if arguments[1] == 1:
            raise KeyboardInterrupt
        return real(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(loop, "train_epoch", stop_in_the_second)
    assert training.main([*where(root), "--device", "cpu", "--run", "cut"]) == 130
    assert not (root / "Models" / "tiny" / "best_model.safetensors").exists()
    monkeypatch.setattr(loop, "train_epoch", real)
    assert training.main([*where(root), "--device", "cpu", "--resume"]) == 0
    epochs = events_of(root / "logs" / "tiny" / "cut").Scalars("dice/mean")
    assert [event.step for event in epochs] == [1, 2], "the resumed run goes on in its own curve"
    state = load_file(root / "Models" / "tiny" / "best_model.safetensors")
    assert all(torch.equal(state[name], tensor) for name, tensor in expected.items())
    resumed = torch.load(root / "Models" / "tiny" / "last.ckpt", weights_only=True)["progress"]["history"]
    for ours, theirs in zip(resumed, history, strict=True):
        timeless = {name for name in theirs if not name.startswith("time/")}
        assert {name: ours[name] for name in timeless} == {name: theirs[name] for name in timeless}


def test_sanity_check_touches_no_finished_model(workspace: Path, tmp_path: Path) -> None:
    root = copy_of(workspace, tmp_path)
    before = (root / "Models" / "tiny" / "best_model.safetensors").read_bytes()
    assert training.main([*where(root), "--sanity-check", "--device", "cpu"]) == 0
    assert (root / "Models" / "tiny" / "best_model.safetensors").read_bytes() == before
    assert (
        json.loads((root / "Models" / "tiny" / "sanity_check" / "evaluation.json").read_text())["part"] == "validation"
    )


def test_a_split_that_leaks_is_refused_by_name(
    workspace: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = copy_of(workspace, tmp_path)
    folder = root / "Train_Test_Dataset" / "tiny"
    patient = rows_of(folder / "train_split.csv")[0]["patient"]
    rows = rows_of(folder / "test_split.csv")
    rows[0]["patient"] = patient
    with (folder / "test_split.csv").open("w", newline="") as stream:
        writer = csv.DictWriter(stream, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    model = (root / "Models" / "tiny" / "best_model.safetensors").read_bytes()
    assert training.main([*where(root), "--device", "cpu"]) == 2
    said = capsys.readouterr().err
    assert patient in said and "Traceback" not in said
    assert (root / "Models" / "tiny" / "best_model.safetensors").read_bytes() == model


def test_a_new_split_needs_stage_2_again(workspace: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = copy_of(workspace, tmp_path)
    assert train_test_data_preparation.main([*where(root), "--seed", "7", "--force"]) == 0
    capsys.readouterr()
    assert training.main([*where(root), "--device", "cpu"]) == 2
    assert "run stage 2 (image_preprocessing.py) again" in capsys.readouterr().err


def test_a_changed_image_is_noticed(workspace: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = copy_of(workspace, tmp_path)
    image = root / rows_of(root / "Train_Test_Dataset" / "tiny" / "train_split.csv")[0]["image_path"]
    cv2.imwrite(str(image), np.zeros(read_image_header(image).size, np.uint8))
    assert image_preprocessing.main(where(root)) == 2
    said = capsys.readouterr().err
    assert image.name in said and "run stage 1 (train_test_data_preparation.py) again" in said


@pytest.mark.parametrize(
    ("script", "flags", "expected"),
    [
        (train_test_data_preparation, [], "no such folder"),
        (image_preprocessing, [], "stage 1 writes it"),
        (training, [], "stage 1 writes it"),
        (inference, [], "run stage 3 (training.py) first"),
        (training, ["--task", "knee"], "nerve_unet_hc18, spine, spine_demo or spine_realtime"),
        (image_preprocessing, ["--jobs", "0"], "a number from 1 to 1024"),
        (training, ["--epochs", "0"], "a number from 1 to 1000000"),
    ],
)
def test_each_script_says_what_is_missing(
    script: object, flags: list[str], expected: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert script.main(["--workspace", str(tmp_path), *flags]) == 2  # type: ignore[attr-defined]
    said = capsys.readouterr().err
    assert expected in said and said.count("error:") == 1 and "Traceback" not in said
    assert list(tmp_path.rglob("*.*")) == []


@pytest.mark.parametrize(
    ("section", "value"),
    [("enhancement", {"denoise": {"strength": 7}}), ("augmentation", {"copies": 2, "flip_horizontal": 0.1})],
)
def test_pictures_of_other_settings_are_not_trained_on(
    workspace: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], section: str, value: dict
) -> None:
    root = copy_of(workspace, tmp_path)
    (root / "tiny.yaml").write_text(yaml.safe_dump(TINY | {section: value}))
    assert training.main([*where(root), "--device", "cpu"]) == 2
    assert "run stage 2 (image_preprocessing.py) again" in capsys.readouterr().err


def test_a_corrected_mask_needs_stage_2_again(
    workspace: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = copy_of(workspace, tmp_path)
    annotations = root / "Datasets" / "tiny" / "annotations.json"
    shapes = json.loads(annotations.read_text())
    next(entry for entry in shapes.values() if entry)[0][2][0][0] += 3
    annotations.write_text(json.dumps(shapes))
    assert train_test_data_preparation.main(where(root)) == 0
    assert training.main([*where(root), "--device", "cpu"]) == 2
    assert "run stage 2 (image_preprocessing.py) again" in capsys.readouterr().err


def test_classes_in_another_order_need_stage_1_again(
    workspace: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = copy_of(workspace, tmp_path)
    swapped = load_task(root / "tiny.yaml").model_dump(mode="json")["structures"][::-1]
    (root / "tiny.yaml").write_text(yaml.safe_dump(TINY | {"structures": swapped}))
    for script in (image_preprocessing, training):
        assert script.main(where(root)) == 2
        assert "run stage 1 (train_test_data_preparation.py) again" in capsys.readouterr().err


def test_an_unknown_fold_lists_the_folds(workspace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert training.main([*where(workspace), "--fold", "9"]) == 2
    assert "no images in fold 9" in capsys.readouterr().err
