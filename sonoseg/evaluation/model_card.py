"""`MODEL_CARD.md`, written beside every trained model: its data, its scores, and its limits.

The sections follow Mitchell et al. (2019), "Model Cards for Model Reporting". Sections that only the
author can write are left to be completed, and kept when the card is written again.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sonoseg.evaluation.folds import FoldData
from sonoseg.evaluation.intervals import interval_note
from sonoseg.evaluation.summary import WHERE_PRESENT, error_means, in_one_unit, notes_of, score_means
from sonoseg.io.names import patient_key
from sonoseg.models.model_header import ModelHeader
from sonoseg.runs.output_folder import OutputFolder
from sonoseg.runs.workspace import MODEL_CARD

TO_COMPLETE = "*Author to complete.*"

_BY_THE_AUTHOR = ("Intended use", "Where the images come from", "Known limits")
"""Sections that only the author can write."""

_HINTS = {
    "Intended use": "For which question, which users, which patients.",
    "Where the images come from": "Hospitals, scanners, transducers, dates, who annotated, consent and licence.",
    "Known limits": "Patients, scanners and findings on which it was not tried.",
}


def write_model_card(
    output: OutputFolder, model: ModelHeader, data: FoldData, summary: Mapping[str, Any] | None
) -> Path:
    """Write the card of `model`, with the scores of `summary` (`evaluation.json`), or without any for None.

    Sections that the author has completed are kept.
    """
    path = output.path(MODEL_CARD)
    written = _sections(path.read_text(encoding="utf-8", errors="replace")) if path.is_file() else {}
    return output.write_text(path, model_card(model, data, summary, written))


def model_card(
    model: ModelHeader, data: FoldData, summary: Mapping[str, Any] | None, written: Mapping[str, str]
) -> str:
    """Return the card in Markdown; `written` are the sections, heading -> text, that the author has completed."""
    task = model.task
    parts = [
        f"# {_plain(task.title)} (`{task.name}`)",
        "**Not for clinical use.** Research software: no result of it may guide a needle or a diagnosis.",
        *(_section(name, written.get(name, f"{TO_COMPLETE} {_HINTS[name]}")) for name in _BY_THE_AUTHOR[:2]),
        _section("Model", _model(model)),
        _section("Data and split", _data(data, model)),
        _section("Scores", _scores(summary)),
        _section(_BY_THE_AUTHOR[2], written.get(_BY_THE_AUTHOR[2], f"{TO_COMPLETE} {_HINTS[_BY_THE_AUTHOR[2]]}")),
        _section(
            "Software versions", ", ".join(f"{name} {value}" for name, value in model.info.get("versions", {}).items())
        ),
    ]
    return "\n\n".join(parts) + "\n"


def disjointness(data: FoldData, unknown: bool) -> str:
    """Return whether the split is by patient; where no patient has two images, patients may be unknown.

    unknown: the task does not say who the patients are. Groups of similar images then stand for patients that the data
    do not state either; each has the name of one of its images.
    """
    patients = {patient_key(sample.patient) for sample in data.samples}
    if len(patients) == len(data.samples):
        return (
            "by image: every image counts as a patient of its own. If in truth a patient has several, they may be in "
            "two parts, and then the scores are optimistic"
        )
    groups = patients & {patient_key(sample.id) for sample in data.samples} if unknown else set()
    if not groups:
        return f"by patient: {len(patients)} patients, none of them in two parts"
    known = f"by patient where one is stated ({len(patients - groups)}), else " if patients - groups else ""
    return (
        f"{known}by groups of similar images ({len(groups)} groups): who the patients are is unknown. One patient may "
        "be in two parts, and then the scores are optimistic"
    )


def _model(model: ModelHeader) -> str:
    info, task = model.info, model.task
    size = "x".join(map(str, task.input.size))
    lines = [
        f"* Classes: {', '.join(f'{structure.name} ({structure.shape})' for structure in task.structures)}",
        f"* Network: `{task.network.name}`, {size} pixels, {task.input.fit}; all settings are inside the file",
        f"* File: `{model.path.name}`, SHA-256 `{model.sha256}`",
    ]
    if {"best_epoch", "validation_dice", "epochs", "seed", "fold"} <= info.keys():
        lines.append(_training(info))
    return "\n".join(lines)


def _training(info: Mapping[str, Any]) -> str:
    """Return how many epochs a model was trained, and how one of them was chosen."""
    if info["fold"] is None:
        return (
            f"* Refit: trained {info['epochs']} epochs, seed {info['seed']}, on the images of all folds. No fold "
            "validated it: its settings and number of epochs were chosen in trainings before"
        )
    absent = _plain(", ".join(info.get("validation_without", [])))
    without = f", without {absent}, which no image of that fold shows" if absent else ""
    return (
        f"* Trained {info['epochs']} epochs, seed {info['seed']}; epoch {info['best_epoch']} kept for its "
        f"validation Dice, {info['validation_dice']:.4f} on fold {info['fold']}{without}"
    )


def _data(data: FoldData, model: ModelHeader) -> str:
    """Return what the model was trained on; its fold may be another than that of `data`, in a scoring of its own."""
    spaced = sum(sample.spacing is not None for sample in data.samples)
    fold, folds = model.info.get("fold", data.fold), [one.fold for one in data.samples if one.fold is not None]
    validating = sum(one == fold for one in folds)
    rows = [
        f"* {len(data.samples)} annotated images: {len(folds) - validating} for training, {validating} for validation, "
        f"{len(data.test)} for testing",
        f"* Split {disjointness(data, model.task.patients.unknown)}",
        f"* Pixel spacing known for {spaced} of {len(data.samples)} images",
        *(f"* `{name}` SHA-256 `{digest}`" for name, digest in sorted(data.hashes.items())),
    ]
    return "\n".join(rows)


def _scores(summary: Mapping[str, Any] | None) -> str:
    if summary is None:
        return "None: the test split is empty."
    unit = summary["distance_unit"]
    lines = [
        f"On the {summary['part']} images: {summary['images']} of {summary['patients']} patients. Means over patients; "
        f"{interval_note(score_means(summary))}. A rightly empty mask counts as Dice 1; Dice where present is that of "
        "the images whose reference has the class.",
        "",
        "| class | Dice | Dice where present | IoU "
        f"| surface Dice at {summary['surface_tolerance']:g} {unit} | HD95, {unit} | missed |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, scores in summary["classes"].items():
        missed = f"{scores['n_missed']} of {scores['n'] - scores['n_empty_reference']}"
        means = " | ".join(_mean(scores.get(score), digits) for score, digits in SCORE_COLUMNS)
        lines.append(f"| {name} | {means} | {missed} |")
    measured = in_one_unit(summary["measurements"])
    if measured:
        lines += ["", f"Prediction minus reference; {interval_note(error_means(summary))}.", ""]
        lines += [
            "| measurement | mean absolute error | bias | limits of agreement | missed |",
            "|---|---|---|---|---|",
        ]
    for key in measured:
        entry = summary["measurements"][key]
        errors = f"{_mean(entry['mean_absolute_error'], 2)} | {_mean(entry['bias'], 2)} | {_limits(entry)}"
        lines.append(f"| {key} | {errors} | {entry['n_missed']} |")
    lines += [line for note in notes_of(summary) for line in ("", f"{note[0].upper()}{note[1:]}.")]
    if "warning" in summary:
        lines += ["", f"{summary['warning']}."]
    if summary.get("scored_before"):
        number = summary["scored_before"] + 1
        lines += [
            "",
            f"Scoring number {number} of this test split: scores are optimistic if settings were chosen after earlier "
            "ones.",
        ]
    return "\n".join(lines)


SCORE_COLUMNS = (("dice", 3), (WHERE_PRESENT, 3), ("iou", 3), ("surface_dice", 3), ("hd95", 1))


def _mean(score: Mapping[str, Any] | None, digits: int) -> str:
    """Return a mean with its interval; a dash for None, of a class that no reference has."""
    if score is None:
        return "-"
    bounds = score["interval_95"]
    return f"{score['mean']:.{digits}f}" + (f" ({bounds[0]:.{digits}f} to {bounds[1]:.{digits}f})" if bounds else "")


def _limits(entry: Mapping[str, Any]) -> str:
    """Return both limits of agreement with their intervals; a dash for a single patient."""
    limits, intervals = entry["limits_of_agreement"], entry.get("limits_of_agreement_intervals_95") or (None, None)
    if limits[0] is None:
        return "-"
    each = zip(limits, intervals, strict=True)
    return " to ".join(_mean({"mean": limit, "interval_95": interval}, 2) for limit, interval in each)


def _section(name: str, text: str) -> str:
    return f"## {name}\n\n{text}"


def _sections(card: str) -> dict[str, str]:
    """Return the sections of an earlier card that the author has completed."""
    parts = re.split(r"^## (.+)$", card, flags=re.MULTILINE)
    sections = dict(zip(parts[1::2], (text.strip() for text in parts[2::2]), strict=False))
    return {
        name: text for name, text in sections.items() if name in _BY_THE_AUTHOR and not text.startswith(TO_COMPLETE)
    }


def _plain(text: str) -> str:
    """Return the text as one line with Markdown characters escaped."""
    return re.sub(r"([\\`*_{}\[\]<>#|])", r"\\\1", " ".join(text.split()))
