"""What to label next, of a folder of images that nobody has labelled: a list and a contact sheet."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from sonoseg.errors import DataError, UsageError, first_of, printable
from sonoseg.inference.segmenter import Segmenter, check_image, read_models
from sonoseg.inference.sources import Source, from_folder
from sonoseg.io.limits import DEFAULT_LIMITS
from sonoseg.io.png import write_image
from sonoseg.io.readers import read_image
from sonoseg.io.readers.opening import digest_of_file
from sonoseg.io.tables import write_csv
from sonoseg.models.embedding import Embedding, embedder
from sonoseg.postprocess.interpret import Findings
from sonoseg.prepare.duplicates.near_duplicates import thumbnail_of
from sonoseg.reporting.drawing import thumbnail
from sonoseg.review.learning.selection import duplicates, select
from sonoseg.review.store import Rater, Store
from sonoseg.runs.split_tables import Sample, read_split
from sonoseg.runs.workspace import REVIEW_FOLDER, Workspace
from sonoseg.schema.task import Task
from sonoseg.types import Picture, Pixels

LIST, SHEET = "suggested.csv", "suggested.png"
COLUMNS = ("rank", "image", "frame", "expected_dice", "confidence", "status", "reasons")
NAMED = 3
MOST_LABELLED = 500
"""Labelled images from which distances are taken: evenly chosen where there are more."""
PER_ROW, MARGIN = 5, 6
LINE_PX = 22


@dataclass(frozen=True)
class Candidate:
    """An unlabelled image: what the model found, its embedding, and small pictures of it."""

    source: Source
    findings: Findings
    embedding: Embedding
    small: Pixels
    picture: Picture

    @property
    def confidence(self) -> float | None:
        """Mean confidence of the structures that were found; None when nothing was."""
        values = list(self.findings.confidence.values())
        return float(np.mean(values)) if values else None

    @property
    def expected(self) -> float:
        """Expected Dice or, without a quality model, the mean confidence; 0 where nothing was found."""
        return self.findings.quality if self.findings.quality is not None else self.confidence or 0.0


@dataclass(frozen=True)
class Suggestion:
    """Candidates in the order in which they are to be labelled, and remarks on those that were left out."""

    chosen: list[Candidate]
    remarks: list[str]


def suggest(
    folder: Path,
    models: Sequence[Path | str],
    workspace: Workspace,
    count: int,
    progress: Callable[[Iterator[Any], int], Iterator[Any]],
) -> Suggestion:
    """Return which images of a folder to label next.

    models: the first decides the embedding. workspace: whose labelled images, if there are any, are the first centres.
    progress: shows the progress of an iterator of so many images. Left out are images that cannot be segmented, that
    the model or a reviewer of the task's results has rejected, that a reviewer has accepted or corrected, those of the
    split, test part included, those that are almost equal to another one or to one that trains, and loops. Raises
    DataError for a folder without images, ModelError, UsageError when no image remains.
    """
    headers = read_models(list(models))
    task = headers[0].task
    segmenter, embed = Segmenter.load(list(models), "auto", "torch"), embedder(headers[0])
    sources = from_folder(folder, task).sources
    stills = [source for source in sources if not source.loop]
    remarks = [f"{len(sources) - len(stills)} loops are left out"] if len(stills) < len(sources) else []
    training, tested = (_annotated(workspace, task, part) for part in ("train", "test"))
    fresh, more = _without_known(stills, [*training, *tested], _reviewed(workspace.results / REVIEW_FOLDER))
    remarks += more
    labelled = list(_labelled(training))
    known = [(thumbnail_of(image), embed(image)) for image in progress(iter(labelled), len(labelled))]
    found = list(progress((_candidate(source, segmenter, embed) for source in fresh), len(fresh)))
    usable = [one for one in found if one is not None]
    kept = [one for one in usable if one.findings.status != "reject"]
    twice = duplicates([*(small for small, _ in known), *(one.small for one in kept)], len(known))
    candidates = [one for place, one in enumerate(kept, start=len(known)) if place not in twice]
    failed = [printable(source.path.name) for source, one in zip(fresh, found, strict=True) if one is None]
    remarks += [f"{len(failed)} left out: cannot be segmented ({first_of(failed, NAMED)})"] if failed else []
    remarks += _left_out(len(usable) - len(kept), len(kept) - len(candidates))
    if not candidates:
        raise UsageError(f"{folder}: no image is left to suggest: {'; '.join(remarks)}")
    vectors = np.stack([one.embedding for one in candidates])
    centres = np.stack([vector for _, vector in known]) if known else np.empty((0, vectors.shape[1]), np.float32)
    places = select([one.expected for one in candidates], vectors, centres, count)
    return Suggestion([candidates[place] for place in places], remarks)


def _without_known(
    sources: Sequence[Source], samples: Sequence[Sample], reviewed: set[str]
) -> tuple[list[Source], list[str]]:
    """Return the images that are not annotated and not reviewed, by their bytes, and remarks on the others."""
    annotated = {sample.sha256 for sample in samples}
    if not annotated and not reviewed:
        return list(sources), []
    known, fresh = {"annotated": 0, "reviewed": 0}, []
    for source in sources:
        digest = _digest(source.path)
        if digest in annotated:
            known["annotated"] += 1
        elif digest in reviewed:
            known["reviewed"] += 1
        else:
            fresh.append(source)
    return fresh, [f"{count} left out: {what} already" for what, count in known.items() if count]


def _left_out(rejected: int, similar: int) -> list[str]:
    reasons = ((rejected, "rejected by the model"), (similar, "almost equal pictures"))
    return [f"{number} left out: {reason}" for number, reason in reasons if number]


def _reviewed(folder: Path) -> set[str]:
    """Return the digests of the images that reviewers have decided about."""
    return {entry["image_sha256"] for entry in Store(folder, Rater("")).current().values() if entry.get("image_sha256")}


def _digest(path: Path) -> str:
    try:
        return digest_of_file(path, DEFAULT_LIMITS)[0]
    except DataError:  # it fails as a candidate, too
        return ""


def _annotated(workspace: Workspace, task: Task, part: str) -> list[Sample]:
    """Return the annotated images of a part of the split, none where there is no split."""
    table = workspace.split_table(part)
    return read_split(table, task.class_names, workspace.root) if table.is_file() else []


def _labelled(samples: Sequence[Sample]) -> Iterator[Pixels]:
    step = max(1, -(-len(samples) // MOST_LABELLED))
    for sample in samples[::step]:
        yield read_image(sample.image).pixels


def _candidate(source: Source, segmenter: Segmenter, embed: Callable[[Pixels], Embedding]) -> Candidate | None:
    """Return what is known about an image; None for one that cannot be segmented."""
    try:
        if source.problem:
            return None
        image = check_image(read_image(source.image).pixels)
        findings = segmenter(image, source.spacing)
    except DataError:
        return None
    colors = [structure.color for structure in segmenter.task.structures]
    picture = thumbnail(image, findings.labels, colors)
    return Candidate(source, findings, embed(image), thumbnail_of(image), picture)


def write_suggestion(suggestion: Suggestion, out: Path) -> list[Path]:
    """Write the list and the contact sheet; return their paths. Raises OSError."""
    rows = [
        {
            "rank": rank,
            "image": one.source.path.name,
            "frame": one.source.image.frame_number,
            "expected_dice": one.findings.quality,
            "confidence": one.confidence,
            "status": one.findings.status,
            "reasons": "; ".join(one.findings.reasons),
        }
        for rank, one in enumerate(suggestion.chosen, start=1)
    ]
    sheet = contact_sheet([(one.picture, one.source.path.name) for one in suggestion.chosen])
    return [write_csv(out / LIST, COLUMNS, rows), write_image(out / SHEET, sheet)]


def contact_sheet(pictures: Sequence[tuple[Picture, str]]) -> Picture:
    """Return `(H, W, 3)` RGB uint8 with numbered pictures, at least one, and their names below."""
    height = max(picture.shape[0] for picture, _ in pictures) + LINE_PX
    width = max(picture.shape[1] for picture, _ in pictures)
    columns = min(PER_ROW, len(pictures))
    rows = -(-len(pictures) // columns)
    sheet = np.full((rows * (height + MARGIN) + MARGIN, columns * (width + MARGIN) + MARGIN, 3), 24, np.uint8)
    for place, (picture, name) in enumerate(pictures):
        top = MARGIN + place // columns * (height + MARGIN)
        left = MARGIN + place % columns * (width + MARGIN)
        sheet[top : top + picture.shape[0], left : left + picture.shape[1]] = picture
        text = f"{place + 1}  {name.encode('ascii', 'replace').decode()[:36]}"
        spot = left + 4, top + height - 6
        cv2.putText(sheet, text, spot, cv2.FONT_HERSHEY_SIMPLEX, 0.45, (230, 230, 230), 1, cv2.LINE_AA)
    return sheet
