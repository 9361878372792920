"""`--deterministic`: PyTorch is set to it, two runs give the same bytes, and an operation without a kernel is named."""

import json
import logging
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import nn

import sonoseg.training.loop as loop
import training
from sonoseg.models.determinism import set_deterministic
from sonoseg.models.model_header import read_header
from sonoseg.models.networks import build_network
from sonoseg.schema.task_files import available_tasks, load_task
from sonoseg.training.losses import DeterministicCrossEntropy
from sonoseg.training.processes import start_fabric
from tests.small import small_task
from tests.trust.runs import NAME, run

MODELS = Path("Models") / NAME


@pytest.fixture(autouse=True)
def reset_determinism(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":16:8")  # restored after the test
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG")
    yield
    set_deterministic(False)


def recorded_settings(monkeypatch: pytest.MonkeyPatch) -> list[tuple[bool, bool, bool]]:
    """Return, per epoch: deterministic operations, deterministic cuDNN, no benchmark of cuDNN kernels."""
    settings = []
    real = loop.train_epoch

    def recording(*arguments: object) -> Iterator[object]:
        cudnn = torch.backends.cudnn
        settings.append((torch.are_deterministic_algorithms_enabled(), cudnn.deterministic, not cudnn.benchmark))
        return real(*arguments)

    monkeypatch.setattr(loop, "train_epoch", recording)
    return settings


def test_two_runs_give_the_same_bytes(prepared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    models = []
    settings = recorded_settings(monkeypatch)
    monkeypatch.setattr(torch.backends.cudnn, "benchmark", True)
    for name in ("one", "two"):
        root = Path(shutil.copytree(prepared, tmp_path / name))
        assert run(training, root, "--deterministic") == 0
        models.append((root / MODELS / "best_model.safetensors").read_bytes())
    assert models[0] == models[1]
    assert settings == [(True, True, True)] * 2 and os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":4096:8"
    assert read_header(root / MODELS / "best_model.safetensors").info["deterministic"] is True
    assert json.loads((root / MODELS / "stage3_run.json").read_text())["settings"]["deterministic"] is True

    assert run(training, root) == 0
    assert settings[2][:2] == (False, False), "and the next run without it is not deterministic"
    assert read_header(root / MODELS / "best_model.safetensors").info["deterministic"] is False


def test_a_run_is_resumed_with_the_setting_it_began_with(
    prepared: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = Path(shutil.copytree(prepared, tmp_path / "w"))
    assert run(training, root) == 0
    assert run(training, root, "--resume", "--deterministic") == 2
    assert "other settings (deterministic)" in capsys.readouterr().err


def test_an_operation_without_a_deterministic_kernel_is_named(
    prepared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    root = Path(shutil.copytree(prepared, tmp_path / "w"))

    def validate(*_: object) -> Iterator[object]:
        torch.zeros(2).put_(torch.tensor([0, 0]), torch.ones(2))  # one of the few that a CPU refuses as well
        return iter(())

    monkeypatch.setattr(loop, "validate", validate)
    assert run(training, root, "--deterministic") == 2
    message = capsys.readouterr().err
    assert (
        message.startswith("error: the operation put_ of this task")
        and "train without deterministic kernels" in message
    )


@pytest.mark.parametrize("name", available_tasks())
def test_no_network_is_refused(name: str, tmp_path: Path) -> None:
    task = load_task(str(small_task(name, tmp_path)))
    image = torch.rand(2, 1, *task.input.size)
    gradients = []
    for wanted in (False, True):
        set_deterministic(wanted)
        torch.manual_seed(0)
        network = build_network(task).train()
        outputs = network(image)
        outputs = outputs if isinstance(outputs, list) else [outputs]  # a list with deep supervision
        torch.stack([output.square().mean() for output in outputs]).sum().backward()
        assert torch.are_deterministic_algorithms_enabled() == wanted
        gradients.append([weight.grad for weight in network.parameters() if weight.grad is not None])
    assert all(torch.equal(*pair) for pair in zip(*gradients, strict=True)) and gradients[0]


def test_flattened_cross_entropy_equals_that_of_images() -> None:
    torch.manual_seed(0)
    logits, labels = torch.randn(2, 3, 7, 5, requires_grad=True), torch.randint(0, 3, (2, 7, 5))
    plain, flat = nn.CrossEntropyLoss(), DeterministicCrossEntropy()
    torch.testing.assert_close(flat.flattened(logits, labels), plain(logits, labels))
    ours = torch.autograd.grad(flat.flattened(logits, labels), logits)[0]
    torch.testing.assert_close(ours, torch.autograd.grad(plain(logits, labels), logits)[0])
    assert torch.equal(flat(logits, labels), plain(logits, labels)), "on a CPU nothing is changed"


def test_the_library_prints_nothing_about_the_precision() -> None:
    start_fabric("cpu", 1, "bf16-mixed")
    assert not logging.getLogger("lightning_fabric.utilities.rank_zero").isEnabledFor(logging.INFO)
