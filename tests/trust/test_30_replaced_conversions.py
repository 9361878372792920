"""Check 30: a conversion in `engines/` that is replaced is noticed at load, and no result of it survives."""

import hashlib
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from safetensors.torch import load_file

import inference
from sonoseg.__main__ import main as sonoseg
from sonoseg.models.engines import choose
from sonoseg.models.engines.cache import FOLDER
from sonoseg.models.engines.choose import EngineOptions, load_engine
from sonoseg.models.engines.installed import ENGINE_TYPES
from sonoseg.models.model_header import read_header
from sonoseg.models.probe import probe_image
from sonoseg.schema.task import Task
from tests.models.small_networks import saved, small, trying_once
from tests.models.unchecked import save_as_before

OPENVINO = EngineOptions("openvino")


@pytest.fixture
def model(spine: Task, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A model with its conversion for OpenVINO alone."""
    monkeypatch.setattr("sonoseg.models.engines.installed.ENGINE_TYPES", {"openvino": ENGINE_TYPES["openvino"]})
    trying_once(monkeypatch)
    path = saved(tmp_path / "model" / "m.safetensors", small(spine))
    load_engine(read_header(path), OPENVINO)
    return path


def poison(model: Path, other: Path) -> None:
    """Replace the conversion by that of another network, with its digests in the record."""
    record_path = next((model.parent / FOLDER).glob("*.json"))
    record = json.loads(record_path.read_text())
    load_engine(read_header(other), OPENVINO)
    for suffix, digest in record["trials"]["openvino"]["files"].items():
        (theirs,) = (other.parent / FOLDER).glob(f"*{suffix}")
        (ours,) = (model.parent / FOLDER).glob(f"*{suffix}")
        shutil.copy(theirs, ours)
        record["trials"]["openvino"]["files"][suffix] = hashlib.sha256(theirs.read_bytes()).hexdigest()
        assert record["trials"]["openvino"]["files"][suffix] != digest or suffix == ".xml"
    record_path.write_text(json.dumps(record))


@pytest.fixture
def other(spine: Task, tmp_path: Path) -> Path:
    return saved(tmp_path / "other" / "m.safetensors", small(spine), seed=5)


def segment(model: Path, root: Path) -> tuple[int, bytes, dict]:
    """Run stage 4 on one picture; return the exit code, the mask and the record of the run."""
    (root / "new").mkdir(exist_ok=True)
    Image.fromarray(probe_image((60, 90))).save(root / "new" / "a.png")
    flags = ["--images", root / "new", "--output", root / "out", "--model", model, "--engine", "openvino"]
    code = inference.main([str(flag) for flag in flags])
    return code, (root / "out" / "a_mask.png").read_bytes(), json.loads((root / "out" / "run.json").read_text())


def test_another_network_is_noticed_and_the_conversion_made_again(
    model: Path, other: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _, mask, run = segment(model, tmp_path)
    digest = run["models"][0]["engine"]["sha256"]
    poison(model, other)
    capsys.readouterr()
    assert sonoseg(["verify", str(model.parent)]) == 1
    assert "does not give the output of this model" in capsys.readouterr().out
    code, again, run = segment(model, tmp_path)
    assert code == 0 and again == mask and "; the network was converted again" in capsys.readouterr().out
    assert run["models"][0]["engine"]["sha256"] == digest, "equal networks are converted to equal bytes"
    capsys.readouterr()
    segment(model, tmp_path)
    said = capsys.readouterr().out
    assert "converted again" not in said and "1 of them reused" in said


def test_results_of_a_conversion_that_is_no_longer_used_are_made_again(
    model: Path, other: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Here the comparison at load is missing: the digest alone has to tell the results apart."""
    _, mask, _ = segment(model, tmp_path)
    poison(model, other)
    with monkeypatch.context() as without:
        without.setattr("sonoseg.models.probe.Probe.difference", lambda *_: 0.0)
        _, wrong, run = segment(model, tmp_path)
    assert wrong != mask
    capsys.readouterr()
    _, again, healed = segment(model, tmp_path)
    assert again == mask and "reused" not in capsys.readouterr().out
    assert healed["models"][0]["engine"]["sha256"] != run["models"][0]["engine"]["sha256"]


def test_a_model_without_expected_output_is_compared_with_torch(model: Path, other: Path) -> None:
    header = read_header(model)
    old = save_as_before(model.parent.parent / "old" / "m.safetensors", header, load_file(model))
    assert read_header(old).probe is None
    first = load_engine(read_header(old), OPENVINO)
    assert any("saved by an earlier version" in remark for remark in first.remarks)
    poison(old, other)
    engine = load_engine(read_header(old), OPENVINO)
    image = np.zeros((1, 1, *header.task.input.size), np.float32)
    assert any("was converted again" in remark for remark in engine.remarks)
    assert np.array_equal(engine.run(image), first.run(image))


def deep_record(folder: Path) -> None:
    next(folder.glob("*.json")).write_text("[" * 100_000 + "]" * 100_000)


def garbage(folder: Path) -> None:
    for path in folder.iterdir():
        path.write_bytes(os.urandom(500))


def garbage_with_its_digest(folder: Path) -> None:
    record = next(folder.glob("*.json"))
    fields = json.loads(record.read_text())
    for suffix in fields["trials"]["openvino"]["files"]:
        (path,) = folder.glob(f"*{suffix}")
        path.write_bytes(os.urandom(500))
        fields["trials"]["openvino"]["files"][suffix] = hashlib.sha256(path.read_bytes()).hexdigest()
    record.write_text(json.dumps(fields))


def odd_values(folder: Path) -> None:
    record = next(folder.glob("*.json"))
    fields = json.loads(record.read_text())
    fields["trials"]["openvino"] |= {"version": "../../..", "milliseconds": "fast", "problem": ["\ud800"]}
    record.write_text(json.dumps(fields))


def links(folder: Path) -> None:
    for path in list(folder.iterdir()):
        moved = path.rename(folder.parent / f"moved{path.suffix}")
        path.symlink_to(moved)


def pipe(folder: Path) -> None:
    for path in list(folder.glob("*.bin")):
        path.unlink()
        os.mkfifo(path)


def sparse(folder: Path) -> None:
    for path in folder.iterdir():
        os.truncate(path, 3 * 10**12)


HEALED = [deep_record, garbage, garbage_with_its_digest, odd_values, links, pipe, sparse]


@pytest.mark.parametrize("damage", HEALED, ids=lambda damage: damage.__name__)
def test_garbage_is_replaced(model: Path, damage: Callable[[Path], None], capsys: pytest.CaptureFixture[str]) -> None:
    header, image = read_header(model), np.zeros((1, 1, 32, 48), np.float32)
    expected = load_engine(header, OPENVINO).run(image)
    damage(model.parent / FOLDER)
    assert sonoseg(["verify", str(model.parent / FOLDER)]) == 1, capsys.readouterr().out
    engine = load_engine(header, OPENVINO)
    assert np.array_equal(engine.run(image), expected) and not any("written" in text for text in engine.remarks)
    capsys.readouterr()
    assert sonoseg(["verify", str(model.parent / FOLDER)]) == 0, capsys.readouterr().out


def a_folder_in_place_of_the_record(folder: Path) -> None:
    record = next(folder.glob("*.json"))
    record.unlink()
    record.mkdir()


def a_file_in_place_of_the_folder(folder: Path) -> None:
    shutil.rmtree(folder)
    folder.write_bytes(b"somebody's")


def a_link_in_place_of_the_folder(folder: Path) -> None:
    folder.rename(folder.parent.parent / "elsewhere")
    next((folder.parent.parent / "elsewhere").glob("*.json")).unlink()
    folder.symlink_to(folder.parent.parent / "elsewhere")


IN_THE_WAY = [a_folder_in_place_of_the_record, a_file_in_place_of_the_folder, a_link_in_place_of_the_folder]


@pytest.mark.parametrize("damage", IN_THE_WAY, ids=lambda damage: damage.__name__)
def test_what_is_in_the_way_is_left_alone(model: Path, damage: Callable[[Path], None]) -> None:
    header, image = read_header(model), np.zeros((1, 1, 32, 48), np.float32)
    expected = load_engine(header, OPENVINO).run(image)
    damage(model.parent / FOLDER)
    before = sorted(path.name for path in model.parent.parent.rglob("*"))
    engine = load_engine(header, OPENVINO)
    assert np.array_equal(engine.run(image), expected)
    assert any("cannot be written" in remark for remark in engine.remarks)
    assert sorted(path.name for path in model.parent.parent.rglob("*")) == before


def test_a_record_removes_no_files_of_others(model: Path) -> None:
    """Conversions of an earlier model are removed by the name of its record, which is not a pattern."""
    folder = model.parent / FOLDER
    (folder / "*.json").write_text(json.dumps({"model": model.name}))
    (folder / "notes.txt").write_text("somebody's")
    next(folder.glob("*.bin")).unlink()
    load_engine(read_header(model), OPENVINO)
    assert (folder / "notes.txt").read_text() == "somebody's"


def test_verify_lists_what_is_in_the_folder(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = model.parent / FOLDER
    assert sonoseg(["verify", str(folder), "--list"]) == 0
    assert "3 checked: 3 ok" in capsys.readouterr().out
    (folder / "foreign.txt").write_text("x")
    (weights,) = folder.glob("*.bin")
    weights.write_bytes(weights.read_bytes()[:-1] + b"x")
    assert sonoseg(["verify", str(folder)]) == 1
    said = capsys.readouterr().out
    assert f"extra     {folder / 'foreign.txt'}" in said and f"changed   {weights}: its SHA-256" in said
    weights.unlink()
    assert sonoseg(["verify", str(weights.parent)]) == 1
    assert f"missing   {weights}" in capsys.readouterr().out


def test_two_trainings_differ_by_far_more_than_an_engine_may(model: Path, other: Path) -> None:
    assert choose.ENGINE_TYPES["openvino"].probe_tolerance < choose.ENGINE_TYPES["openvino_bf16"].probe_tolerance
    probes = [read_header(path).probe for path in (model, other)]
    difference = np.abs(probes[0].cells.astype(float) - probes[1].cells).max() / 65535
    assert difference > 10 * choose.ENGINE_TYPES["openvino"].probe_tolerance, "of two networks that are not trained"
