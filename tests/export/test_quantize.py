"""`sonoseg quantize`: made from training images, kept if validation images lose nothing, refused when changed."""

import shutil
from pathlib import Path

import pytest

import inference
from sonoseg.__main__ import main
from sonoseg.errors import ModelError
from sonoseg.export import quantize as quantization
from sonoseg.models.engines.cache import digests
from sonoseg.models.engines.choose import EngineOptions, load_engine
from sonoseg.models.engines.quantized import quantized_files, read_quantized, write_quantized
from sonoseg.models.engines.verify import check_engines
from sonoseg.models.model_header import read_header
from sonoseg.models.registry import registered_model
from tests.trust.runs import NAME


@pytest.fixture(scope="module")
def quantized(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A trained workspace whose model has a conversion to 8 bits."""
    root = tmp_path_factory.mktemp("quantized") / "workspace"
    shutil.copytree(trained, root)
    assert main(["quantize", *flags(root)]) == 0
    return root


def flags(root: Path) -> list[str]:
    return ["--task", str(root / f"{NAME}.yaml"), "--workspace", str(root)]


def model_of(root: Path) -> Path:
    return root / "Models" / NAME / "best_model.safetensors"


def test_stage_4_uses_it_and_says_so(quantized: Path, capsys: pytest.CaptureFixture[str]) -> None:
    images, out = quantized / "spine" / "images", quantized / "in_8_bits"
    arguments = ["--images", str(images), "--output", str(out), "--engine", "openvino_int8"]
    assert inference.main([*flags(quantized), *arguments]) == 0
    assert "openvino_int8" in capsys.readouterr().out
    assert len(list(out.glob("*_mask.png"))) == len(list(images.glob("*.png")))


def test_the_record_states_what_was_compared(quantized: Path) -> None:
    record, _ = read_quantized(read_header(model_of(quantized)))
    assert record.calibrated_on > 0 and record.scored_on > 0
    assert set(record.dice) == {"MID", "VTB", "EPI"}
    assert all(before - after <= quantization.MAX_DICE_LOSS for before, after in record.dice.values())
    assert {finding.status for finding in check_engines(model_of(quantized).parent / "engines")} == {"ok"}


def test_the_same_images_give_the_same_conversion(quantized: Path) -> None:
    before = {path: path.read_bytes() for path in quantized_files(read_header(model_of(quantized)))}
    assert main(["quantize", *flags(quantized)]) == 0
    assert {path: path.read_bytes() for path in before} == before


def test_one_that_is_worse_is_not_kept(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(trained, tmp_path / "workspace")
    monkeypatch.setattr(quantization, "MAX_DICE_LOSS", -2.0)
    with pytest.raises(ModelError, match=r"not kept in 8 bits: the Dice of MID falls from .* use openvino"):
        from sonoseg.evaluation.folds import load_data
        from sonoseg.runs.workspace import Workspace

        model = read_header(model_of(tmp_path / "workspace"))
        quantization.quantize(model, load_data(model.task, Workspace(tmp_path / "workspace", NAME), 0))


def test_a_length_may_become_worse_by_a_twentieth_of_a_millimetre() -> None:
    assert quantization._problems({"HEAD": (0.97, 0.9695)}, {"hc_mm": (1.0, 1.04), "bpd_px": (1.0, 2.0)}) == []
    (problem,) = quantization._problems({"HEAD": (0.97, 0.9695)}, {"hc_mm": (1.0, 1.06)})
    assert problem == "the error of hc_mm rises from 1.00 to 1.06, by at most 0.05 is expected"


def test_a_changed_conversion_is_refused(quantized: Path, tmp_path: Path) -> None:
    shutil.copytree(model_of(quantized).parent, tmp_path / "model")
    model = read_header(tmp_path / "model" / "best_model.safetensors")
    _, _, weights = quantized_files(model)
    weights.write_bytes(weights.read_bytes()[:-1] + b"\0")
    with pytest.raises(ModelError, match="not the one that was recorded; run `python -m sonoseg quantize` again"):
        load_engine(model, EngineOptions("openvino_int8"))
    assert "changed" in {finding.status for finding in check_engines(weights.parent)}
    for path in quantized_files(model):
        path.unlink()
    with pytest.raises(ModelError, match="no conversion to 8 bits; make one with `python -m sonoseg quantize`"):
        load_engine(model, EngineOptions("openvino_int8"))


def test_one_that_openvino_cannot_read_is_one_sentence(tmp_path: Path) -> None:
    entry = registered_model("fetal_head")
    assert entry
    (tmp_path / "model.safetensors").write_bytes(entry.path.read_bytes())
    model = read_header(tmp_path / "model.safetensors")
    record, files = read_quantized(read_header(entry.path))
    files[".xml"] = files[".xml"].replace(b"Convolution", b"Konvolution")
    write_quantized(model, record.model_copy(update={"files": digests(files)}), files)
    said = r"OpenVINO cannot run its conversion to 8 bits .*; run `python -m sonoseg quantize` again"
    with pytest.raises(ModelError, match=said):
        load_engine(model, EngineOptions("openvino_int8"))
    assert {finding.status for finding in check_engines(tmp_path / "engines")} == {"changed"}


def test_one_model_of_the_task_is_converted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    entry = registered_model("fetal_head")
    assert entry
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "best_model.safetensors").write_bytes(entry.path.read_bytes())
    workspace = ["--workspace", str(tmp_path)]
    assert main(["quantize", "--task", "fetal_head", "--model", str(tmp_path), *workspace]) == 2
    assert "2 models; a conversion has one, give the path of its file" in capsys.readouterr().err
    model = str(tmp_path / "a")
    assert main(["quantize", "--task", "spine_realtime", "--model", model, *workspace]) == 2
    assert "a: trained for task fetal_head, not spine_realtime" in capsys.readouterr().err


def test_the_head_model_comes_with_one() -> None:
    entry = registered_model("fetal_head")
    assert entry
    model = read_header(entry.path)
    record, _ = read_quantized(model)
    (before, after), (error_before, error_after) = record.dice["HEAD"], record.errors["hc_mm"]
    assert before - after <= 0.001 and error_after - error_before <= 0.05
    assert load_engine(model, EngineOptions("openvino_int8")).name == "openvino_int8"
