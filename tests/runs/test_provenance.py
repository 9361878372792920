"""Provenance: every stage records command, task, seed, inputs, code, versions and threads; git may be missing."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch

import image_preprocessing as stage2
import inference as stage4
import train_test_data_preparation as stage1
import training as stage3
from sonoseg.models.model_header import read_header
from sonoseg.runs.checkout import checkout, default_workspace
from sonoseg.runs.command_line import stage_parser
from sonoseg.runs.provenance import code_state, run_record, threads
from sonoseg.runs.versions import versions
from sonoseg.schema.task import Task
from sonoseg.schema.task_files import load_task
from tests.conftest import REPOSITORY
from tests.trust.runs import NAME, flags, run

SPLIT, MODELS = Path("Train_Test_Dataset") / NAME, Path("Models") / NAME


def git(folder: Path, *arguments: str) -> str:
    identity = ["-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false"]
    return subprocess.run(
        ["git", "-C", str(folder), *identity, *arguments], check=True, capture_output=True, text=True
    ).stdout.strip()


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.fixture
def root(trained: Path) -> Path:
    return trained


def record(root: Path, stage: ModuleType) -> dict:
    path = {
        stage1: SPLIT / "stage1_run.json", stage2: SPLIT / "stage2_run.json", stage3: MODELS / "stage3_run.json"
    }[stage]  # fmt: skip
    return json.loads((root / path).read_text())


def is_of_here(code: dict | None) -> bool:
    """Return whether a record has the keys of `code_state`; the commit may have changed while the stages ran."""
    now = code_state(checkout())
    return code is None if now is None else code is not None and code.keys() == now.keys() and len(code["commit"]) == 40


def test_each_stage_writes_its_record(root: Path) -> None:
    task = load_task(str(root / f"{NAME}.yaml")).model_dump(mode="json")
    for stage in (stage1, stage2, stage3):
        entry = record(root, stage)
        assert entry["command"][1:] == flags(stage, root) and entry["task"] == task
        assert entry["settings"]["seed"] == 42 and entry["versions"] == versions() and is_of_here(entry["code"])
        assert entry["threads"]["cores"] >= 1 and entry["threads"]["torch"] >= 1 and entry["threads"]["opencv"] >= 1
    split = root / SPLIT
    tables = {f"{part}_split.csv": sha256(split / f"{part}_split.csv") for part in ("train", "test")}
    assert record(root, stage2)["inputs"] == tables
    data = root / "spine"
    first = record(root, stage1)["inputs"]
    assert first["images and masks as drawn"] == json.loads((split / "dataset_report.json").read_text())["data_sha256"]
    assert {name: first[name] for name in ("annotations.json", "metadata.csv")} == {
        name: sha256(data / name) for name in ("annotations.json", "metadata.csv")
    }
    last = json.loads((root / "result" / NAME / "run.json").read_text())
    assert last["command"][1:] == flags(stage4, root) and last["task_settings"] == task
    model = root / MODELS / "best_model.safetensors"
    assert last["inputs"] == {str(model): sha256(model)}
    assert is_of_here(last["code"]) and last["versions"] == versions() and last["threads"]["cores"] >= 1
    third = record(root, stage3)["inputs"]
    assert third == read_header(root / MODELS / "best_model.safetensors").info["data"] and len(third) == 4


def test_a_resumed_run_keeps_its_earlier_records(root: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(root, tmp_path / "w"))
    assert run(stage3, copy, "--resume") == 0
    entry = record(copy, stage3)
    assert entry["command"][-1] == "--resume" and [old["command"][-1] for old in entry["earlier"]] == ["run"]
    assert run(stage3, copy, "--score") == 0
    assert record(copy, stage3) == entry, "scoring keeps the record of the training"
    scored = json.loads((copy / MODELS / "scoring_run.json").read_text())
    assert scored["command"][-1] == "--score" and scored["inputs"] == entry["inputs"]
    assert run(stage3, copy) == 0
    assert record(copy, stage3)["earlier"] == [] and not (copy / MODELS / "scoring_run.json").exists()


def test_code_state_is_commit_and_dirty_flag(tmp_path: Path) -> None:
    assert code_state(tmp_path) is None
    git(tmp_path, "init", "-q")
    assert code_state(tmp_path) is None, "a checkout without a commit"
    (tmp_path / "a.py").write_text("1")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-qm", "a")
    commit = git(tmp_path, "rev-parse", "HEAD")
    (tmp_path / "result.csv").write_text("no code")
    assert code_state(tmp_path) == {"commit": commit, "dirty": False}
    (tmp_path / "a.py").write_text("2")
    assert code_state(tmp_path) == {"commit": commit, "dirty": True}
    inner = tmp_path / "site-packages"
    inner.mkdir()
    assert code_state(inner) is None, "another project's folder is not our checkout"
    assert code_state(None) is None, "an installed copy"


def test_an_installed_copy_works_in_the_current_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert checkout() == default_workspace() == REPOSITORY
    package = tmp_path / "site-packages" / "sonoseg"
    package.mkdir(parents=True)
    assert checkout(package) is None
    (package.parent / "inference.py").write_text("")
    assert checkout(package) is None, "another package's script of the same name"
    (package.parent / "pyproject.toml").write_text("")
    assert checkout(package) == package.parent
    monkeypatch.setattr("sonoseg.runs.checkout.checkout", lambda: None)
    assert default_workspace() == Path() and stage_parser("").parse_args([]).workspace == Path()


@pytest.mark.parametrize("script", [None, "#!/bin/sh\nexit 128\n", "#!/bin/sh\nkill -9 $$\n"])
def test_git_may_be_missing_or_fail(
    script: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, spine: Task
) -> None:
    (tmp_path / ".git").mkdir()
    monkeypatch.setenv("PATH", str(tmp_path))
    if script is not None:
        (tmp_path / "git").write_text(script)
        (tmp_path / "git").chmod(0o755)
    assert code_state(tmp_path) is None
    monkeypatch.setattr("sonoseg.runs.provenance.checkout", lambda: tmp_path)
    json.dumps(run_record(["a"], spine, {}, {}), allow_nan=False)


def test_threads_of_libraries_that_are_not_loaded_are_none() -> None:
    code = "import json; from sonoseg.runs.provenance import threads; print(json.dumps(threads()))"
    done = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    threads_loaded = json.loads(done.stdout)
    assert threads_loaded["torch"] is threads_loaded["numba"] is None and threads_loaded["usable_cores"] >= 1
    assert threads()["torch"] == torch.get_num_threads()


def test_recording_the_threads_does_not_change_them() -> None:
    code = "import numba, torch; from sonoseg.runs.provenance import threads; torch.set_num_threads(1)"
    code += "; print(threads()['numba'] >= 1, torch.get_num_threads())"
    environment = {**os.environ, "NUMBA_NUM_THREADS": "2", "OMP_NUM_THREADS": "2"}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, check=True, env=environment
    )
    assert done.stdout.split() == ["True", "1"]
