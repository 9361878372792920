"""Stage 4 and the segmenter with filled ellipses or the network's masks, and with test-time augmentation."""

import json
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import inference
from sonoseg.errors import UsageError
from sonoseg.geometry.points import Ellipse
from sonoseg.inference.segmenter import Segmenter
from sonoseg.models.model_file import save_model
from sonoseg.models.networks import build_network
from sonoseg.schema.task import Task
from tests.conftest import changed
from tests.geometry import drawn_shapes as drawn
from tests.models.members import always_load, member, note_reused

SIZE = (96, 128)
HEAD = drawn.ellipse(SIZE, Ellipse(64, 48, 80, 60, 10))


def bright_on_the_left(images: torch.Tensor) -> torch.Tensor:
    """A network that finds bright pixels, and in the right half of its input only half as surely."""
    sure = torch.where(images[:, 0] > 0.5, 4.0, -4.0)
    sure[..., images.shape[-1] // 2 :] *= 0.25
    return torch.stack([-sure, sure], dim=1)


def ellipses(task: Task, **changes: object) -> Task:
    settings = {"input": {"size": SIZE}, "postprocessing": {"shape_mask": True}, **changes}
    return changed(task, **settings)


def picture() -> np.ndarray:
    """Return an image of a head with a notch, which the network's mask has and an ellipse has not."""
    image = np.where(HEAD, 255, 0).astype(np.uint8)
    image[43:50, 24:38] = 0
    return image


@pytest.fixture
def stage4(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fetal_head: Task):
    """Return a function that runs stage 4 on one image and returns its mask, its record, and whether it was reused."""
    (tmp_path / "in").mkdir()
    Image.fromarray(picture()).save(tmp_path / "in" / "a.png")
    reused = note_reused(monkeypatch)

    def run(*flags: str, task: Task | None = None) -> tuple[np.ndarray, dict, bool]:
        always_load(monkeypatch, member(bright_on_the_left, task or ellipses(fetal_head), "model", "m" * 64))
        folders = ["--images", tmp_path / "in", "--output", tmp_path / "out", "--jobs", 1]
        assert inference.main([str(argument) for argument in ("--task", "fetal_head", *folders, *flags)]) == 0
        mask = np.asarray(Image.open(tmp_path / "out" / "a_mask.png"))
        return mask, json.loads((tmp_path / "out" / "a.json").read_text()), reused.pop()

    return run


def run_record(tmp_path: Path) -> dict:
    return json.loads((tmp_path / "out" / "run.json").read_text())


def test_raw_masks_are_those_of_the_network_and_are_made_again_on_change(stage4, tmp_path: Path) -> None:
    filled, record, _ = stage4()
    ellipse = drawn.ellipse(SIZE, Ellipse.from_axis_ends(np.array(record["shapes"][0][2])))
    assert np.mean(filled != ellipse) < 1e-3 < np.mean(ellipse != (picture() > 0))
    assert run_record(tmp_path)["settings"]["raw_masks"] is False
    raw, raw_record, reused = stage4("--raw-masks")
    assert not reused and np.array_equal(raw == 1, picture() > 0)
    assert run_record(tmp_path)["settings"]["raw_masks"] is True
    assert run_record(tmp_path)["task_settings"]["postprocessing"]["shape_mask"] is False
    for key in ("shapes", "measurements", "confidence", "shape_agreement", "status", "reasons"):
        assert record[key] == raw_record[key], key
    assert stage4("--raw-masks")[2] and not stage4()[2]


def test_raw_masks_change_nothing_where_masks_are_raw(stage4, fetal_head: Task) -> None:
    task = ellipses(fetal_head, postprocessing={})
    mask, _, _ = stage4(task=task)
    again, _, reused = stage4("--raw-masks", task=task)
    assert reused and np.array_equal(mask, again)


def test_flips_change_the_result_and_are_part_of_the_fingerprint(stage4, tmp_path: Path, capsys) -> None:
    _, record, _ = stage4("--raw-masks")
    assert "mean over flips" not in capsys.readouterr().out
    _, averaged, reused = stage4("--raw-masks", "--tta")
    assert not reused and "mean over flips" in capsys.readouterr().out
    assert run_record(tmp_path)["settings"]["tta"] is True
    # Sigmoid of twice 4 and of twice 1: on average the two halves are equally sure, with flips each pixel is.
    sure = [1 / (1 + np.exp(-2 * level)) for level in (4, 1)]
    assert averaged["confidence"]["HEAD"] == pytest.approx(np.mean(sure), abs=1e-4)
    assert record["confidence"]["HEAD"] != pytest.approx(np.mean(sure), abs=1e-3)
    assert stage4("--raw-masks", "--tta")[2] and not stage4("--raw-masks")[2]


def test_training_without_flips_is_refused(fetal_head: Task, tmp_path: Path, monkeypatch, capsys) -> None:
    without = ellipses(fetal_head, augmentation={"copies": 7, "gamma": {"probability": 0.5}})
    with pytest.raises(UsageError, match="task fetal_head: trained without flips"):
        Segmenter([member(bright_on_the_left, fetal_head), member(bright_on_the_left, without)], tta=True)
    always_load(monkeypatch, member(bright_on_the_left, without, "some/model", "m" * 64))
    (tmp_path / "in").mkdir()
    arguments = ["--task", "fetal_head", "--images", tmp_path / "in", "--output", tmp_path / "out", "--tta"]
    assert inference.main([str(argument) for argument in arguments]) == 2
    assert "some/model: trained without flips" in capsys.readouterr().err and not (tmp_path / "out").exists()


def test_each_member_has_the_flips_of_its_own_training(fetal_head: Task) -> None:
    one_flip = ellipses(fetal_head, augmentation={"flip_horizontal": 0.5})
    tasks = [ellipses(fetal_head), one_flip]
    together = Segmenter([member(bright_on_the_left, task) for task in tasks], tta=True)
    assert [len(single.flips) for single in together.members] == [3, 1]
    each = [Segmenter([member(bright_on_the_left, task)], tta=True).probabilities(picture()) for task in tasks]
    np.testing.assert_allclose(together.probabilities(picture()), np.mean(each, axis=0), atol=1e-6)
    np.testing.assert_allclose(together.mean_and_variance(picture())[0], np.mean(each, axis=0), atol=1e-6)


@pytest.mark.parametrize("engine", ["torch", "openvino"])
def test_options_hold_for_loaded_and_unpickled_segmenters(fetal_head: Task, tmp_path: Path, engine: str) -> None:
    torch.manual_seed(0)
    network = {"name": "unet", "channels": [4, 8], "strides": [2], "residual_units": 0}
    task = ellipses(fetal_head, input={"size": (32, 48)}, network=network)
    save_model(tmp_path / "m.safetensors", build_network(task).state_dict(), task, {})
    plain, options = (
        Segmenter.load(tmp_path / "m.safetensors", "cpu", engine, raw_masks=on, tta=on) for on in (False, True)
    )
    assert plain.task == task and not options.task.postprocessing.shape_mask
    each = [np.flip(plain.probabilities(np.flip(picture(), axes)), axes) for axes in ((), (-1,), (-2,), (-1, -2))]
    np.testing.assert_allclose(options.probabilities(picture()), np.mean(each, axis=0), atol=1e-5)
    assert np.abs(each[0] - each[1]).max() > 0.01
    again, plain_again = pickle.loads(pickle.dumps(options)), pickle.loads(pickle.dumps(plain))
    assert again.tta and again.raw_masks and again.task == options.task
    assert not plain_again.tta and not plain_again.raw_masks, "not the segmenter that has the same files"
    assert np.array_equal(again.probabilities(picture()), options.probabilities(picture()))
