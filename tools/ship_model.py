"""Put a trained model into sonoseg/weights, a large one with 16-bit weights, and describe it in the registry.

python -m tools.ship_model Models/fetal_head --name fetal_head --version 1 --licence "CC BY 4.0" \
    --attribution "..." --trained-on "641 images ..." [--quality Models/fetal_head_fold0/best_model.safetensors]

Scores are those of `evaluation.json` beside the model. The task inside is the recipe as it is now, which may differ
from the one of the training in its sections review and evaluation only.
"""

import argparse
import hashlib
import json
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from sonoseg.errors import ModelError
from sonoseg.evaluation.summary import WHERE_PRESENT
from sonoseg.io.files import write_bytes, write_json
from sonoseg.io.reading import parse_json
from sonoseg.models.model_file import compact_model, load_network, model_bytes
from sonoseg.models.model_header import ModelHeader, read_header
from sonoseg.models.registry import FOLDER, REGISTRY, ModelEntry
from sonoseg.runs.command_line import path_type, run_guarded
from sonoseg.runs.workspace import BEST_MODEL, EVALUATION
from sonoseg.schema.task_files import load_task

MAX_BYTES = 15_000_000
SMALL_BYTES = 5_000_000
"""Networks up to this size keep weights of 32 bits."""
SCORES = {"dice": "Dice", "hausdorff": "Hausdorff distance", "surface_dice": "surface Dice"}
UNCHANGED = {"review", "evaluation"}
"""Sections of a task that change no result of its network."""


def current_header(model: Path, quality_of: Path | None) -> ModelHeader:
    """Return the header of a model with its recipe as it is now, and the quality model of another one if it is given.

    Raises ModelError when the recipe has changed otherwise.
    """
    header = read_header(model)
    task = load_task(header.task.name)
    now, then = (one.model_dump(exclude=UNCHANGED | {"training"}) for one in (task, header.task))
    changed = sorted(name for name in now if now[name] != then[name])
    if changed:
        raise ModelError(f"{model}: trained with other settings than the recipe has now ({', '.join(changed)})")
    quality = read_header(quality_of).quality if quality_of else header.quality
    return replace(
        header, task=header.task.model_copy(update={name: getattr(task, name) for name in UNCHANGED}), quality=quality
    )


def scores_of(evaluation: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the entries `scores` of the registry: of each structure, and the errors of lengths in mm.

    The Dice where present stands beside that of a structure which is absent from some images.
    """
    unit, several, found = evaluation["distance_unit"], len(evaluation["classes"]) > 1, []
    for name, scores in evaluation["classes"].items():
        for key, label in SCORES.items():
            score = scores[key]
            text = f"{name} {label}" if several else label
            entry = {"name": text, "value": score["mean"], "interval_95": score["interval_95"]}
            found.append(entry | {"unit": unit if key == "hausdorff" else ""})
            present = scores[WHERE_PRESENT]
            if key == "dice" and scores["n_empty_reference"] and present:
                entry = {"name": f"{text} where present", "value": present["mean"]}
                found.append(entry | {"interval_95": present["interval_95"], "unit": ""})
    for entry in evaluation["measurements"].values():
        if entry["unit"] == "mm" and entry["n"] and "row" not in entry["name"]:
            error = entry["mean_absolute_error"]
            text = f"error of {entry['label']}"
            found.append({"name": text, "value": error["mean"], "interval_95": error["interval_95"], "unit": "mm"})
    return found


def ship(arguments: argparse.Namespace) -> int:
    header = current_header(arguments.folder / BEST_MODEL, arguments.quality)
    state = load_network(header).state_dict()
    is_small = sum(tensor.nbytes for tensor in state.values()) <= SMALL_BYTES
    data = model_bytes(state, header.task, header.info, header.quality) if is_small else compact_model(header)
    if len(data) > MAX_BYTES:
        raise ModelError(f"{header.path}: {len(data)} bytes; expected at most {MAX_BYTES}")
    evaluation = json.loads((arguments.folder / EVALUATION).read_text(encoding="utf-8"))
    if evaluation["model"].get("sha256") != header.sha256 or evaluation["part"] != "test" or header.quality is None:
        raise ModelError(
            f"{arguments.folder}: its scores are not of this model on the test split, or it has no quality"
        )
    entry = ModelEntry(
        name=arguments.name,
        task=header.task.name,
        version=arguments.version,
        file=f"{arguments.name}.safetensors",
        sha256=hashlib.sha256(data).hexdigest(),
        licence=arguments.licence,
        attribution=arguments.attribution,
        trained_on=arguments.trained_on,
        quality_from=f"{header.quality.images} images of {header.quality.patients} patients, {header.quality.source}",
        scored_on=f"{evaluation['images']} {evaluation['part']} images of {evaluation['patients']} other patients",
        scores=scores_of(evaluation),
    )
    listed = [one for one in parse_json(REGISTRY.read_bytes()) if one["name"] != entry.name]
    write_bytes(FOLDER / entry.file, data)
    write_json(REGISTRY, sorted([*listed, entry.model_dump(mode="json")], key=lambda one: one["name"]))
    print(f"{FOLDER / entry.file}: {len(data) / 1e6:.1f} MB, SHA-256 {entry.sha256}")
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tools.ship_model", description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=path_type, help="folder of a trained and scored model")
    for name, text in (
        ("name", "by which the model is found"),
        ("version", "of the model"),
        ("licence", "of weights and training data"),
        ("attribution", "who made the data, and where they are described"),
        ("trained-on", "the training images in words"),
    ):
        parser.add_argument(f"--{name}", required=True, help=text)
    parser.add_argument("--quality", type=path_type, help="model whose quality model is taken, for a refit")
    return ship(parser.parse_args(argv))


if __name__ == "__main__":
    sys.exit(run_guarded(main))
