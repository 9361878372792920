"""Heat maps and probabilities: geometry, values, removal; and the threshold of a single class."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import inference
from sonoseg.inference.heatmap import draw_heatmap, probability_levels
from sonoseg.io.masks import read_mask
from sonoseg.io.readers import read_image
from sonoseg.schema.task import Task
from tests.conftest import changed
from tests.models.members import always_load, member

HEIGHT, WIDTH = 160, 256


def slope(batch: torch.Tensor) -> torch.Tensor:
    """A network of a single class whose probability is the brightness of a pixel."""
    return torch.logit(batch, eps=1e-6)


def third(batch: torch.Tensor) -> torch.Tensor:
    """A network of three classes: the second where it is bright, else background."""
    bright = batch[:, 0] > 0.5
    absent = torch.full_like(batch[:, 0], -5)
    return torch.stack([(~bright).float() * 4, absent, bright.float() * 4, absent], dim=1)


def ramp() -> np.ndarray:
    return np.tile(np.linspace(0, 255, WIDTH).round().astype(np.uint8), (HEIGHT, 1))


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    (tmp_path / "new").mkdir()
    for name in ("a", "b"):
        Image.fromarray(ramp()).save(tmp_path / "new" / f"{name}.png")
    return tmp_path / "new"


def plain(task: Task, heatmap: bool = False, threshold: float = 0.5) -> Task:
    """Return the task at the ramp's own size, so that the image is the network's input."""
    return changed(
        task,
        input={"size": (HEIGHT, WIDTH), "intensity": "unit"},
        enhancement={},
        measurements=[],
        metadata={},
        review={"heatmap": heatmap},
        postprocessing={"threshold": threshold, "fill_gaps": False},
    )


def run(monkeypatch, network, task: Task, folder: Path, *flags: str) -> Path:
    always_load(monkeypatch, member(network, task))
    out = folder.parent / "out"
    inference.main(["--task", task.name, "--images", str(folder), "--output", str(out), *flags])
    return out


def pictures_of(out: Path, name: str) -> set[str]:
    return {path.name.removeprefix(name) for path in out.glob(f"{name}_*")}


@pytest.mark.parametrize("flags", [[], ["--heatmap"]])
def test_one_class_has_one_map_of_the_images_size(monkeypatch, fetal_head, pictures, flags):
    out = run(monkeypatch, slope, plain(fetal_head, heatmap=not flags), pictures, *flags)
    assert pictures_of(out, "a") == {"_mask.png", "_overlay.png", "_heatmap.png", "_probability.png"}
    heat = np.array(Image.open(out / "a_heatmap.png"))
    assert heat.shape == (HEIGHT, WIDTH, 3)
    grey = Image.open(out / "a_probability.png")
    assert grey.mode == "L" and np.abs(np.asarray(grey) / 255.0 - ramp() / 255.0).max() <= 1 / 255
    assert json.loads((out / "run.json").read_text())["settings"]["heatmap"] is True


def test_several_classes_stand_side_by_side(monkeypatch, spine, pictures):
    out = run(monkeypatch, third, plain(spine, heatmap=True), pictures)
    names = {f"_probability_{name}.png" for name in ("MID", "VTB", "EPI")}
    assert pictures_of(out, "a") == {"_mask.png", "_overlay.png", "_heatmap.png", *names}
    heat = np.array(Image.open(out / "a_heatmap.png")).astype(int)
    assert heat.shape == (HEIGHT, 3 * WIDTH, 3)
    spot = heat[60, [WIDTH // 2 + 20, WIDTH + WIDTH // 2 + 20, 2 * WIDTH + WIDTH // 2 + 20]]
    colored = np.ptp(spot, axis=1)
    assert colored[1] > 100 and max(colored[0], colored[2]) < 5, "only the second class glows, and in the middle panel"
    vtb = read_image(out / "a_probability_VTB.png").pixels
    for half, logit in ((vtb[:, WIDTH // 2 + 2 :], 4), (vtb[:, : WIDTH // 2 - 2], 0)):
        expected = 255 * np.exp(logit) / (np.exp(4) + 1 + 2 * np.exp(-5))  # softmax by hand
        assert np.abs(half - expected).max() <= 0.51


def test_a_fourth_class_begins_a_new_row(spine):
    fourth = {"name": "MORE", "shape": "region", "color": "#00ff00"}
    task = changed(spine, structures=[*(structure.model_dump() for structure in spine.structures), fourth])
    probabilities = np.zeros((5, 20, 30), np.float32)
    probabilities[0, :], probabilities[0, :, 15:], probabilities[4, :, 15:] = 1, 0, 1
    heat = draw_heatmap(np.zeros((20, 30), np.uint8), probabilities, task.structures, threshold=0.5)
    assert heat.shape == (40, 90, 3)
    assert heat[:20].max() == 0, "at probability 0 the image is seen, which is black"
    assert heat[20:, 30:].max() == 0 and heat[24:36, 20:26].max(axis=2).min() > 90


def test_the_line_surrounds_the_pixels_above_the_threshold(fetal_head):
    probabilities = np.stack([1 - ramp() / 255.0, ramp() / 255.0]).astype(np.float32)
    for threshold in (0.25, 0.75):
        heat = draw_heatmap(ramp(), probabilities, fetal_head.structures, threshold)
        white = np.flatnonzero((heat[50] == 255).all(axis=1))
        assert white[0] == np.flatnonzero(probabilities[1, 50] > threshold)[0] - 1


def test_levels_are_probabilities_to_half_a_step():
    values = np.random.default_rng(0).random((2, 50, 50), dtype=np.float32)
    assert np.abs(probability_levels(values) / 255.0 - values).max() <= 1 / 510 + 1e-7
    edge = np.array([[-1e-7, 0, 1, 1 + 1e-6]], np.float32)
    assert probability_levels(edge).tolist() == [[0, 0, 255, 255]]


@pytest.mark.parametrize("name", ["fetal_head", "spine"])
def test_maps_are_removed_when_an_image_fails_or_none_are_requested(monkeypatch, request, pictures, name):
    task = request.getfixturevalue(name)
    network = slope if task.is_binary else third
    out = run(monkeypatch, network, plain(task), pictures, "--heatmap")
    expected = 2 + 1 + len(task.structures)
    assert len(pictures_of(out, "a")) == len(pictures_of(out, "b")) == expected
    (pictures / "a.png").write_bytes(b"")
    run(monkeypatch, network, plain(task), pictures)
    assert not list(out.glob("a*")), "a failed image keeps nothing of an earlier run"
    assert pictures_of(out, "b") == {"_mask.png", "_overlay.png"}, "these maps were of another run than the mask"


def test_the_threshold_decides_the_mask_and_is_written(monkeypatch, fetal_head, spine, pictures, capsys):
    shares = []
    for threshold in (0.25, 0.75):
        out = run(monkeypatch, slope, plain(fetal_head, threshold=threshold), pictures)
        assert f", threshold {threshold}" in capsys.readouterr().out
        shares.append(float(np.mean(read_mask(out / "a_mask.png") == 1)))
        for file in ("run.json", "a.json"):
            assert json.loads((out / file).read_text())["threshold"] == threshold
    assert shares == pytest.approx([0.75, 0.25], abs=0.01)
    out = run(monkeypatch, third, plain(spine), pictures)
    assert ", threshold" not in capsys.readouterr().out
    assert all(json.loads((out / file).read_text())["threshold"] is None for file in ("run.json", "a.json"))
