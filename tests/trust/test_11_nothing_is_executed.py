"""Check 11: a pickle with the name of a model or a checkpoint is refused; nothing in it is executed."""

import ast
import os
import pickle
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from PIL import EpsImagePlugin, Image

import inference as stage4
import training as stage3
from tests.conftest import REPOSITORY
from tests.trust.conftest import Segmented
from tests.trust.runs import NAME, flags, run


class Explosive:
    """Unpickling this makes a folder, which shows that something was executed."""

    def __init__(self, target: Path):
        self.target = target

    def __reduce__(self) -> tuple:
        return (os.makedirs, (str(self.target), 0o777, True))


def bare(path: Path, trace: Path) -> None:
    path.write_bytes(pickle.dumps(Explosive(trace)))


def archive(path: Path, trace: Path) -> None:
    torch.save({"network": Explosive(trace), "settings": {}, "progress": {"history": Explosive(trace)}}, path)


def old_archive(path: Path, trace: Path) -> None:
    torch.save({"network": Explosive(trace)}, path, _use_new_zipfile_serialization=False)


@pytest.fixture(params=[bare, archive, old_archive], ids=lambda make: make.__name__)
def pickled(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A file that makes a folder `executed` beside it when it is unpickled."""
    path = tmp_path / "pickled"
    request.param(path, tmp_path / "executed")
    return path


def test_unpickling_it_executes_code(pickled: Path) -> None:
    with suppress(RuntimeError):  # raised after the code was executed
        torch.load(pickled, weights_only=False)
    assert (pickled.parent / "executed").is_dir()


@pytest.mark.parametrize("name", ["best_model.safetensors", "model.pt", "model.ckpt", "model.pkl"])
def test_as_a_model(workspace: Path, pickled: Path, capsys: pytest.CaptureFixture[str], name: str) -> None:
    path = pickled.rename(workspace / name)
    assert run(stage4, workspace, "--model", str(path)) == 2
    assert f"{path}: not a SonoSeg model" in capsys.readouterr().err
    path.replace(workspace / "Models" / NAME / "best_model.safetensors")
    for stage, more in ((stage4, []), (stage3, ["--score"])):
        assert run(stage, workspace, *more) == 2
        assert "not a SonoSeg model" in capsys.readouterr().err
    assert not (pickled.parent / "executed").exists()


def test_as_a_checkpoint(workspace: Path, pickled: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = pickled.replace(workspace / "Models" / NAME / "last.ckpt")
    assert run(stage3, workspace, "--resume") == 2
    assert f"{path}: not a readable checkpoint" in capsys.readouterr().err
    assert run(stage3, workspace, "--score") == 0, "the curves are left out, the scores are there"
    assert not (pickled.parent / "executed").exists()


def test_as_a_task_file(workspace: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = f"name: !!python/object/apply:os.mkdir ['{tmp_path / 'executed'}']\n"
    with pytest.raises(yaml.YAMLError):
        yaml.safe_load(text)
    (workspace / f"{NAME}.yaml").write_text(text)
    for stage in (stage3, stage4):
        assert stage.main(flags(stage, workspace)) == 2
        assert "not readable as YAML" in capsys.readouterr().err
    assert not (tmp_path / "executed").exists()


def test_as_a_picture(segmented: Segmented, scene: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """EPS is a program, which Ghostscript executes where it is installed."""
    images, calls = tmp_path / "new", []
    images.mkdir()
    Image.fromarray(scene).save(images / "a.eps")
    (images / "a.eps").rename(images / "a.png")
    monkeypatch.setattr(EpsImagePlugin, "Ghostscript", lambda *arguments, **named: calls.append(arguments))
    code, rows = segmented(images, tmp_path / "out")
    assert code == 1 and rows["a.png"]["status"] == "failed"
    assert not calls


UNSAFE = {"pickle", "cPickle", "dill", "joblib", "marshal", "shelve"}


def test_no_other_way_in() -> None:
    """The source has no reader that executes what it reads, not even as a fallback."""
    files = [*REPOSITORY.glob("*.py"), *(REPOSITORY / "sonoseg").rglob("*.py")]
    loads = 0
    for path in files:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import | ast.ImportFrom):
                names = {getattr(node, "module", None) or "", *(alias.name for alias in node.names)}
                assert not names & UNSAFE, f"{path}: {names & UNSAFE}"
            if not isinstance(node, ast.Call):
                continue
            called, given = ast.unparse(node.func), {one.arg: ast.unparse(one.value) for one in node.keywords}
            assert called not in ("eval", "exec", "yaml.load", "yaml.unsafe_load", "os.system"), f"{path}: {called}"
            assert given.get("allow_pickle", "False") == "False", path
            if called == "torch.load":
                assert given.get("weights_only") == "True", path
                loads += 1
    assert loads > 0
