"""`sonoseg quantize`: a model in 8 bits."""

import argparse
from typing import Any

from sonoseg.errors import printable
from sonoseg.runs.checkout import default_workspace
from sonoseg.runs.command_line import EXIT_OK, path_type


def add(commands: Any) -> None:
    """Add the command and its flags."""
    purpose = "convert a trained model to 8 bits, for --engine openvino_int8"
    bits = commands.add_parser("quantize", help=purpose, description=f"{purpose[0].upper()}{purpose[1:]}.")
    bits.add_argument("--task", required=True, help="task whose images calibrate and validate: name or task file")
    bits.add_argument("--model", type=path_type, help="model file (default: the task's own, or SonoSeg's)")
    bits.add_argument(
        "--workspace", type=path_type, default=default_workspace(), help="folder that contains Train_Test_Dataset/"
    )
    bits.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Make a model's conversion to 8 bits, compare its scores with the model's, and store it beside the model."""
    from sonoseg.errors import UsageError
    from sonoseg.evaluation.folds import load_data
    from sonoseg.export.quantize import quantize
    from sonoseg.inference.segmenter import read_models
    from sonoseg.models.engines.quantized import write_quantized
    from sonoseg.models.registry import shipped_model
    from sonoseg.runs.workspace import Workspace
    from sonoseg.schema.task_files import load_draft, task_of

    task = task_of(load_draft(arguments.task))
    workspace = Workspace(arguments.workspace, task.name)
    shipped = shipped_model(workspace.best_model, task)
    path = arguments.model or (shipped.path if shipped else workspace.best_model)
    model, *others = read_models([path])
    if others:
        raise UsageError(f"{path}: {len(others) + 1} models; a conversion has one, give the path of its file")
    if model.task.name != task.name:
        raise UsageError(f"{path}: trained for task {model.task.name}, not {task.name}; name that task with --task")
    record, conversion = quantize(model, load_data(model.task, workspace, model.info.get("fold") or 0))
    write_quantized(model, record, conversion)
    print(f"calibrated on {record.calibrated_on} training images, compared on {record.scored_on} validation images")
    for name, (before, after) in record.dice.items():
        print(f"Dice {name}: {before:.4f} in 32 bits, {after:.4f} in 8 bits")
    for name, (before, after) in record.errors.items():
        print(f"mean absolute error {name}: {before:.3f} in 32 bits, {after:.3f} in 8 bits")
    print(
        printable(f"written beside {model.path}; use it with inference.py --engine openvino_int8; not for clinical use")
    )
    return EXIT_OK
