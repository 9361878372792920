"""Check 35: names inside models, checkpoints and task files are validated; nothing outside is read or written."""

import json
from pathlib import Path

import pytest
import torch

import inference as stage4
import training as stage3
from sonoseg.errors import ModelError, TaskError
from sonoseg.models.model_header import header_text, read_header
from sonoseg.schema.task import Task
from sonoseg.schema.task_files import parse_task
from tests.models.small_networks import saved, small
from tests.trust.runs import NAME, run
from tests.trust.test_31_weights_that_cannot_be import with_header

WAYS = [
    "../x", "..", "a/../../x", "/etc/passwd", "C:\\x", "C:x", "..\\x", "\\x", "\\\\server\\share\\x", "a\nb", "a\0b",
]  # fmt: skip
SHAPES = {"format": "shapes_json"}
MASKS = {"format": "mask_folder"}
FIELDS = [
    ("metadata", "file", {}), ("annotations", "images", SHAPES), ("annotations", "file", SHAPES),
    ("annotations", "images", MASKS), ("annotations", "masks", MASKS), ("annotations", "mask_suffix", MASKS),
    ("annotations", "image_suffix", MASKS),
]  # fmt: skip


@pytest.mark.parametrize(("section", "field", "more"), FIELDS)
def test_a_task_names_paths_inside_the_data_folder_only(spine: Task, section: str, field: str, more: dict) -> None:
    for way in WAYS:
        with pytest.raises(TaskError, match=rf"{section}\S*\.{field}: .*leads out of the data folder"):
            parse_task({**spine.model_dump(mode="json"), section: {**more, field: way}}, "a task")
    for path in ("tables/metadata.csv", ".", "Müller 1", "a..b"):
        parse_task({**spine.model_dump(mode="json"), section: {**more, field: path}}, "a task")


def test_the_table_that_a_model_names_is_not_read(
    spine: Task, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model, task = saved(tmp_path / "m" / "m.safetensors", small(spine)), small(spine)
    (tmp_path / "secret.csv").write_text("image,row_mm,col_mm\nImage_001.png,0.5,0.5\n")
    (tmp_path / "new").mkdir()
    fields = json.loads(header_text(task, {}))
    for way in (str(tmp_path / "secret.csv"), "../secret.csv", "../../secret.csv"):
        fields["task"]["metadata"]["file"] = way
        with_header(model, json.dumps(fields))
        with pytest.raises(ModelError, match=r"metadata\.file: .*leads out of the data folder"):
            read_header(model)
        assert stage4.main(["--model", str(model), "--images", str(tmp_path / "new")]) == 2
        assert "leads out of the data folder" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["../../outside", "/tmp/outside", "a/b", "..", "", ".hidden", "a\\b", "a" * 300, 7])
def test_the_run_that_a_checkpoint_names_is_no_path(
    workspace: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = workspace / "Models" / NAME / "last.ckpt"
    state = torch.load(path, weights_only=True)
    state["progress"]["run"] = name
    torch.save(state, path)
    logs = {entry for entry in workspace.parent.rglob("*") if entry.is_dir()}
    assert run(stage3, workspace, "--resume") == 2
    assert f"{path}: not a checkpoint of this training (progress.run: " in capsys.readouterr().err
    assert {entry for entry in workspace.parent.rglob("*") if entry.is_dir()} == logs
