"""`history.csv`: the scalars of each epoch of a training, a row per epoch, in the folder of its model."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from sonoseg.errors import DataError
from sonoseg.io.tables import read_table
from sonoseg.runs.output_folder import OutputFolder
from sonoseg.runs.workspace import CHECKPOINT, HISTORY


def write_history(output: OutputFolder, history: Sequence[Mapping[str, float]]) -> None:
    """Write the scalars of the epochs so far; a scalar that an epoch does not have is an empty cell."""
    columns = dict.fromkeys(["epoch", *(name for scalars in history for name in scalars)])
    output.write_csv(HISTORY, list(columns), ({"epoch": n, **scalars} for n, scalars in enumerate(history, start=1)))


def read_history(folder: Path) -> list[dict[str, float]]:
    """Return the scalars of each epoch of the model in `folder`; empty when there is no table that can be read.

    Folders of version 0.1.0 have no table: there the scalars are in the checkpoint.
    """
    if not (folder / HISTORY).is_file():
        return _checkpoint_history(folder / CHECKPOINT)
    try:
        rows = [row for _, row in read_table(folder / HISTORY, "stage 3")]
        return [{name: float(value) for name, value in row.items() if value and name != "epoch"} for row in rows]
    except (DataError, OSError, ValueError):  # the page is then without curves
        return []


def _checkpoint_history(path: Path) -> list[dict[str, float]]:
    import torch

    try:
        rows = torch.load(path, map_location="cpu", weights_only=True)["progress"]["history"]
        return [{str(name): float(value) for name, value in row.items()} for row in rows]
    except Exception:  # a missing or damaged checkpoint: the page is then without curves
        return []
