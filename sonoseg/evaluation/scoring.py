"""Score trained models: read them back from their files, segment images they have not seen, write what came of it."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from sonoseg.errors import ModelError
from sonoseg.evaluation.cases import Case
from sonoseg.evaluation.cross_validation import folds_table, forget_results, summarise_folds
from sonoseg.evaluation.folds import TrainingData
from sonoseg.evaluation.history import read_history
from sonoseg.evaluation.model_card import write_model_card
from sonoseg.evaluation.results import write_evaluation
from sonoseg.evaluation.segment import score
from sonoseg.evaluation.terminal import score_report
from sonoseg.models.model_file import load_network
from sonoseg.models.model_header import ModelHeader, digest_of, read_header
from sonoseg.runs.output_folder import OutputFolder
from sonoseg.runs.split_tables import Prepared
from sonoseg.runs.terminal import console, epoch_bar
from sonoseg.runs.workspace import BEST_MODEL, CHECKPOINT, Workspace
from sonoseg.schema.task import Task


def score_model(
    output: OutputFolder,
    part: str,
    rows: Sequence[Prepared],
    data: TrainingData,
    workspace: Workspace,
    task: Task,
    device: torch.device,
) -> None:
    """Score the model in `output` on `rows`, and write evaluation and card beside it; no rows: a card without scores.

    Raises ModelError when the model was trained on other tables than `data`: it may have seen these images.
    """
    model = _read(output.path(BEST_MODEL), data, task, any_fold=part == "test")
    cases = _score([model], part, rows, data, task, device)
    if cases:
        summary = _write_evaluation(output, model, part, cases, data, workspace)
        console.print(*score_report(summary, part), sep="\n")
    else:
        write_model_card(output, model, data, None)


def score_folds(
    output: OutputFolder, everything: Sequence[TrainingData], workspace: Workspace, task: Task, device: torch.device
) -> None:
    """Score each fold's model on the fold it was not trained on, all folds together, their ensemble on the test split.

    Writes `fold_<k>/evaluation.json`, `out_of_fold/`, `ensemble/` and, last, `cross_validation.json`. A model was not
    trained on its fold, but the fold chose its epoch. Raises ModelError, before anything is scored or removed, for
    models that were not trained alike.
    """
    folders = [output.subfolder(f"fold_{data.fold}") for data in everything]
    models = [_read(own.path(BEST_MODEL), data, task) for own, data in zip(folders, everything, strict=True)]
    for what in ("seed", "planned_epochs"):
        if len({model.info.get(what) for model in models}) > 1:
            raise ModelError(f"{output.folder}: its models differ in {what}; run --fold all again without --resume")
    forget_results(output)
    in_mm = all(sample.spacing for sample in everything[0].samples if sample.fold is not None)
    pooled, summaries = [], []
    for data, own, model in zip(everything, folders, models, strict=True):
        cases = _score([model], f"fold {data.fold}", data.validation, data, task, device, in_mm)
        summaries.append(_write_evaluation(own, model, "validation", cases, data, workspace))
        pooled += cases

    limits = everything[0].limits
    members = [model.sha256 for model in models]
    facts = {**models[0].info, "fold": "all", "sha256": digest_of(members), "members": members}
    for name in ("best_epoch", "epochs", "validation_dice", "images"):
        facts.pop(name, None)  # each member has its own
    out_of_fold = write_evaluation(
        output.subfolder("out_of_fold"), "out-of-fold", pooled, task, workspace, facts, limits=limits
    )
    test = everything[0].test
    ensemble = _score(models, "test", test, everything[0], task, device)
    if ensemble:
        summary = write_evaluation(
            output.subfolder("ensemble"), "test", ensemble, task, workspace, facts, limits=limits
        )
        console.print(*score_report(summary, "test, by the ensemble of all folds"), sep="\n")
    result = summarise_folds(summaries, out_of_fold, members)
    output.write_json("cross_validation.json", result)
    console.print(folds_table(result))


def _write_evaluation(
    output: OutputFolder, model: ModelHeader, part: str, cases: Sequence[Case], data: TrainingData, workspace: Workspace
) -> dict[str, Any]:
    """Write one model's evaluation beside it, with the curves of its training, and its card."""
    facts = {**model.info, "sha256": model.sha256}
    history = read_history(output.path(CHECKPOINT))
    summary = write_evaluation(output, part, cases, model.task, workspace, facts, history, data.limits)
    write_model_card(output, model, data, summary)
    return summary


def _read(path: Path, data: TrainingData, task: Task, any_fold: bool = False) -> ModelHeader:
    """Return the model of `path`, provided that it was trained for this task on the tables that are there now.

    With `any_fold` it may have held out another fold than `data` does: the test split is the same for all.
    """
    model = read_header(path)
    ours, theirs = task.model_dump(), model.task.model_dump()
    sections = sorted(name for name in ours if ours[name] != theirs[name])
    if sections:
        raise ModelError(
            f"{path}: trained with other settings than the task file has now ({', '.join(sections)}); choosing them "
            "by the score of test images would spoil the test: undo the change, or train anew"
        )
    changed = sorted(name for name, value in data.hashes.items() if model.info["data"].get(name) != value)
    if changed or (model.info["fold"] != data.fold and not any_fold):
        what = f"other tables ({', '.join(changed)})" if changed else f"fold {model.info['fold']} held out"
        raise ModelError(
            f"{path}: trained with {what} than now, so it may have seen the images it would be scored on; train it anew"
        )
    return model


def _score(
    models: Sequence[ModelHeader],
    part: str,
    rows: Sequence[Prepared],
    data: TrainingData,
    task: Task,
    device: torch.device,
    in_mm: bool | None = None,
) -> list[Case]:
    networks = [load_network(model, device) for model in models]
    cases: list[Case] = []
    with epoch_bar(f"score the {part} images", len(rows)) as advance:
        for case in score(networks, rows, data, task, device, in_mm):
            cases.append(case)
            advance()
    return cases
