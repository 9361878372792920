"""The models that come with SonoSeg: files, registry, use without training, initial weights."""

import csv
import hashlib
from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

import inference
from sonoseg.errors import ModelError
from sonoseg.inference.segmenter import Segmenter
from sonoseg.io.files import sha256_of
from sonoseg.io.png import write_image
from sonoseg.io.readers import read_image
from sonoseg.models.model_file import compact_model, initial_state, load_network, save_model
from sonoseg.models.model_header import read_header
from sonoseg.models.networks import build_network
from sonoseg.models.registry import (
    FOLDER,
    ModelEntry,
    model_for_task,
    registered_model,
    registered_models,
    resolve,
    shipped_model,
)
from sonoseg.phantom.dataset import plan
from sonoseg.phantom.layout import Settings
from sonoseg.quality.familiarity import image_statistics
from sonoseg.schema.task import Task
from sonoseg.schema.task_files import load_task
from sonoseg.training.setup import seen_images, start_from
from tests.conftest import changed
from tests.models.small_networks import UNET
from tests.quality.unrelated import unrelated_pictures

MAX_BYTES = 15_000_000
ENTRIES = registered_models()


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry.name)
def test_each_file_is_the_one_that_the_registry_describes(entry: ModelEntry) -> None:
    data = entry.path.read_bytes()
    assert len(data) <= MAX_BYTES and hashlib.sha256(data).hexdigest() == entry.sha256
    header = read_header(entry.path)
    assert (
        header.task == load_task(entry.task).without_codes() and header.quality is not None and header.probe is not None
    )
    assert next(load_network(header).parameters()).dtype == torch.float32
    assert entry.licence and entry.attribution and entry.scores and model_for_task(load_task(entry.task)) == entry


def test_every_file_is_listed() -> None:
    assert {path.name for path in FOLDER.glob("*.safetensors")} == {entry.file for entry in ENTRIES}
    assert {"fetal_head", "spine_realtime"} <= {entry.name for entry in ENTRIES}


def test_a_folder_of_images_is_measured_without_training(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """On a head that was simulated, as a user would who has trained nothing."""
    (case,) = plan(Settings(kind="head", images=1, seed=4))
    images = tmp_path / "images"
    images.mkdir()
    write_image(images / "a.png", case.simulate().image)
    command = ["--task", "fetal_head", "--workspace", str(tmp_path), "--images", str(images), "--spacing", "0.2"]
    assert inference.main(command) == 0
    said = capsys.readouterr().out
    assert "which comes with SonoSeg, is used, trained on" in said and "CC BY 4.0" in said
    with (tmp_path / "result" / "fetal_head" / "results.csv").open() as stream:
        (row,) = csv.DictReader(stream)
    assert float(row["hc_mm_low"]) < float(row["hc_mm"]) < float(row["hc_mm_high"]) and 0 < float(row["quality"]) < 1


def test_an_own_model_is_preferred_to_the_one_that_comes_with_sonoseg(fetal_head: Task, tmp_path: Path) -> None:
    trained = tmp_path / "best_model.safetensors"
    assert shipped_model(trained, fetal_head) == registered_model("fetal_head")
    trained.touch()
    assert shipped_model(trained, fetal_head) is None


def test_unrelated_pictures_are_rejected_or_empty() -> None:
    """At least 95 of 100: text, noise, black, gradients, scenes, clouds, phantoms of other organs."""
    segmenter = Segmenter.load("fetal_head")
    found: Counter[str] = Counter()
    for picture in unrelated_pictures(100):
        findings = segmenter(picture, (0.2, 0.2))
        found[findings.status if findings.masks.any() else "nothing found"] += 1
    print(dict(found))  # docs/results.md has the figures
    assert found["reject"] + found["nothing found"] >= 95


def test_heads_are_not_rejected_as_unfamiliar(hc18: Path) -> None:
    segmenter = Segmenter.load("fetal_head")
    (quality,) = (member.quality for member in segmenter.members)
    assert quality is not None and quality.familiarity is not None
    images = [read_image(path).pixels for path in sorted((hc18 / "training_set").glob("*HC.png"))[::8]]
    far = [quality.familiarity.distance(image_statistics(image)) > quality.familiarity.limit for image in images]
    assert sum(far) <= 0.01 * len(far)


def test_a_model_is_found_by_its_name_unless_there_is_such_a_path(tmp_path: Path, monkeypatch) -> None:
    assert Segmenter.load("fetal_head", engine="torch").task.name == "fetal_head"
    monkeypatch.chdir(tmp_path)
    Path("fetal_head").mkdir()
    assert resolve("fetal_head") == Path("fetal_head") and resolve("a/nothing") == Path("a/nothing")


@pytest.fixture
def small_model(fetal_head: Task, tmp_path: Path) -> tuple[Task, Path]:
    task = changed(fetal_head, input={"size": (32, 32)}, network={**UNET, "deep_supervision": []})
    save_model(tmp_path / "a.safetensors", build_network(task).state_dict(), task, {})
    return task, tmp_path / "a.safetensors"


def test_weights_of_sixteen_bits_give_the_same_network(small_model: tuple[Task, Path]) -> None:
    header = read_header(path := small_model[1])
    before = load_network(header).state_dict()
    path.write_bytes(compact_model(header))
    after = load_network(read_header(path)).state_dict()
    for name, tensor in before.items():
        assert after[name].dtype == tensor.dtype
        torch.testing.assert_close(after[name], tensor, rtol=1e-3, atol=1e-5)


def test_initial_weights_are_taken_where_they_fit(small_model: tuple[Task, Path], fetal_head: Task) -> None:
    task, path = small_model
    network = build_network(task)
    line = start_from(network, str(path))
    given = load_network(read_header(path)).state_dict()
    assert all(torch.equal(tensor, given[name]) for name, tensor in network.state_dict().items())
    assert line == f"initial weights: {len(given)} of {len(given)} tensors from {path} (task fetal_head)"

    wider = build_network(changed(task, network={**UNET, "deep_supervision": [], "channels": [4, 12]}))
    drawn = wider.state_dict()
    state, others = initial_state(wider, read_header(path))
    assert 0 < len(others) < len(state)
    for name, tensor in state.items():
        expected = drawn[name] if name in others else given[name]
        assert torch.equal(tensor, expected)


def test_images_that_the_initial_weights_were_trained_on_are_counted(hc18: Path) -> None:
    entry = registered_model("fetal_head")
    assert entry is not None
    images = sorted((hc18 / "training_set").glob("*HC.png"))[:40]
    seen = [path for path in images if entry.trained_on_file(sha256_of(path))]
    assert 25 < len(seen) < 40, "four of five images of HC18 train"

    samples = [SimpleNamespace(sha256=sha256_of(path)) for path in images]
    data: Any = SimpleNamespace(test_samples=samples, validation_samples=[SimpleNamespace(sha256="0" * 64)])
    (line,) = seen_images("fetal_head", data)
    assert f"trained on {len(seen)} of the 40 test images: these scores" in line
    assert seen_images("a.safetensors", data) == [] == seen_images("spine_realtime", data)


def test_weights_of_which_none_fits_are_refused(small_model: tuple[Task, Path]) -> None:
    with pytest.raises(ModelError, match="none of its weights fits"):
        initial_state(torch.nn.Linear(3, 5), read_header(small_model[1]))
    with pytest.raises(ModelError, match="no model of that name; names are fetal_head"):
        start_from(build_network(small_model[0]), "no_such_name")


def test_values_that_are_not_finite_are_refused_in_sixteen_bits(small_model: tuple[Task, Path]) -> None:
    data = bytearray(compact_model(read_header(small_model[1])))
    data[-2:] = np.float16(np.inf).tobytes()
    small_model[1].write_bytes(data)
    with pytest.raises(ModelError, match="not finite"):
        read_header(small_model[1])
