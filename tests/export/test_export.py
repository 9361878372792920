"""`sonoseg export`: the files hold the whole model, agree with it on real images, and are written only if they do."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx
import onnxruntime
import openvino
import pytest
import torch

from sonoseg.__main__ import main
from sonoseg.errors import ModelError
from sonoseg.export import write
from sonoseg.inference.segmenter import Segmenter
from sonoseg.models.engines.torch_engine import torch_predictor
from sonoseg.models.model_file import load_network, save_model
from sonoseg.models.model_header import ModelHeader, read_header
from sonoseg.models.networks import build_network
from sonoseg.models.registry import registered_models
from sonoseg.postprocess.class_map import class_map
from sonoseg.schema.images import Enhancement
from sonoseg.schema.task_files import load_task
from tests.conftest import REPOSITORY
from tests.small import small_task

HEAD, SPINE = (
    next(entry.path for entry in registered_models() if entry.name == name) for name in ("fetal_head", "spine_realtime")
)
NEEDED = Path(sys.prefix) / "bundle"
"""Where `make` puts what MONAI needs to run bundles."""
SIZES = ((540, 800), (384, 576), (700, 560), (213, 320), (1001, 1430))


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The model of heads as ONNX and for OpenVINO, that of spines as a bundle."""
    folder = tmp_path_factory.mktemp("exported")
    for model, to, name in ((HEAD, "onnx", "head.onnx"), (HEAD, "openvino", "head.xml"), (SPINE, "bundle", "spine")):
        assert main(["export", str(model), "--to", to, "--out", str(folder / name)]) == 0
    return folder


def agreement(run: Any, model: ModelHeader, images: list[np.ndarray]) -> float:
    """The fraction of the pixels with the label of stage 4, before small pieces are removed and ellipses drawn."""
    task = model.task
    predict = torch_predictor(load_network(model), task.network, Enhancement(), task.input)
    equal = [run(image) == class_map(predict(image), task.postprocessing.threshold) for image in images]
    return float(np.concatenate([part.ravel() for part in equal]).mean())


@pytest.fixture
def heads(hc18: Path) -> list[np.ndarray]:
    """50 real images of five sizes."""
    files = sorted((hc18 / "training_set").glob("*_HC.png"))[::70][:10]
    return [
        cv2.resize(cv2.imread(str(file), cv2.IMREAD_GRAYSCALE), size[::-1], interpolation=cv2.INTER_AREA)
        for file in files
        for size in SIZES
    ]


def test_onnx_gives_the_labels_of_the_model_on_real_images(exported: Path, heads: list[np.ndarray]) -> None:
    session = onnxruntime.InferenceSession(exported / "head.onnx")
    assert agreement(lambda image: session.run(["mask"], {"image": image})[0], read_header(HEAD), heads) >= 0.9999


def test_onnx_gives_the_raw_masks_of_stage_4(exported: Path, heads: list[np.ndarray]) -> None:
    """And not the ellipses that are its masks by default."""
    session = onnxruntime.InferenceSession(exported / "head.onnx")
    images = heads[: len(SIZES)]
    maps = [session.run(["mask"], {"image": image})[0] for image in images]
    shares = []
    for raw_masks in (True, False):
        segmenter = Segmenter.load(HEAD, "cpu", "torch", raw_masks=raw_masks)
        equal = [found == segmenter(image).labels for found, image in zip(maps, images, strict=True)]
        shares.append(float(np.concatenate([part.ravel() for part in equal]).mean()))
    assert shares[0] >= 0.9999 and 0.98 < shares[1] < 0.9985


def test_openvino_gives_the_labels_of_the_model_on_real_images(exported: Path, heads: list[np.ndarray]) -> None:
    graph = openvino.Core().read_model(exported / "head.xml")
    run = openvino.compile_model(graph, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    assert agreement(lambda image: run(image)["mask"], read_header(HEAD), heads) >= 0.9999
    assert graph.get_rt_info(["sonoseg", "notice"]).astype(str) == "not for clinical use"


def test_onnx_states_what_it_is(exported: Path) -> None:
    graph = onnx.load(exported / "head.onnx")
    facts = {entry.key: entry.value for entry in graph.metadata_props}
    assert graph.opset_import[0].version == 20
    (head,) = json.loads(facts["classes"])
    assert (head["value"], head["name"], head["shape"]) == (1, "HEAD", "ellipse")
    assert facts["model_sha256"] == read_header(HEAD).sha256
    assert (facts["before"], facts["notice"]) == ("", "not for clinical use")
    assert "above 0.5" in facts["rule"] and "mm per pixel" in facts["spacing"] and "HC18" in facts["attribution"]


def test_an_export_is_the_same_each_time(exported: Path, tmp_path: Path) -> None:
    assert main(["export", "fetal_head", "--to", "onnx", "--out", str(tmp_path / "again.onnx")]) == 0
    assert (tmp_path / "again.onnx").read_bytes() == (exported / "head.onnx").read_bytes()


def test_monai_runs_a_bundle(exported: Path, tmp_path: Path) -> None:
    """Without SonoSeg: it is not on the path, and the working folder is the bundle's."""
    if not NEEDED.is_dir():
        pytest.skip(f"no {NEEDED}: pip install --no-deps --target {NEEDED} -r requirements-bundle.txt")
    image = np.zeros((250, 351), np.uint8)
    cv2.line(image, (170, 5), (181, 160), 190, 9)
    cv2.rectangle(image, (120, 160), (230, 190), 220, -1)
    image = cv2.GaussianBlur(image, (0, 0), 3)
    (tmp_path / "in").mkdir()
    cv2.imwrite(str(tmp_path / "in" / "one.png"), image)
    arguments = ["--config_file", "configs/inference.json", "--dataset_dir", str(tmp_path / "in")]
    command = [sys.executable, "-m", "monai.bundle", "run", *arguments, "--output_dir", str(tmp_path / "out")]
    path = {"PYTHONPATH": f".{os.pathsep}{NEEDED}"}
    done = subprocess.run(command, cwd=exported / "spine", env=path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = cv2.imread(str(tmp_path / "out" / "one_mask.png"), cv2.IMREAD_UNCHANGED)
    model = read_header(SPINE)
    predict = torch_predictor(load_network(model), model.task.network, Enhancement(), model.task.input)
    expected = class_map(predict(image), model.task.postprocessing.threshold)
    assert expected.any() and found.shape == image.shape
    assert np.mean(found == expected) >= 0.9999
    state = torch.load(exported / "spine" / "models" / "model.pt", weights_only=True)
    assert state.keys() == load_network(read_header(SPINE)).state_dict().keys()


def test_the_model_card_names_the_export(tmp_path: Path) -> None:
    model = tmp_path / "best_model.safetensors"
    model.write_bytes(SPINE.read_bytes())
    card = tmp_path / "MODEL_CARD.md"
    card.write_text("# Spine\n\n## Known limits\n\nPhantoms only.\n")
    done = write.export(read_header(model), "bundle", tmp_path / "bundle")
    assert done.card == card
    assert card.read_text().startswith(
        "# Spine\n\n## Known limits\n\nPhantoms only.\n\n## Exports\n\n* bundle of model "
    )
    assert all(digest in card.read_text() for digest in done.digests.values())


def test_an_export_that_differs_is_not_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = write.onnx_file
    monkeypatch.setattr(write, "onnx_file", lambda model: other(read_header(SPINE)))
    with pytest.raises(ModelError, match=r"onnx export gives \d+\.\d+% of the pixels .* it is not kept"):
        write.export(read_header(HEAD), "onnx", tmp_path / "head.onnx")
    assert not list(tmp_path.iterdir())


def test_bad_targets_and_models_get_a_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "there.onnx").write_bytes(b"mine")
    for arguments, message in (
        (
            ["fetal_head", "--to", "onnx", "--out", str(tmp_path / "there.onnx")],
            "exists already; nothing is overwritten",
        ),
        (["fetal_head", "--to", "openvino", "--out", str(tmp_path / "x.onnx")], "expected a name that ends in .xml"),
        (["fetal_heads", "--to", "onnx"], "no model of that name"),
    ):
        assert main(["export", *arguments]) == 2
        error = capsys.readouterr().err
        assert message in error and len(error.splitlines()) == 1
    assert (tmp_path / "there.onnx").read_bytes() == b"mine"


def test_a_network_that_monai_lacks_cannot_be_a_bundle_and_enhancement_is_stated(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    task = load_task(str(small_task("fetal_head_segnet", tmp_path)))
    save_model(tmp_path / "segnet.safetensors", build_network(task).state_dict(), task, {})
    with pytest.raises(ModelError, match="segnet is not one of MONAI's; export it to onnx instead"):
        write.export(read_header(tmp_path / "segnet.safetensors"), "bundle", tmp_path / "bundle")
    assert main(["export", str(SPINE), "--to", "bundle", "--out", str(tmp_path / "spine")]) == 0
    assert "not inside: CLAHE (clip limit 2, 8x8 tiles)" in capsys.readouterr().out
    assert "CLAHE" in (tmp_path / "spine" / "docs" / "README.md").read_text()


def test_the_example_of_the_guide_runs_without_sonoseg(exported: Path, tmp_path: Path, hc18: Path) -> None:
    guide = (REPOSITORY / "docs" / "guide" / "export.md").read_text()
    (code,) = re.findall(r"```python\n(.*?)```", guide, re.DOTALL)
    (tmp_path / "example.py").write_text(
        code + '\nassert not any("sonoseg" in name or "torch" in name for name in sys.modules)\n'
    )
    picture = next(iter(sorted((hc18 / "training_set").glob("*_HC.png"))))
    command = [sys.executable, "example.py", str(exported / "head.onnx"), str(picture)]
    done = subprocess.run(command, cwd=tmp_path, env={}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    title, head = done.stdout.splitlines()
    assert title.endswith("not for clinical use")
    found = re.fullmatch(r"HEAD: (\d+) pixels, mean probability 0\.9\d", head)
    assert found and int(found[1]) == np.count_nonzero(cv2.imread(str(tmp_path / "mask.png"), cv2.IMREAD_UNCHANGED))
