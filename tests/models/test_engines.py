"""Engines: agreement with torch, choice of the fastest, and refusal of damaged conversions."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import inference
from sonoseg.errors import ModelError, UsageError
from sonoseg.inference.segmenter import Segmenter, first_use_remarks
from sonoseg.models.engines import ENGINE_NAMES, cache, choose
from sonoseg.models.engines.base import Conversion, EngineType, NetworkFunction
from sonoseg.models.engines.check import pixel_agreement, sample_images
from sonoseg.models.engines.choose import EngineOptions, load_engine
from sonoseg.models.engines.installed import ENGINE_TYPES, installed
from sonoseg.models.engines.torch_engine import network_function
from sonoseg.models.engines.tracing import trace
from sonoseg.models.model_file import save_model
from sonoseg.models.model_header import read_header
from sonoseg.models.networks import build_network
from sonoseg.schema.task import Task
from tests.conftest import REPOSITORY, changed

UNET = {"name": "unet", "channels": [4, 8], "strides": [2], "residual_units": 1}
UNPADDED = {"name": "unet2015", "channels": [4, 8, 16], "padding": "valid", "target": "cropped"}
SEGNET = {"name": "segnet", "channels": [4, 8, 8], "convolutions": [1, 1, 1]}
SEGRESNET = {
    "name": "segresnet",
    "arguments": {"init_filters": 8, "blocks_down": [1, 1], "blocks_up": [1]},
}
NETWORKS: dict[str, tuple[dict[str, Any], tuple[int, int]]] = {
    "unet": (UNET, (32, 48)),
    "segnet": (SEGNET, (32, 48)),
    "segnet with skip": ({**SEGNET, "skip": True}, (32, 48)),
    "unet2015": ({"name": "unet2015", "channels": [4, 8, 16]}, (32, 48)),
    "unet2015 in tiles": (UNPADDED, (92, 100)),
    "unet2015 scaled": ({**UNPADDED, "target": "resized"}, (92, 100)),
    "attention_unet": ({"name": "attention_unet", "arguments": {"channels": [4, 8], "strides": [2]}}, (32, 48)),
    "segresnet": (SEGRESNET, (32, 48)),
}


def small(task: Task, name: str = "unet") -> Task:
    network, size = NETWORKS[name]
    return changed(task, network=network, input={"size": size}, enhancement={})


def saved(path: Path, task: Task, seed: int = 0) -> Path:
    torch.manual_seed(seed)
    save_model(path, build_network(task).state_dict(), task, {})
    return path


def converted(engine: str, task: Task, network: nn.Module) -> Conversion:
    size = task.input.size
    return ENGINE_TYPES[engine].convert(trace(network.eval(), task.network, size), size)


@pytest.fixture
def model(spine: Task, tmp_path: Path) -> Path:
    return saved(tmp_path / "model" / "m.safetensors", small(spine))


@pytest.fixture
def only_openvino(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sonoseg.models.engines.installed.ENGINE_TYPES", {"openvino": ENGINE_TYPES["openvino"]})


def stored_file(model: Path, ends: str) -> Path:
    (file,) = (model.parent / "engines").glob(f"*{ends}")
    return file


def test_every_name_has_an_engine() -> None:
    assert set(ENGINE_NAMES) == {"torch", *ENGINE_TYPES}


@pytest.mark.parametrize("engine", ENGINE_TYPES)
@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("classes", ["spine", "fetal_head"])
def test_an_engine_agrees_with_torch(request, engine: str, name: str, classes: str) -> None:
    if engine not in installed():
        pytest.skip(f"{engine} is not installed")
    task = small(request.getfixturevalue(classes), name)
    torch.manual_seed(1)
    network = build_network(task).eval()
    images = sample_images(task.input)
    reference = network_function(network, task.network)(images)
    files = converted(engine, task, network)
    for num_threads in (0, 2):
        maps = ENGINE_TYPES[engine].start(files, num_threads)(images)
        assert maps.dtype == np.float32 and maps.shape == reference.shape == (
            3,
            len(task.structures) + 1,
            *images.shape[2:],
        )
        if ENGINE_TYPES[engine].explicit_only:
            assert np.abs(maps - reference).max() < 0.05, "fewer digits, but the same network"
        else:
            assert np.abs(maps - reference).max() < 1e-5
            assert pixel_agreement(maps, reference, task.postprocessing.threshold) > 0.999


@pytest.mark.parametrize("engine", ENGINE_TYPES)
def test_threads_that_share_an_engine_get_their_own_results(fetal_head: Task, engine: str) -> None:
    if engine not in installed():
        pytest.skip(f"{engine} is not installed")
    task = small(fetal_head)
    files = converted(engine, task, build_network(task))
    images = np.random.default_rng(0).random((40, 1, 1, 32, 48), dtype=np.float32)
    alone = [ENGINE_TYPES[engine].start(files, 1)(image) for image in images]
    run = ENGINE_TYPES[engine].start(files, 4)
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(run, images))
    assert all(np.array_equal(maps, expected) for maps, expected in zip(together, alone, strict=True))


def test_openvino_has_run_once_before_threads_share_it(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two first calls of its NumPy binding at the same time end in a deadlock."""
    import openvino

    task, done = read_header(model).task, []
    files = converted("openvino", task, build_network(task))
    real = openvino.InferRequest.infer
    monkeypatch.setattr(openvino.InferRequest, "infer", lambda *args, **more: done.append(1) or real(*args, **more))
    ENGINE_TYPES["openvino"].start(files, 2)
    assert done


SIGNAL_AFTER_ENGINES = """
import faulthandler, gc, os, signal, sys
from pathlib import Path
faulthandler.enable()
from sonoseg.models.engines.installed import ENGINE_TYPES
files = {suffix: Path("network").with_suffix(suffix).read_bytes() for suffix in (".xml", ".bin")}
first = ENGINE_TYPES["openvino"].start(files, 1)
second = ENGINE_TYPES["openvino"].start(files, 1)
del first, second
gc.collect()
signal.signal(signal.SIGTERM, lambda *_: print("handled"))
os.kill(os.getpid(), signal.SIGTERM)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
def test_a_signal_is_handled_after_engines_were_deleted(model: Path, tmp_path: Path) -> None:
    task = read_header(model).task
    for suffix, content in converted("openvino", task, build_network(task)).items():
        (tmp_path / "network").with_suffix(suffix).write_bytes(content)
    command, environment = [sys.executable, "-c", SIGNAL_AFTER_ENGINES], {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (0, "handled\n"), done.stderr


def test_agreement_by_hand() -> None:
    reference = np.zeros((1, 4, 2, 5), np.float32)
    reference[:, 0], reference[:, 2] = 0.7, 0.3
    assert pixel_agreement(reference, reference, 0.5) == 1
    near = reference.copy()
    near[0, :, 0, 0] = 0.695, 0, 0.305, 0
    assert pixel_agreement(near, reference, 0.5) == 1
    near[0, :, 0, 0] = 0.68, 0, 0.32, 0
    assert pixel_agreement(near, reference, 0.5) == 0.9, "the class is the same, but the probability is far off"
    assert pixel_agreement(near, reference, 0.5, tolerance=0.03) == 1
    other = reference.copy()
    other[0, :, 1, :2] = np.array([[0.3, 0, 0.7, 0]]).T
    assert pixel_agreement(other, reference, 0.5) == pytest.approx(0.8)
    tied = reference.copy()
    tied[:, 0], tied[:, 2] = 0.50001, 0.49999
    assert pixel_agreement(1 - tied[:, [2, 1, 0, 3]] * [[[[1]], [[0]], [[1]], [[0]]]], tied, 0.5) == 0, (
        "no probabilities"
    )
    assert pixel_agreement(tied[:, [2, 1, 0, 3]], tied, 0.5) == 1, "either of two equal classes will do"
    assert pixel_agreement(np.full_like(reference, np.nan), reference, 0.5) == 0
    assert pixel_agreement(reference[..., :4], reference, 0.5) == 0
    inside = np.array([0.2, 0.295, 0.29999, 0.305], np.float32)
    outside = np.array([0.2, 0.302, 0.30001, 0.305], np.float32)
    maps = [np.stack([1 - values, values])[None, :, None] for values in (inside, outside)]
    assert pixel_agreement(*maps, 0.3) == 0.75, "0.295 and 0.302 are on either side of the threshold, not at it"


def test_the_images_of_the_check_have_structure(spine: Task, fetal_head: Task) -> None:
    for task in (spine, fetal_head):
        images = sample_images(task.input)
        assert images.shape == (3, 1, *task.input.size) and images.dtype == np.float32
        assert np.array_equal(images, sample_images(task.input))
        assert all(image.std() > 0.05 for image in images) and not np.array_equal(images[0], images[1])


def test_the_fastest_engine_is_chosen(model: Path, only_openvino: None) -> None:
    header = read_header(model)
    assert [str(model) in line for line in first_use_remarks([header], EngineOptions())] == [True]
    first = load_engine(read_header(model), EngineOptions())
    assert first.name in ("torch", "openvino")
    assert first_use_remarks([header], EngineOptions()) == []
    record = json.loads(stored_file(model, ".json").read_text())
    assert record["model_sha256"] == read_header(model).sha256 and record["trials"]["openvino"]["agreement"] == 1
    for fastest in ("torch", "openvino"):
        for name in ("torch", "openvino"):
            record["trials"][name]["milliseconds"] = 1.0 if name == fastest else 2.0
        stored_file(model, ".json").write_text(json.dumps(record))
        engine = load_engine(read_header(model), EngineOptions())
        assert (engine.name, engine.milliseconds, engine.remarks) == (fastest, 1.0, ())
    named = [load_engine(read_header(model), EngineOptions(name)) for name in ("torch", "openvino")]
    assert [engine.name for engine in named] == ["torch", "openvino"]
    images = sample_images(read_header(model).task.input)
    assert np.allclose(named[0].run(images), named[1].run(images), atol=1e-5)


def test_fewer_bits_are_used_only_when_named(model: Path) -> None:
    load_engine(read_header(model), EngineOptions())
    record = json.loads(stored_file(model, ".json").read_text())
    record["trials"]["openvino_bf16"]["milliseconds"] = 1e-6
    stored_file(model, ".json").write_text(json.dumps(record))
    assert load_engine(read_header(model), EngineOptions()).name != "openvino_bf16"
    assert load_engine(read_header(model), EngineOptions("openvino_bf16")).name == "openvino_bf16"


def damages(model: Path, other: Path) -> Iterator[tuple[str, Any]]:
    record, weights = stored_file(model, ".json"), stored_file(model, ".bin")
    yield "record cut short", lambda: record.write_text(record.read_text()[:100])
    yield "record of nothing", lambda: record.write_text("[]")
    yield "record gone", record.unlink
    yield "weights changed", lambda: weights.write_bytes(weights.read_bytes()[:-1] + b"x")
    yield "weights gone", weights.unlink
    yield "network cut short", lambda: stored_file(model, ".xml").write_bytes(b"")
    yield "weights of another model", lambda: shutil.copy(stored_file(other, ".bin"), weights)
    yield "record of another model", lambda: shutil.copy(stored_file(other, ".json"), record)
    text = record.read_text()
    yield "another version", lambda: record.write_text(text.replace(installed()["openvino"], "2001.1"))
    yield "no files named", lambda: record.write_text(text.replace('".bin"', '".txt"'))
    yield "no list of files", lambda: record.write_text(text.replace('"files": {}', '"files": 3'))
    yield "an engine missing", lambda: record.write_text(text.replace('"torch": {', '"jax": {'))
    yield "another machine", lambda: record.write_text(text.replace('"machine": "', '"machine": "other '))
    yield "another SonoSeg", lambda: record.write_text(text.replace('"sonoseg": "', '"sonoseg": "0'))
    yield "another format", lambda: record.write_text(text.replace('"format": ', '"format": 9'))


def test_damaged_or_foreign_conversions_are_made_again(
    model: Path, spine: Task, tmp_path: Path, only_openvino: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    trials: list[Path] = []
    try_all = choose._try_all
    monkeypatch.setattr(choose, "_try_all", lambda model: trials.append(model.path) or try_all(model))
    other = saved(tmp_path / "other" / "m.safetensors", small(spine), seed=5)
    options = EngineOptions("openvino")
    images = sample_images(small(spine).input)
    expected = load_engine(read_header(model), options).run(images)
    assert np.abs(load_engine(read_header(other), options).run(images) - expected).max() > 1e-3
    for what, damage in damages(model, other):
        damage()
        trials.clear()
        engine = load_engine(read_header(model), EngineOptions("openvino"))
        assert np.array_equal(engine.run(images), expected) and trials, what
        assert load_engine(read_header(model), EngineOptions("openvino")).agreement == 1
        assert len(trials) == 1, f"{what}: a stored trial is not repeated"


def test_conversions_of_a_replaced_model_are_removed(model: Path, spine: Task, only_openvino: None) -> None:
    load_engine(read_header(model), EngineOptions())
    before = {path.name for path in (model.parent / "engines").iterdir()}
    beside = saved(model.parent / "beside.safetensors", small(spine), seed=3)
    load_engine(read_header(beside), EngineOptions())
    saved(model, small(spine), seed=4)
    load_engine(read_header(model), EngineOptions())
    after = {path.name for path in (model.parent / "engines").iterdir()}
    assert len(before) == 3 and len(after) == 6 and not before & after
    assert any(name.startswith(read_header(beside).sha256) for name in after)


def test_a_folder_that_cannot_be_written_costs_time_only(model: Path, monkeypatch, only_openvino: None) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(cache, "write_bytes", refuse)
    engine = load_engine(read_header(model), EngineOptions("openvino"))
    assert engine.agreement == 1 and len(engine.remarks) == 1 and "cannot be written" in engine.remarks[0]


def reversed_classes(kind: EngineType) -> EngineType:
    def start(files: Conversion, num_threads: int) -> NetworkFunction:
        run = kind.start(files, num_threads)
        return lambda images: run(images)[:, ::-1]

    return EngineType(kind.package, kind.install, kind.convert, start)


def no_conversion(*_: object) -> Conversion:
    raise RuntimeError("aten::unheard_of\nand a long list of nodes")


def test_an_engine_that_disagrees_or_fails_is_not_used(model: Path, monkeypatch) -> None:
    real = ENGINE_TYPES["openvino"]
    broken = {
        "agrees with torch on": reversed_classes(real),
        "aten::unheard_of": EngineType("openvino", "", no_conversion, real.start),
    }
    for message, kind in broken.items():
        shutil.rmtree(model.parent / "engines", ignore_errors=True)
        monkeypatch.setattr("sonoseg.models.engines.installed.ENGINE_TYPES", {"openvino": kind})
        monkeypatch.setattr(choose, "ENGINE_TYPES", {"openvino": kind})
        for _ in range(2):  # the second reads the record
            engine = load_engine(read_header(model), EngineOptions())
            assert engine.name == "torch" and len(engine.remarks) == 1 and message in engine.remarks[0]
            assert "\n" not in engine.remarks[0]
            with pytest.raises(ModelError, match=f"openvino cannot run it: .*{message}.*use torch"):
                load_engine(read_header(model), EngineOptions("openvino"))
        assert {path.suffix for path in (model.parent / "engines").iterdir()} == {".json"}


def test_wrong_options_are_refused(model: Path, monkeypatch) -> None:
    header = read_header(model)
    with pytest.raises(
        UsageError, match="no such engine; expected auto, torch, openvino, onnxruntime or openvino_bf16"
    ):
        load_engine(header, EngineOptions("tensorrt"))
    with pytest.raises(UsageError, match="runs on the CPU"):
        load_engine(header, EngineOptions("openvino", "cuda"))
    monkeypatch.setattr(choose, "installed", dict)
    with pytest.raises(UsageError, match="not installed; run pip install onnxruntime onnx"):
        load_engine(header, EngineOptions("onnxruntime"))
    assert load_engine(header, EngineOptions()).name == "torch"
    assert not (model.parent / "engines").exists()


def test_the_run_record_names_the_engine(model: Path, tmp_path: Path, capsys) -> None:
    (tmp_path / "new").mkdir()
    Image.fromarray(np.zeros((40, 60), np.uint8)).save(tmp_path / "new" / "a.png")
    flags = ["--images", tmp_path / "new", "--output", tmp_path / "out", "--model", model, "--engine", "openvino"]
    assert inference.main([str(flag) for flag in flags]) == 0
    assert f"on cpu, openvino {installed()['openvino']}" in capsys.readouterr().out
    run = json.loads((tmp_path / "out" / "run.json").read_text())
    engine = run["models"][0]["engine"]
    assert (engine["name"], engine["version"], engine["agreement"]) == ("openvino", installed()["openvino"], 1)
    assert engine["milliseconds"] > 0 and run["settings"]["engine"] == "openvino"


def test_each_member_of_an_ensemble_has_an_engine(model: Path, spine: Task, tmp_path: Path) -> None:
    other = saved(tmp_path / "other.safetensors", small(spine, "segresnet"), seed=2)
    image = np.random.default_rng(0).integers(0, 255, (40, 70), dtype=np.uint8)
    torch_alone, openvino = (Segmenter.load([model, other], "cpu", engine) for engine in ("torch", "openvino"))
    assert [member.engine.name for member in openvino.members] == ["openvino"] * 2
    assert np.allclose(torch_alone.probabilities(image), openvino.probabilities(image), atol=1e-5)


def test_a_stored_engine_needs_no_torch(model: Path, tmp_path: Path) -> None:
    (tmp_path / "new").mkdir()
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (40, 60), dtype=np.uint8)).save(
        tmp_path / "new" / "a.png"
    )
    flags = ["--images", tmp_path / "new", "--output", tmp_path / "out", "--model", model, "--engine", "openvino"]
    code = (
        "import sys, inference\n"
        f"assert inference.main({[str(flag) for flag in flags]}) == 0\n"
        "heavy = {'torch', 'monai', 'lightning_fabric', 'sklearn', 'pandas', 'matplotlib', 'onnxruntime', 'numba'}\n"
        "print('imported:', *sorted(heavy & set(sys.modules)))\n"
        "print('telemetry:', sys.modules.get('openvino_telemetry'))"
    )
    outputs = []
    for _ in range(2):
        done = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        outputs.append(done.stdout.splitlines())
    assert "torch" in outputs[0][-2] and outputs[1][-2] == "imported: numba", "which lines need, and nothing else"
    assert outputs[0][-1] == outputs[1][-1] == "telemetry: None", "nothing is reported to anybody"
    assert (tmp_path / "out" / "a_mask.png").is_file()
