"""The choice of an engine: the fastest is used, conversions are stored, damaged ones are made again."""

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import inference
from sonoseg.errors import ModelError, UsageError
from sonoseg.inference.segmenter import Segmenter, first_use_remarks
from sonoseg.models.engines import cache, choose
from sonoseg.models.engines.base import Conversion, EngineType, NetworkFunction
from sonoseg.models.engines.check import sample_images
from sonoseg.models.engines.choose import EngineOptions, load_engine
from sonoseg.models.engines.installed import ENGINE_TYPES, installed
from sonoseg.models.model_header import read_header
from sonoseg.schema.task import Task
from tests.conftest import REPOSITORY
from tests.models.small_networks import saved, small, trying_once


@pytest.fixture
def only_openvino(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sonoseg.models.engines.installed.ENGINE_TYPES", {"openvino": ENGINE_TYPES["openvino"]})


def stored_file(model: Path, ends: str) -> Path:
    (file,) = (model.parent / "engines").glob(f"*{ends}")
    return file


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
    trials = trying_once(monkeypatch)
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


def test_conversions_of_a_replaced_model_are_removed(
    model: Path, spine: Task, only_openvino: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    trying_once(monkeypatch)
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

    trying_once(monkeypatch)
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
        UsageError, match="no such engine; expected auto, torch, openvino, onnxruntime, openvino_bf16 or openvino_int8"
    ):
        load_engine(header, EngineOptions("tensorrt"))
    with pytest.raises(UsageError, match="runs on the CPU"):
        load_engine(header, EngineOptions("openvino", "cuda"))
    monkeypatch.setattr(choose, "installed", dict)
    with pytest.raises(UsageError, match="not installed; run pip install onnxruntime onnx"):
        load_engine(header, EngineOptions("onnxruntime"))
    assert load_engine(header, EngineOptions()).name == "torch"
    assert not (model.parent / "engines").exists()


def test_the_run_record_names_the_engine(model: Path, tmp_path: Path, capsys, monkeypatch) -> None:
    trying_once(monkeypatch)
    (tmp_path / "new").mkdir()
    Image.fromarray(np.eye(40, 60, dtype=np.uint8)).save(tmp_path / "new" / "a.png")
    flags = ["--images", tmp_path / "new", "--output", tmp_path / "out", "--model", model, "--engine", "openvino"]
    assert inference.main([str(flag) for flag in flags]) == 0
    assert f"on cpu, openvino {installed()['openvino']}" in capsys.readouterr().out
    run = json.loads((tmp_path / "out" / "run.json").read_text())
    engine = run["models"][0]["engine"]
    assert (engine["name"], engine["version"], engine["agreement"]) == ("openvino", installed()["openvino"], 1)
    assert engine["milliseconds"] > 0 and run["settings"]["engine"] == "openvino"


def test_each_member_of_an_ensemble_has_an_engine(
    model: Path, spine: Task, tmp_path: Path, only_openvino: None
) -> None:
    other = saved(tmp_path / "other.safetensors", small(spine, "segresnet"), seed=2)
    image = np.random.default_rng(0).integers(0, 255, (40, 70), dtype=np.uint8)
    torch_alone, openvino = (Segmenter.load([model, other], "cpu", engine) for engine in ("torch", "openvino"))
    assert [member.engine.name for member in openvino.members] == ["openvino"] * 2
    assert np.allclose(torch_alone.probabilities(image), openvino.probabilities(image), atol=1e-5)


def test_a_stored_engine_needs_no_torch(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trying_once(monkeypatch)
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
    load_engine(read_header(model), EngineOptions())
    done = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    *_, imported, telemetry = done.stdout.splitlines()
    assert imported == "imported: numba", "which lines need, and nothing else"
    assert telemetry == "telemetry: None", "nothing is reported to anybody"
    assert (tmp_path / "out" / "a_mask.png").is_file()
