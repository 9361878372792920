"""Shared by all tests: the real data where a machine has them, and tiny tasks that train in seconds."""

import os
from pathlib import Path
from typing import Any

import pytest
import torch

from sonoseg.schema.task import Task
from sonoseg.schema.task_files import load_task
from tests.datasets import make_task, spine_data, write_picture  # noqa: F401  # fixtures

REPOSITORY = Path(__file__).resolve().parents[1]

torch.set_num_threads(1)
os.environ["OMP_NUM_THREADS"] = "1"
# One core for each process of the tests, and for those that they start: their networks are too small for two, the last
# digits depend on the number, and processes of several threads each take twice the time where they share the cores.

TRAINING_FIXTURES = {"alone", "executed", "finished", "odd", "prepared", "straight", "trained"}
"""Fixtures that run training."""
TRAINING = (
    "test_chance.py",
    "test_every_folder.py",
    "test_dicom_dataset.py",
    "test_every_task.py",
    "test_notebook.py",
    "test_pipeline.py",
    "test_processes.py",
    "test_training_runs.py",
    "dicom/test_hc18.py",
    "inference/test_batch.py",
    "inference/test_ensemble.py",
    "inference/test_segmenter.py::test_a_pickled_segmenter_is_loaded_once_in_another_process",
    "inference/test_watch.py",
    "models/test_engine_choice.py",
    "models/test_engines.py",
    "models/test_networks.py::test_a_compiled_network_has_the_same_gradients_and_weight_names",
    "models/test_registry.py",
    "prepare/test_real_data.py",
    "quality/test_familiarity.py",
    "runs/test_provenance.py",
    "trust/test_04_test_labels_choose_nothing.py",
    "trust/test_08_killed_while_saving.py",
    "trust/test_09_resume.py",
    "trust/test_no_network.py",
)
"""Modules and tests that train, convert networks, or read real data. `make test-fast` leaves these out, and all tests
that use those fixtures."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests that `make test-fast` leaves out, and begin with their modules.

    They take longest: processes that share the modules end together when short ones are the last.
    """
    for item in items:
        module = item.path.relative_to(REPOSITORY / "tests").as_posix()
        trains = module in TRAINING or f"{module}::{item.name.split('[')[0]}" in TRAINING
        if trains or TRAINING_FIXTURES & set(getattr(item, "fixturenames", ())):
            item.add_marker("training")
    long = {item.path for item in items if item.get_closest_marker("training")}
    items.sort(key=lambda item: item.path not in long)


def real_data(name: str) -> Path:
    """Return a folder of real data, or skip the test and say what is missing."""
    root = Path(os.environ.get("SONOSEG_DATA", REPOSITORY.parent / "shared" / "data"))
    if not (root / name).is_dir():
        pytest.skip(f"real data: no folder {root / name}; set SONOSEG_DATA to the folder that holds {name}")
    return root / name


@pytest.fixture
def hc18() -> Path:
    return real_data("hc18")


@pytest.fixture
def spine_sample() -> Path:
    return real_data("spine_sample")


@pytest.fixture
def torch_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """No other engine is installed: a model is loaded without seconds of trials."""
    monkeypatch.setattr("sonoseg.models.engines.choose.installed", dict)


def changed(task: Task, **changes: Any) -> Task:
    """Return a copy of a task with some fields replaced, validated again."""
    return Task.model_validate({**task.model_dump(), **changes})


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace in which all stages have run; tests that change it copy it."""
    from tests.trust.runs import ran

    return ran(tmp_path_factory.mktemp("trained"))


@pytest.fixture(scope="session")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace in which stages 1 and 2 have run; tests that change it copy it."""
    from tests.trust.runs import STAGES, ran

    return ran(tmp_path_factory.mktemp("prepared"), STAGES[:2])


@pytest.fixture(scope="session")
def spine() -> Task:
    return load_task("spine")


@pytest.fixture(scope="session")
def fetal_head() -> Task:
    return load_task("fetal_head")
