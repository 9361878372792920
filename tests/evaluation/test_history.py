"""The curves of a training, from its table or from a checkpoint of an earlier version."""

from pathlib import Path

import torch

from sonoseg.evaluation.history import read_history, write_history
from sonoseg.runs.output_folder import OutputFolder

EPOCHS = [{"loss/total": 0.5, "dice/mean": 0.25}, {"loss/total": 0.125, "dice/mean": 0.75}]


def test_the_table_comes_before_the_checkpoint(tmp_path: Path) -> None:
    assert read_history(tmp_path) == []
    torch.save({"progress": {"history": EPOCHS[:1]}}, tmp_path / "last.ckpt")
    assert read_history(tmp_path) == EPOCHS[:1], "a folder of version 0.1.0"
    with OutputFolder(tmp_path, "stage3") as output:
        write_history(output, EPOCHS)
    assert read_history(tmp_path) == EPOCHS
    (tmp_path / "history.csv").write_text("epoch,loss/total\n1,much\n")
    assert read_history(tmp_path) == []
