"""The segmenter and the overlay: original geometry, wrong inputs, model files, threads and pickling."""

import pickle
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch

from sonoseg.errors import DataError, ModelError
from sonoseg.inference.overlay import draw_overlay
from sonoseg.inference.segmenter import Segmenter
from sonoseg.models.model_file import save_model
from sonoseg.models.networks import build_network
from sonoseg.postprocess.interpret import measure_labels
from sonoseg.reporting.image_text import TINY_PX
from sonoseg.schema.task import Task
from tests.conftest import REPOSITORY
from tests.models.members import member
from tests.models.unchecked import save_unchecked

DISK = {"open", "os.listdir", "os.scandir", "os.mkdir", "os.remove", "os.rename", "import"}


def bright_is_first_class(batch: torch.Tensor) -> torch.Tensor:
    """A network that assigns bright pixels to class 1 and all others background."""
    bright = batch[:, 0] > 0.5
    return torch.stack([~bright, bright], dim=1).float() * 8


def square_task(fetal_head: Task, fit: str) -> Task:
    fields = fetal_head.model_dump()
    fields["structures"] = [{"name": "SQUARE", "shape": "rectangle", "color": "#ff0000"}]
    fields["input"] = {"size": (256, 384), "fit": fit, "intensity": "unit"}
    return Task.model_validate({**fields, "metadata": {}, "measurements": [], "review": {"expected": ["SQUARE"]}})


@pytest.mark.parametrize("fit", ["resize", "letterbox", "pad_square"])
@pytest.mark.parametrize("size", [(500, 300), (300, 500), (64, 48), (700, 1100), (256, 384)])
def test_a_square_comes_back_where_it_was(fetal_head, fit, size):
    height, width = size
    image = np.zeros(size, np.uint8)
    left, top, right, bottom = width // 4, height // 8, width // 2, height // 3
    image[top : bottom + 1, left : right + 1] = 255
    findings = Segmenter([member(bright_is_first_class, square_task(fetal_head, fit))])(image)
    assert findings.labels.shape == size and findings.masks.shape == (1, *size)
    tolerance = 1 + max(height / 256, width / 384)  # half a network pixel at each edge, and the threshold's
    assert np.abs(findings.shapes[0].points - [[left, top], [right, bottom]]).max() <= tolerance
    overlay = draw_overlay(image, findings, square_task(fetal_head, fit).structures)
    assert overlay.shape == (*size, 3)
    inside = overlay[(top + bottom) // 2, (left + right) // 2].astype(int)
    assert inside[0] > inside[1] + 20  # red where the square is
    assert overlay[height // 2 + height // 8, width // 8].tolist() == [0, 0, 0]  # and nowhere beside it


def test_tiny_images_get_colours_but_no_text(fetal_head):
    task = square_task(fetal_head, "letterbox")
    for side, text in ((TINY_PX - 1, False), (TINY_PX + 80, True)):
        image = np.zeros((side, side), np.uint8)
        findings = measure_labels(image.copy(), image, task, None)
        assert draw_overlay(image, findings, task.structures).any() == text


def test_rgb_and_grey_agree_and_the_input_is_not_changed(fetal_head):
    segmenter = Segmenter([member(bright_is_first_class, square_task(fetal_head, "letterbox"))])
    grey = np.zeros((100, 150), np.uint8)
    grey[20:60, 30:90] = 255
    before = grey.copy()
    assert np.array_equal(segmenter(grey).labels, segmenter(np.repeat(grey[..., None], 3, axis=2)).labels)
    assert np.array_equal(grey, before)


@pytest.mark.parametrize(
    ("image", "spacing", "message"),
    [
        (np.zeros((50, 50), np.float32), None, "float32"),
        (np.zeros((50, 50, 4), np.uint8), None, r"\(50, 50, 4\)"),
        (np.zeros((3, 50), np.uint8), None, "at least 8"),
        ([[0, 1]], None, "list"),
        (np.zeros((50, 50), np.uint8), (0.1, 0), "above 0"),
        (np.zeros((50, 50), np.uint8), (0.1, float("nan")), "above 0"),
        (np.zeros((50, 50), np.uint8), 0.1, "row_mm, col_mm"),
    ],
)
def test_a_wrong_input_is_refused(fetal_head, image, spacing, message):
    with pytest.raises(DataError, match=message):
        Segmenter([member(bright_is_first_class, square_task(fetal_head, "letterbox"))])(image, spacing)


def small(task: Task) -> Task:
    network = {"name": "unet", "channels": [4, 8], "strides": [2], "residual_units": 0}
    return Task.model_validate({**task.model_dump(), "network": network, "input": {"size": (32, 32)}})


def test_a_model_file_gives_the_same_probabilities_as_its_network(fetal_head, tmp_path):
    torch.manual_seed(0)
    task = small(fetal_head)
    network = build_network(task).eval()
    digest = save_model(tmp_path / "m.safetensors", network.state_dict(), task, {"epoch": 3})
    segmenter = Segmenter.load(tmp_path / "m.safetensors", device="cpu")
    image = np.random.default_rng(0).integers(0, 255, (40, 60), dtype=np.uint8)
    probabilities = segmenter.probabilities(image)
    assert probabilities.shape == (2, 40, 60) and probabilities.sum(axis=0) == pytest.approx(1, abs=1e-5)
    assert np.allclose(probabilities, Segmenter([member(network, task)]).probabilities(image), atol=1e-6)
    assert (segmenter.sha256, segmenter.info["epoch"], segmenter.task) == (digest, 3, task)


def test_weights_of_another_network_are_refused(fetal_head, tmp_path):
    save_unchecked(tmp_path / "m.safetensors", {"weight": torch.zeros(3)}, small(fetal_head), {})
    with pytest.raises(ModelError, match="do not fit"):
        Segmenter.load(tmp_path / "m.safetensors")


def test_a_frame_needs_no_disk_access_and_its_result_is_not_changed(spine, tmp_path):
    task = Task.model_validate({**small(spine).model_dump(), "enhancement": {"clahe": {}, "unsharp": {}}})
    torch.manual_seed(0)
    save_model(tmp_path / "m.safetensors", build_network(task).state_dict(), task, {})
    segmenter = Segmenter.load(tmp_path / "m.safetensors", "cpu", "openvino")
    frames = np.random.default_rng(0).integers(0, 255, (4, 60, 80), dtype=np.uint8)
    first = segmenter(frames[0], (0.1, 0.1))
    copies = first.labels.copy(), first.probabilities.copy()
    touched: list[str] = []
    watching = [True]
    sys.addaudithook(lambda event, _: touched.append(event) if watching and event in DISK else None)
    again = [segmenter(frame, (0.1, 0.1)) for frame in [*frames[1:], frames[0]]][-1]
    watching.clear()  # a hook cannot be taken away
    assert not touched
    assert np.array_equal(first.labels, copies[0]) and np.array_equal(first.probabilities, copies[1])
    assert np.array_equal(again.probabilities, copies[1]), "a frame does not depend on the one before"


def test_threads_may_share_a_segmenter(spine, tmp_path):
    task = small(spine)
    save_model(tmp_path / "m.safetensors", build_network(task).state_dict(), task, {})
    frames = list(np.random.default_rng(1).integers(0, 255, (30, 60, 80), dtype=np.uint8))
    for engine in ("torch", "openvino"):
        segmenter = Segmenter.load(tmp_path / "m.safetensors", "cpu", engine)
        alone = [segmenter.probabilities(frame) for frame in frames]
        with ThreadPoolExecutor(4) as pool:
            together = list(pool.map(segmenter.probabilities, frames))
        assert all(np.allclose(actual, expected, atol=1e-6) for actual, expected in zip(together, alone, strict=True))


def test_a_pickled_segmenter_is_loaded_once_in_another_process(spine, fetal_head, tmp_path, monkeypatch):
    task = small(spine)
    for seed, name in enumerate(("a", "b")):
        torch.manual_seed(seed)
        save_model(tmp_path / f"{name}.safetensors", build_network(task).state_dict(), task, {})
    files = [tmp_path / "a.safetensors", tmp_path / "b.safetensors"]
    monkeypatch.chdir(tmp_path)
    segmenter = Segmenter.load([file.name for file in files], "cpu", "openvino")
    image = np.random.default_rng(1).integers(0, 255, (60, 80), dtype=np.uint8)
    np.save(tmp_path / "image.npy", image)
    (tmp_path / "segmenter.pickle").write_bytes(pickle.dumps(segmenter))
    code = (
        "import pickle, sys, pathlib, numpy as np\n"
        "folder = pathlib.Path(sys.argv[1])\n"
        "first, second = (pickle.loads((folder / 'segmenter.pickle').read_bytes()) for _ in range(2))\n"
        "assert first is second\n"
        "np.save(folder / 'result.npy', first.probabilities(np.load(folder / 'image.npy')))\n"
    )
    subprocess.run([sys.executable, "-c", code, tmp_path], cwd=REPOSITORY, check=True)
    assert np.array_equal(np.load(tmp_path / "result.npy"), segmenter.probabilities(image))

    save_model(files[0], build_network(task).state_dict(), task, {"seed": 3})
    with pytest.raises(ModelError, match="changed since the segmenter was pickled"):
        pickle.loads((tmp_path / "segmenter.pickle").read_bytes())
    with pytest.raises(ModelError, match=r"use Segmenter\.load"):
        pickle.dumps(Segmenter([member(bright_is_first_class, square_task(fetal_head, "letterbox"))]))


def test_probabilities_of_each_member(spine):
    task = small(spine)
    networks = [build_network(task).eval() for _ in range(3)]
    segmenter = Segmenter([member(network, task) for network in networks])
    image = np.random.default_rng(1).integers(0, 255, (60, 80), dtype=np.uint8)
    each = segmenter.member_probabilities(image)
    mean, variance = segmenter.mean_and_variance(image)
    assert [maps.shape for maps in each] == [(4, 60, 80)] * 3 and mean.shape == variance.shape == (4, 60, 80)
    np.testing.assert_allclose(mean, segmenter.probabilities(image), atol=1e-6)
    np.testing.assert_allclose(variance, np.var(each, axis=0, ddof=1), atol=1e-6)


def test_a_segmenter_is_pickled_with_the_files_that_it_was_loaded_from(spine, tmp_path, monkeypatch):
    (tmp_path / "a").mkdir()
    save_model(tmp_path / "a" / "m.safetensors", build_network(small(spine)).state_dict(), small(spine), {})
    monkeypatch.chdir(tmp_path / "a")
    segmenter = Segmenter.load("m.safetensors", "cpu", "torch")
    monkeypatch.chdir(tmp_path)
    assert pickle.loads(pickle.dumps(segmenter)).sha256 == segmenter.sha256


def test_no_member_is_refused():
    with pytest.raises(ModelError, match="at least one"):
        Segmenter([])


def test_loading_a_model_loads_the_compiled_functions_of_its_task(spine, tmp_path, monkeypatch):
    modules = ("sonoseg.preprocess.denoise", "sonoseg.geometry.capsule")
    for module in modules:
        monkeypatch.delitem(sys.modules, module, raising=False)
    task = small(spine)
    assert task.enhancement.denoise and any(structure.shape == "line" for structure in task.structures)
    save_model(tmp_path / "m.safetensors", build_network(task).state_dict(), task, {})
    Segmenter.load(tmp_path / "m.safetensors", "cpu", "torch")
    assert set(modules) <= set(sys.modules)
