"""Ensembles: averaging in the image's geometry, refusal of other classes, and their entries in the results."""

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import inference
from sonoseg.errors import ModelError
from sonoseg.inference.segmenter import Segmenter
from sonoseg.models.members import model_files
from sonoseg.models.model_file import save_model
from sonoseg.models.networks import build_network
from sonoseg.runs.workspace import BEST_MODEL
from sonoseg.schema.task import Task
from tests.conftest import changed
from tests.models.members import member

pytestmark = pytest.mark.usefixtures("torch_alone")
NETWORK = {"name": "unet", "channels": [4, 8], "strides": [2], "residual_units": 0}


def small(task: Task, **changes: Any) -> Task:
    """Return the task with a tiny network; of enhancement it keeps none, unless a change says so."""
    return changed(task, **{"network": NETWORK, "input": {"size": (32, 48), "fit": "resize"}, **changes})


def saved(path: Path, task: Task, seed: int = 0) -> Path:
    torch.manual_seed(seed)
    save_model(path, build_network(task).state_dict(), task, {"seed": seed})
    return path


@pytest.fixture(scope="module")
def image() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 255, (40, 70), dtype=np.uint8)


def test_copies_of_a_model_give_the_result_of_one(spine, image, tmp_path):
    first = saved(tmp_path / "a.safetensors", small(spine))
    copy = Path(shutil.copy(first, tmp_path / "b.safetensors"))
    alone, together = Segmenter.load(first, "cpu"), Segmenter.load([first, str(copy)], "cpu")
    assert np.array_equal(alone.probabilities(image), together.probabilities(image))
    assert np.array_equal(alone(image).labels, together(image).labels)
    assert together.sha256 == hashlib.sha256((alone.sha256 * 2).encode()).hexdigest() != alone.sha256


def test_members_of_all_kinds_are_averaged_where_the_image_is(spine, image, tmp_path):
    sharper = {"unsharp": {"sigma": 2.0, "amount": 1.0}}
    other_size = {"size": (64, 64), "fit": "letterbox", "intensity": "z_score"}
    tasks = [
        small(spine, enhancement={}),
        small(spine, enhancement=sharper),
        small(spine, enhancement={}, input=other_size, network={**NETWORK, "channels": [8, 16]}),
    ]
    files = [saved(tmp_path / f"{seed}.safetensors", task, seed) for seed, task in enumerate(tasks)]
    each = [Segmenter.load(file, "cpu").probabilities(image) for file in files]
    assert np.abs(each[0] - each[1]).max() > 0.01 < np.abs(each[0] - each[2]).max()
    together = Segmenter.load(files, "cpu").probabilities(image)
    assert together.shape == (4, 40, 70) and together.dtype == np.float32
    assert together == pytest.approx(np.mean(each, axis=0), abs=1e-6)


def test_shared_preprocessing_is_computed_once(spine, image, monkeypatch):
    calls = []
    monkeypatch.setattr("sonoseg.models.predictor.enhance", lambda pixels, steps: calls.append(steps) or pixels)
    sharper = small(spine, enhancement={"unsharp": {}})
    tasks = [small(spine), small(spine), sharper, small(spine, input={"size": (64, 64)})]
    Segmenter([member(build_network(task).eval(), task) for task in tasks]).probabilities(image)
    assert calls == [spine.enhancement, sharper.enhancement]


def test_the_first_model_decides_all_but_the_probabilities(fetal_head, image, tmp_path):
    strict = small(fetal_head, name="strict", postprocessing={"threshold": 1.0})
    lax = small(fetal_head, name="lax", postprocessing={"threshold": 0.0})
    files = [saved(tmp_path / f"{task.name}.safetensors", task, 1) for task in (strict, lax)]
    shares = [Segmenter.load(order, "cpu")(image).labels.mean() for order in (files, files[::-1])]
    assert shares == [0.0, 1.0]
    assert Segmenter.load(files, "cpu").threshold == 1.0


def test_other_classes_are_refused_by_name(spine, fetal_head, tmp_path, monkeypatch):
    monkeypatch.setattr("sonoseg.inference.segmenter.load_member", None)  # they are refused before engines are tried
    turned = small(spine, structures=[spine.structures[i].model_dump() for i in (1, 0, 2)])
    for name, other in {"head": small(fetal_head), "turned": turned}.items():
        files = [saved(tmp_path / "spine.safetensors", small(spine)), saved(tmp_path / f"{name}.safetensors", other)]
        with pytest.raises(ModelError) as refused:
            Segmenter.load(files, "cpu")
        message = str(refused.value)
        assert all(str(file) in message for file in files) and "MID (line), VTB (rectangle), EPI (line)" in message
        assert "HEAD (ellipse)" in message or "VTB (rectangle), MID (line), EPI (line)" in message


def test_a_folder_stands_for_its_models(tmp_path):
    for fold in (10, 2, 0):
        (tmp_path / f"fold_{fold}").mkdir()
        (tmp_path / f"fold_{fold}" / BEST_MODEL).touch()
    (tmp_path / "fold_0" / "last.ckpt").touch()
    (tmp_path / "deep" / "er").mkdir(parents=True)
    (tmp_path / "deep" / "er" / BEST_MODEL).touch()
    members = [tmp_path / f"fold_{fold}" / BEST_MODEL for fold in (0, 2, 10)]
    assert model_files([tmp_path]) == members
    assert model_files([tmp_path / "fold_2"]) == members[1:2]
    assert model_files([members[2], tmp_path / "fold_0"]) == [members[2], members[0]]
    (tmp_path / BEST_MODEL).touch()
    assert model_files([tmp_path]) == [tmp_path / BEST_MODEL], "a sanity check beside a model is no part of it"


def test_wrong_models_are_refused(spine, tmp_path):
    good = saved(tmp_path / "good.safetensors", small(spine))
    (tmp_path / "bad.safetensors").write_text("no model")
    (tmp_path / "empty").mkdir()
    (tmp_path / "link.safetensors").symlink_to(good)
    wrong = {
        (tmp_path / "empty",): "empty: no best_model.safetensors",
        (good, good): "given twice",
        (good, tmp_path / "link.safetensors"): "link.safetensors: this model is given twice, also as .*good",
        (good, tmp_path / "bad.safetensors"): "bad.safetensors: not a SonoSeg model",
        (good, tmp_path / "gone.safetensors"): "gone.safetensors: no such model file",
        (): "no model is given",
    }
    for paths, message in wrong.items():
        with pytest.raises(ModelError, match=message):
            Segmenter.load(paths, "cpu")


def test_results_name_every_member(fetal_head, image, tmp_path, capsys):
    folder = tmp_path / "cross_validation"
    for seed in (0, 1):
        saved(folder / f"fold_{seed}" / BEST_MODEL, small(fetal_head), seed)
    (tmp_path / "new").mkdir()
    Image.fromarray(image).save(tmp_path / "new" / "a.png")
    arguments = ["--images", tmp_path / "new", "--output", tmp_path / "out", "--model"]
    assert inference.main([str(argument) for argument in (*arguments, folder)]) == 0
    assert "mean of 2 models" in capsys.readouterr().out
    run, record = (json.loads((tmp_path / "out" / name).read_text()) for name in ("run.json", "a.json"))
    files = model_files([folder])
    assert [model["file"] for model in run["models"]] == [str(file) for file in files]
    digests = [hashlib.sha256(file.read_bytes()).hexdigest() for file in files]
    assert [model["sha256"] for model in run["models"]] == digests
    assert [(model["task"], model["info"]) for model in run["models"]] == [("fetal_head", {"seed": n}) for n in (0, 1)]
    together = hashlib.sha256("".join(digests).encode()).hexdigest()
    assert run["model_sha256"] == record["model_sha256"] == together and run["model_info"] == {}

    assert inference.main([str(argument) for argument in (*arguments, files[1])]) == 0
    run = json.loads((tmp_path / "out" / "run.json").read_text())
    assert run["model_sha256"] == run["models"][0]["sha256"] == digests[1] and run["model_info"] == {"seed": 1}
