"""Check 31: NaN, infinite, swapped or truncated weights are refused when written and when read, and replace nothing."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

import inference as stage4
import training as stage3
from sonoseg.errors import ModelError
from sonoseg.models.engines.choose import EngineOptions, load_engine
from sonoseg.models.model_file import load_network, save_model
from sonoseg.models.model_header import KEY, read_header
from sonoseg.models.networks import build_network
from sonoseg.schema.task import Task
from sonoseg.training import loop
from tests.models.small_networks import saved, small
from tests.models.unchecked import save_unchecked
from tests.trust.conftest import everything
from tests.trust.runs import NAME, run

State = dict[str, torch.Tensor]
MODELS = Path("Models") / NAME


def floats(state: State) -> list[str]:
    return [name for name, tensor in state.items() if tensor.is_floating_point() and tensor.numel() > 1]


def put(value: float) -> Callable[[State], object]:
    return lambda state: state[floats(state)[0]].view(-1)[:1].fill_(value)


def swapped(state: State) -> None:
    first = next(name for name in floats(state) if state[name].unique().numel() > 1)
    state[first] = state[first].flip(0) if len(state[first]) > 1 else -state[first]


DAMAGES: dict[str, Callable[[State], Any]] = {
    "not finite": put(float("nan")),
    "infinite": put(float("-inf")),
    "missing": lambda state: state.pop(floats(state)[0]),
    "none": lambda state: state.clear(),
    "unknown": lambda state: state.update(more=torch.zeros(2)),
    "shape": lambda state: state.update({floats(state)[0]: state[floats(state)[0]][:1].clone()}),
    "bfloat16": lambda state: state.update({floats(state)[0]: state[floats(state)[0]].bfloat16()}),
    "float64": lambda state: state.update({floats(state)[0]: state[floats(state)[0]].double()}),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_they_are_not_saved(model: Path, spine: Task, damage: str) -> None:
    before, state = model.read_bytes(), build_network(small(spine)).state_dict()
    DAMAGES[damage](state)
    with pytest.raises(ModelError, match=r"not saved, and an earlier model is kept \(.+\); train again"):
        save_model(model, state, small(spine), {})
    assert everything(model.parent) == {model.name: before}


@pytest.mark.parametrize("engine", ["torch", "openvino"])
@pytest.mark.parametrize("damage", [*DAMAGES, "swapped"])
def test_they_are_not_loaded(model: Path, damage: str, engine: str) -> None:
    header, state = read_header(model), load_file(model)
    (swapped if damage == "swapped" else DAMAGES[damage])(state)
    save_unchecked(model, state, header.task, {}, header.probe)
    with pytest.raises(ModelError, match=str(model)) as raised:
        load_engine(read_header(model), EngineOptions(engine))
    assert "unexpected" not in str(raised.value) and "\n" not in str(raised.value)
    if damage == "swapped":
        assert "do not give the output stored when it was saved" in str(raised.value)


@pytest.fixture
def model(spine: Task, tmp_path: Path) -> Path:
    return saved(tmp_path / "model" / "m.safetensors", small(spine))


def test_not_finite_weights_are_refused_although_there_is_a_conversion(model: Path) -> None:
    """The file is written between two runs; nothing but its header and its weights is read for a stored engine."""
    load_engine(read_header(model), EngineOptions("openvino"))
    state, header = load_file(model), read_header(model)
    put(float("inf"))(state)
    save_unchecked(model, state, header.task, {}, header.probe)
    with pytest.raises(ModelError, match="have values that are not finite; restore the file from a copy"):
        read_header(model)


def test_a_file_that_changes_between_two_reads_is_refused(model: Path, spine: Task) -> None:
    header = read_header(model)
    saved(model, small(spine), seed=3)
    with pytest.raises(ModelError, match="changed while it was being read"):
        load_network(header)


def test_a_probe_of_other_numbers_is_refused(model: Path) -> None:
    fields = json.loads(header_of(model)[KEY])
    for probe in ({"format": 1, "cells": "AAAA"}, {"format": 1, "cells": 3}, {"format": 1}):
        with_header(model, json.dumps({**fields, "probe": probe}))
        with pytest.raises(ModelError, match="probe: expected base64 of 4x24x32 numbers"):
            read_header(model)
    for probe in (None, "none", {"format": 99, "later": "versions"}):
        with_header(model, json.dumps({**fields, "probe": probe}))
        if probe == "none":
            with pytest.raises(ModelError, match="probe"):
                read_header(model)
        else:
            assert read_header(model).probe is None


ODD_HEADERS = {
    "deep": "[" * 200_000,
    "deep and closed": "[" * 5_000 + "]" * 5_000,
    "long integer": '{"format": ' + "9" * 5_000 + "}",
    "half of a surrogate pair": '{"format": 1, "info": {"use": "\\ud800"}}',
    "not a number": '{"format": 1, "info": {"validation_dice": NaN}}',
    "beyond floats": '{"format": 1, "info": {"validation_dice": 1e999}}',
    "a list": "[1, 2]",
    "a number": "7",
    "nothing": "",
}


@pytest.mark.parametrize("odd", ODD_HEADERS)
def test_an_odd_header_is_one_sentence(model: Path, odd: str, capsys: pytest.CaptureFixture[str]) -> None:
    with_header(model, ODD_HEADERS[odd])
    assert stage4.main(["--model", str(model), "--images", str(model.parent)]) == 2
    said = capsys.readouterr().err
    assert f"{model}: not a SonoSeg model" in said and said.count("\n") == 1 and "unexpected" not in said


@pytest.mark.parametrize(
    "info", [[], "text", {"data": []}, {"fold": "two"}, {"best_epoch": None}, {"versions": {"a": 1}}]
)
def test_odd_facts_are_one_sentence(model: Path, info: Any) -> None:
    fields = json.loads(header_of(model)[KEY])
    with_header(model, json.dumps({**fields, "info": info}))
    with pytest.raises(ModelError, match="its header was edited: info"):
        read_header(model)


def header_of(model: Path) -> dict[str, str]:
    data = model.read_bytes()
    return json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])["__metadata__"]


def with_header(model: Path, text: str) -> None:
    """Replace the header of a model file, whose weights stay."""
    data = model.read_bytes()
    length = int.from_bytes(data[:8], "little")
    fields = json.loads(data[8 : 8 + length])
    fields["__metadata__"][KEY] = text
    header = json.dumps(fields).encode()
    model.write_bytes(len(header).to_bytes(8, "little") + header + data[8 + length :])


@pytest.mark.parametrize("kind", ["loop", "folder", "pipe of nothing", "null"])
def test_a_model_path_that_leads_nowhere(tmp_path: Path, kind: str) -> None:
    from sonoseg.inference.segmenter import Segmenter

    path = tmp_path / "m.safetensors"
    if kind == "loop":
        path.symlink_to(path)
    elif kind == "folder":
        path.mkdir()
    elif kind == "null":
        path = tmp_path / "m\0.safetensors"
    with pytest.raises(ModelError, match=r"no such model file|no best_model\.safetensors in this folder"):
        Segmenter.load(path)


CHECKPOINT_EDITS: dict[str, Callable[[dict[str, Any]], Any]] = {
    "no progress": lambda state: state.pop("progress"),
    "no network": lambda state: state.pop("network"),
    "another entry": lambda state: state.update(more=1),
    "settings are text": lambda state: state.update(settings="all"),
    "no run": lambda state: state["progress"].pop("run"),
    "a field of progress more": lambda state: state["progress"].update(more=1),
    "epoch is text": lambda state: state["progress"].update(epoch="1"),
    "epoch is negative": lambda state: state["progress"].update(epoch=-1),
    "epoch is beyond the last": lambda state: state["progress"].update(epoch=99),
    "epoch is huge": lambda state: state["progress"].update(epoch=10**5000),
    "best epoch is another": lambda state: state["progress"].update(best_epoch=1),
    "best Dice is NaN": lambda state: state["progress"].update(best_dice=float("nan")),
    "best Dice is higher": lambda state: state["progress"].update(best_dice=0.999),
    "best weights are NaN": lambda state: put(float("nan"))(state["progress"]["best_state"]),
    "best weights are missing": lambda state: state["progress"].update(best_state={}),
    "best weights are of another network": lambda state: state["progress"].update(best_state={"w": torch.zeros(3)}),
    "best weights are text": lambda state: state["progress"].update(best_state="none"),
    "weights are infinite": lambda state: put(float("inf"))(state["network"]),
    "weights of another shape": lambda state: DAMAGES["shape"](state["network"]),
    "weights of another type": lambda state: DAMAGES["bfloat16"](state["network"]),
    "history of text": lambda state: state["progress"].update(history=["good"]),
    "history of texts": lambda state: state["progress"]["history"][0].update({"dice/mean": "good"}),
    "history is short": lambda state: state["progress"].update(history=[]),
    "history lacks a class": lambda state: state["progress"]["history"][0].pop("dice/MID"),
    "step is beyond the last": lambda state: state["progress"]["under_way"].update(step=10**6),
    "steps took no time": lambda state: state["progress"]["under_way"].update(step=1),
    "totals are text": lambda state: state["progress"]["under_way"].update(sums={"total": "much"}),
    "no state of the optimizer": lambda state: state["optimizer"].pop("state"),
    "optimizer is a list": lambda state: state.update(optimizer=[]),
    "optimizer keeps less": lambda state: state["optimizer"]["state"][0].pop("exp_avg"),
    "optimizer is NaN": lambda state: state["optimizer"]["state"][0]["exp_avg"].fill_(float("nan")),
    "optimizer of another shape": lambda state: state["optimizer"]["state"][0].update(exp_avg=torch.zeros(2)),
    "optimizer of more parameters": lambda state: state["optimizer"]["state"].update({10**6: {}}),
    "random state is short": lambda state: state.update(rng=torch.zeros(3, dtype=torch.uint8)),
    "random state is no tensor": lambda state: state.update(rng=[1, 2]),
    "deep": lambda state: state["settings"].update(task=nested(5_000)),
    "run climbs": lambda state: state["progress"].update(run="../../outside"),
}  # fmt: skip


def nested(depth: int) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = [value]
    return value


@pytest.mark.parametrize("edit", CHECKPOINT_EDITS)
def test_an_edited_checkpoint_is_one_sentence_and_replaces_no_model(
    workspace: Path, edit: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = workspace / MODELS / "last.ckpt"
    state = torch.load(path, weights_only=True)
    CHECKPOINT_EDITS[edit](state)
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(100_000)  # to write what is nested deeply
    torch.save(state, path)
    sys.setrecursionlimit(limit)
    model = (workspace / MODELS / "best_model.safetensors").read_bytes()
    before = {name for name in everything(workspace) if ".lock" not in name}
    assert run(stage3, workspace, "--resume") == 2
    said = capsys.readouterr().err
    assert f"error: {path}: " in said and said.count("\n") == 1 and "unexpected" not in said and len(said) < 700
    assert (workspace / MODELS / "best_model.safetensors").read_bytes() == model
    assert {name for name in everything(workspace) if ".lock" not in name} == before, "no folder of a log is made"


def test_a_checkpoint_that_was_not_edited_is_resumed(workspace: Path) -> None:
    path = workspace / MODELS / "last.ckpt"
    torch.save(torch.load(path, weights_only=True), path)
    assert run(stage3, workspace, "--resume") == 0


@pytest.mark.parametrize("where", ["training", "validation", "weights"])
def test_a_training_that_diverges_ends_and_keeps_the_model(
    workspace: Path, where: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    names = ("best_model.safetensors", "evaluation.json", "evaluation.html")
    before = {name: (workspace / MODELS / name).read_bytes() for name in names}
    if where == "weights":
        monkeypatch.setattr("sonoseg.training.progress.Progress.finish_epoch", finish_with_nan)
    else:
        real = loop.check_finite
        monkeypatch.setattr(loop, "check_finite", lambda loss, place: real(loss * bad(place, where), place))
    assert run(stage3, workspace) == 2
    said = capsys.readouterr().err
    expected = {
        "training": "the loss became nan in epoch 1, step 1; lower training.optimizer.learning_rate",
        "validation": "the loss became nan in the validation of epoch 1; lower training.optimizer.learning_rate",
        "weights": "not saved, and an earlier model is kept",
    }
    assert expected[where] in said and said.count("\n") == 1
    assert {name: (workspace / MODELS / name).read_bytes() for name in names} == before


def bad(place: str, where: str) -> float:
    return float("nan") if ("validation" in place) == (where == "validation") else 1.0


def finish_with_nan(progress: Any, network: torch.nn.Module, scalars: dict[str, float]) -> bool:
    state = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    put(float("nan"))(state)
    progress.best_state, progress.best_epoch, progress.best_dice = state, progress.epoch, scalars["dice/mean"]
    progress.history.append(scalars)
    progress.epoch += 1
    return True
