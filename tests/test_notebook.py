"""The notebook runs from top to bottom on simulated heads, and both of its networks learn."""

import os
import re
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

from tests.conftest import REPOSITORY

NOTEBOOK = REPOSITORY / "notebooks" / "fetal_head.ipynb"


@pytest.fixture(scope="module")
def executed(tmp_path_factory: pytest.TempPathFactory) -> nbformat.NotebookNode:
    """The notebook after a run in a kernel of its own."""
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    own = {"SONOSEG_WORKSPACE": str(tmp_path_factory.mktemp("notebook")), "SONOSEG_IMAGES": "16", "SONOSEG_EPOCHS": "3"}
    environment = {**os.environ, **own}
    environment.pop("SONOSEG_HC18", None)
    resources = {"metadata": {"path": str(NOTEBOOK.parent)}}
    NotebookClient(notebook, timeout=300, kernel_name="python3", resources=resources).execute(env=environment)
    return notebook


def printed(notebook: nbformat.NotebookNode) -> str:
    return "".join(
        out.text for cell in notebook.cells for out in cell.get("outputs", []) if out.output_type == "stream"
    )


def test_it_runs_and_both_networks_learn(executed: nbformat.NotebookNode) -> None:
    text = printed(executed)
    for name in ("fetal_head_segnet", "fetal_head_unet"):
        own = text.split(f"\n{name}\n")[1]
        losses = [float(loss) for loss in re.findall(r"epoch \d: loss ([\d.]+)", own)[:3]]
        assert losses[-1] < losses[0], f"{name}: the loss went {losses}"


def test_it_shows_samples_curves_and_predictions(executed: nbformat.NotebookNode) -> None:
    pictures = [out for cell in executed.cells for out in cell.get("outputs", []) if "image/png" in out.get("data", {})]
    assert len(pictures) == 3


def test_it_is_kept_without_outputs_and_without_paths_of_a_machine() -> None:
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    assert not any(cell.get("outputs") or cell.get("execution_count") for cell in notebook.cells)
    assert not re.search(r"/(home|root|tmp|work)/", Path(NOTEBOOK).read_text())
