"""Score a model that comes with SonoSeg again on its test split, with the metrics as they are now.

    python -m tools.score_shipped fetal_head --data path/to/hc18 --out /tmp/shipped [--write]

Stage 1 makes the split; an image that the model was trained on is an error. Nothing is chosen by the scores. `--write`
puts them into the registry.
"""

import argparse
import contextlib
import json
import sys
from collections.abc import Sequence
from pathlib import Path

import torch

import train_test_data_preparation
from sonoseg.errors import ModelError
from sonoseg.evaluation.quality.validation import judge_cases, summarise_quality
from sonoseg.evaluation.scoring import Scoring, score_images
from sonoseg.evaluation.summary import summarise
from sonoseg.io.files import sha256_of, write_json
from sonoseg.io.reading import parse_json
from sonoseg.models.model_header import read_header
from sonoseg.models.registry import REGISTRY, ModelEntry, Score, registered_models
from sonoseg.runs.command_line import path_type, run_guarded
from sonoseg.runs.split_tables import Sample, read_split
from sonoseg.runs.workspace import Workspace
from sonoseg.schema.task import Task
from tools.ship_model import scores_of


def test_samples(entry: ModelEntry, task: Task, data: Path, out: Path) -> list[Sample]:
    """Return the test images of a model. Raises ModelError when it was trained on one of them, or stage 1 failed."""
    workspace = Workspace(out, entry.task)
    if not workspace.split_table("test").is_file():
        flags = ["--task", entry.task, "--workspace", str(out), "--data", str(data)]
        with contextlib.redirect_stdout(sys.stderr):
            if train_test_data_preparation.main(flags):
                raise ModelError(f"{data}: stage 1 failed")
    samples = read_split(workspace.split_table("test"), task.class_names, workspace.root)
    seen = [sample.id for sample in samples if entry.trained_on_file(sha256_of(sample.image.path))]
    if seen:
        raise ModelError(f"{entry.name} was trained on {seen[0]}, which is a test image here: this is another split")
    return samples


def run(arguments: argparse.Namespace) -> int:
    (entry,) = (one for one in registered_models() if one.name == arguments.name)
    header = read_header(entry.path)
    task = header.task
    samples = test_samples(entry, task, arguments.data, arguments.out)
    cases = list(score_images(Scoring("test", "test", [header], samples), torch.device("cpu")))
    summary = summarise(cases, task.class_names, task.evaluation, task.threshold)
    scored_on = f"{summary['images']} test images of {summary['patients']} other patients"
    if scored_on != entry.scored_on:
        raise ModelError(f"{entry.name}: {scored_on}; its registry says {entry.scored_on}")
    for name, scores in summary["classes"].items():
        print(f"{name}: absent from {scores['n_empty_reference']} of {scores['n']} images")
    found = scores_of(summary)
    print(*(Score.model_validate(score).text for score in found), sep="\n")
    quality = summarise_quality(judge_cases(cases), header.quality.acceptable_dice) if header.quality else {}
    print(json.dumps({key: value for key, value in quality.items() if key not in {"coverage", "risk"}}, indent=1))
    if arguments.write:
        listed = parse_json(REGISTRY.read_bytes())
        for one in listed:
            if one["name"] == entry.name:
                one["scores"] = found
        write_json(REGISTRY, listed)
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tools.score_shipped", description=__doc__.splitlines()[0])
    parser.add_argument("name", choices=[entry.name for entry in registered_models()], help="model of the registry")
    parser.add_argument("--data", type=path_type, required=True, help="the data that it was trained on")
    parser.add_argument("--out", type=path_type, required=True, help="workspace of the split")
    parser.add_argument("--write", action="store_true", help="put the scores into the registry")
    return run(parser.parse_args(argv))


if __name__ == "__main__":
    sys.exit(run_guarded(main))
