"""`sonoseg export`: a model in a format of other programs."""

import argparse
from pathlib import Path
from typing import Any

from sonoseg.errors import printable
from sonoseg.runs.command_line import EXIT_OK, path_type


def add(commands: Any) -> None:
    """Add the command and its flags."""
    purpose = "write a trained model as ONNX, for OpenVINO, or as a MONAI bundle"
    exports = commands.add_parser("export", help=purpose, description=f"{purpose[0].upper()}{purpose[1:]}.")
    exports.add_argument("model", metavar="MODEL", help="model file, its folder, or a name that `sonoseg models` lists")
    exports.add_argument("--to", choices=("onnx", "openvino", "bundle"), required=True, help="format to write")
    exports.add_argument(
        "--out", type=path_type, help="file, or folder of a bundle (default: named after the task, here)"
    )
    exports.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Write a model in a format of other programs, after a comparison with the model itself."""
    from sonoseg.errors import UsageError
    from sonoseg.export.facts import facts_of
    from sonoseg.export.write import FORMATS, check_target, export
    from sonoseg.inference.segmenter import read_models

    models = read_models(arguments.model)
    if len(models) > 1:
        raise UsageError(f"{arguments.model}: {len(models)} models; an export has one, give the path of its file")
    out = arguments.out or Path(f"{models[0].task.name}{FORMATS[arguments.to].suffix or '_bundle'}")
    try:
        check_target(arguments.to, out)
    except UsageError as problem:
        raise UsageError(f"{problem}, with --out") from None
    written = export(models[0], arguments.to, out)
    for name, digest in written.digests.items():
        print(printable(f"written: {out.parent / name}, SHA-256 {digest}"))
    print(
        f"{written.agreement:.3%} of the pixels of simulated images of five sizes get the label that torch gives them"
    )
    facts = facts_of(models[0])
    if facts["before"]:
        print(f"not inside: {facts['before']}; apply it to an image before")
    print("not inside: what follows the label map: small pieces, fitted shapes, measurements, quality")
    print(facts["notice"])
    if written.card:
        print(printable(f"noted in {written.card}"))
    return EXIT_OK
