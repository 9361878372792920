"""Shared by the tests of stage 1: its run on a small dataset, and what it writes."""

from pathlib import Path

import pytest

from sonoseg.runs.split_tables import read_split
from sonoseg.runs.workspace import Workspace
from train_test_data_preparation import main

CLASSES = ["MID", "VTB", "EPI"]


@pytest.fixture
def run(tmp_path, capsys):
    def run(*flags, task="spine"):
        code = main(["--task", task, "--workspace", str(tmp_path), *flags])
        said = capsys.readouterr()
        return code, " ".join(said.out.split()), said.err

    return run


@pytest.fixture
def out(tmp_path):
    return Workspace(tmp_path, "spine").split


def rows(out):
    return {part: read_split(out / f"{part}_split.csv", CLASSES, out.parents[1]) for part in ("train", "test")}


def snapshot(folder: Path):
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
