"""Damaged models, checkpoints and folders `engines/`, for `stress.fuzz`: edited values, JSON tokens and bytes."""

import io
import json
import random
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric

from sonoseg.errors import ModelError
from sonoseg.models.engines.cache import FOLDER
from sonoseg.models.engines.choose import ConversionError, EngineOptions, load_engine, read_stored, run_conversion
from sonoseg.models.engines.verify import check_engines
from sonoseg.models.model_file import load_network, save_model
from sonoseg.models.model_header import KEY, read_header
from sonoseg.models.networks import build_network
from sonoseg.runs.output_folder import OutputFolder
from sonoseg.schema.task import Task
from sonoseg.schema.task_files import load_task
from sonoseg.training.checkpoint import load_checkpoint, save_checkpoint
from sonoseg.training.progress import Progress
from sonoseg.training.setup import TrainingOptions, TrainingSetup
from stress.findings import Findings

TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|-?\d+(?:\.\d+)?(?:e[+-]?\d+)?|[\[\]{}:,]|true|false|null')
ODD_TOKENS = (
    "null", "true", "-1", "0", "1e999", "NaN", "9" * 5000, '""', '"../../etc/passwd"', '"\\ud800"', '"\\u0000"', "[]",
    "{}", "[" * 3000, "[" * 3000 + "]" * 3000, '{"a": 1}', '"<script>"',
)  # fmt: skip
ODD_VALUES: tuple[Any, ...] = (
    None, True, -1, 0, 10**30, 10**5000, 0.5, float("nan"), float("inf"), "", "../../outside", "\ud800", b"x", [], {},
    [[1]], {"a": 1}, {1: 2}, torch.zeros(2), torch.full((2, 2), float("nan")), torch.zeros(2, dtype=torch.int64),
)  # fmt: skip
SETTINGS = {"seed": 1}


def fuzz_headers(count: int, number: int, folder: Path, findings: Findings, advance: Callable[[], None]) -> None:
    """Model files whose header is JSON with tokens replaced, removed, doubled or exchanged, or any bytes."""
    rng, path = random.Random(number), folder / "model.safetensors"
    network, valid = _saved(path, number).network, path.read_bytes()
    length = int.from_bytes(valid[:8], "little")
    fields = json.loads(valid[8 : 8 + length])
    text = fields["__metadata__"][KEY]

    def read() -> None:
        header = read_header(path)
        if header.task.network == network:
            load_network(header)

    for _ in range(count):
        if rng.random() < 0.7:
            fields["__metadata__"][KEY] = edited_tokens(text, rng)
            header = json.dumps(fields).encode()
            path.write_bytes(len(header).to_bytes(8, "little") + header + valid[8 + length :])
        else:
            path.write_bytes(_edited_bytes(valid, rng))
        findings.note("model header", read, path.read_bytes)
        advance()


def fuzz_checkpoints(count: int, number: int, folder: Path, findings: Findings, advance: Callable[[], None]) -> None:
    """Checkpoints of which up to three values, however deep, are replaced or removed, or any bytes changed."""
    rng, setup = random.Random(number), _setup()
    progress = Progress("run")
    row = {"loss/validation": 0.5, "schedule/learning_rate": 0.1, "schedule/hausdorff_weight": 0.0, "dice/mean": 0.5}
    progress.finish_epoch(setup.network, row | {f"dice/{name}": 0.5 for name in setup.task.class_names})
    setup.network(torch.ones(1, 2)).sum().backward()
    setup.optimizer.step()
    path = save_checkpoint(OutputFolder(folder, "stage3"), setup, progress, SETTINGS)
    valid = path.read_bytes()

    for _ in range(count):
        if rng.random() < 0.8:
            state = torch.load(io.BytesIO(valid), weights_only=True)
            for _ in range(rng.randrange(3)):
                _edit_value(state, rng)
            torch.save(state, path)
        else:
            path.write_bytes(_edited_bytes(valid, rng))
        findings.note("checkpoint", lambda: load_checkpoint(path, setup, SETTINGS), path.read_bytes)
        advance()


def fuzz_engines(count: int, number: int, folder: Path, findings: Findings, advance: Callable[[], None]) -> None:
    """Folders `engines/` with a file changed, cut, removed, linked or exchanged. Refused: it is converted again."""
    rng, path, options = random.Random(number), folder / "engines_of" / "model.safetensors", EngineOptions("openvino")
    _saved(path, number)
    header = read_header(path)
    load_engine(header, options)
    valid, engines = folder / "valid", path.parent / FOLDER
    engines.rename(valid)

    def read() -> None:
        check_engines(engines)
        stored = read_stored(header, options)
        if stored is None:
            raise ModelError("converted again")
        try:
            run_conversion(header, "openvino", stored[1])
        except ConversionError as problem:
            raise ModelError(str(problem)) from problem

    for _ in range(count):
        shutil.rmtree(engines, ignore_errors=True)
        shutil.copytree(valid, engines)
        for _ in range(rng.randrange(3)):
            _edit_file(rng.choice(sorted(engines.iterdir())), rng)
        findings.note("engine folder", read, lambda: b"".join(p.read_bytes() for p in engines.iterdir() if p.is_file()))
        advance()


def edited_tokens(text: str, rng: random.Random) -> str:
    """Return JSON text with up to two of its tokens replaced, removed, doubled or exchanged."""
    tokens = TOKEN.findall(text)
    for _ in range(rng.randrange(3)):
        at, other = rng.randrange(len(tokens)), rng.randrange(len(tokens))
        match rng.randrange(4):
            case 0:
                tokens[at] = rng.choice(ODD_TOKENS)
            case 1:
                tokens[at] = ""
            case 2:
                tokens[at] *= 2
            case 3:
                tokens[at], tokens[other] = tokens[other], tokens[at]
    return "".join(tokens)


def _edit_value(value: Any, rng: random.Random) -> None:
    """Replace or remove a value somewhere within dictionaries and lists."""
    while True:
        keys = list(value) if isinstance(value, dict) else range(len(value))
        if not keys:
            return
        key = rng.choice(keys)
        if isinstance(value[key], dict | list) and rng.random() < 0.8:
            value = value[key]
        elif rng.random() < 0.3:
            del value[key]
            return
        else:
            value[key] = rng.choice(ODD_VALUES)
            return


def _edited_bytes(data: bytes, rng: random.Random) -> bytes:
    at, length = rng.randrange(len(data)), rng.randint(1, 40)
    match rng.randrange(3):
        case 0:
            return data[:at]
        case 1:
            return data[:at] + rng.randbytes(length) + data[at + length :]
        case _:
            return data[:at] + data[at + length :]


def _edit_file(path: Path, rng: random.Random) -> None:
    if not path.is_file() or path.is_symlink():
        return
    match rng.randrange(5):
        case 0:
            path.write_text(edited_tokens(path.read_text("latin-1"), rng) or "[" * 5000, "latin-1")
        case 1:
            path.write_bytes(_edited_bytes(path.read_bytes(), rng))
        case 2:
            path.unlink()
        case 3:
            path.unlink()
            path.symlink_to(path if rng.random() < 0.5 else "/dev/zero")
        case _:
            path.unlink()
            path.mkdir()


def _saved(path: Path, number: int) -> Task:
    """Write a small model and return its task."""
    task = load_task("spine").model_dump(mode="json")
    network = {"name": "unet", "channels": [2, 4], "strides": [2], "residual_units": 0}
    small = Task.model_validate({**task, "network": network, "input": {"size": [16, 16]}})
    torch.manual_seed(number)
    save_model(path, build_network(small).state_dict(), small, {"best_epoch": 1, "data": {"table": "0" * 64}})
    return small


def _setup() -> TrainingSetup:
    """Return the setup of a network and its optimizer, which is all that a checkpoint is about."""
    network, nothing, batches = torch.nn.Linear(2, 2), None, range(10)
    fabric, optimizer = Fabric(accelerator="cpu", devices=1), torch.optim.Adam(network.parameters())
    arguments: Any = (load_task("spine"), fabric, TrainingOptions(), 1, network, optimizer, nothing, batches, batches)
    return TrainingSetup(*arguments)


MODEL_KINDS = {"model header": fuzz_headers, "checkpoint": fuzz_checkpoints, "engine folder": fuzz_engines}
