"""What a reviewer changes: shapes, a pixel spacing, a note and a decision, checked before they are stored."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from sonoseg.errors import DataError
from sonoseg.geometry.shapes import Shape
from sonoseg.io.names import text_problem
from sonoseg.review.session import NotAllowed, Review
from sonoseg.review.shapes import rounded, to_page
from sonoseg.review.sources import View
from sonoseg.review.store import DECISIONS, REVIEWER
from sonoseg.schema.task import Task
from sonoseg.sizes import Spacing

MAX_NOTE = 2000
"""Characters of a note."""


def measure(review: Review, identity: str, body: Mapping[str, Any]) -> dict[str, Any]:
    """Return the measurements of shapes that are not saved. Raises NotFound, DataError."""
    view = review.view(identity, _frame_of(body))
    shapes, remarks = review.read_shapes(view, body.get("shapes"))
    found, reasons = review.measurements(view, shapes, spacing_of(view, body.get("spacing_mm"), review.task))
    return {
        "measurements": found,
        "reasons": [] if review.rater.blind else reasons,
        "shapes": [to_page(one) for one in shapes],
        "remarks": remarks,
    }


def save(review: Review, identity: str, body: Mapping[str, Any]) -> dict[str, Any]:
    """Save a decision; it is on the disk when this returns.

    Raises Conflict for a stale version, NotAllowed for a folder that cannot be written, NotFound, DataError, OSError.
    """
    if review.read_only:
        raise NotAllowed(review.read_only)
    decision, base = body.get("decision"), body.get("base_version")
    if decision not in DECISIONS:
        raise DataError(f"decision: expected one of {', '.join(DECISIONS)}")
    if not isinstance(base, int) or isinstance(base, bool):
        raise DataError("base_version: expected the version that the page has loaded")
    view = review.view(identity, _frame_of(body))
    if decision in ("accepted", "corrected") and (hidden := review.hidden(view)):
        raise DataError(f"an image that cannot be shown is not {decision}: {hidden}")
    shapes, remarks = review.read_shapes(view, body.get("shapes"))
    spacing = spacing_of(view, body.get("spacing_mm"), review.task)
    given = {"row": spacing[0], "col": spacing[1]} if spacing and not view.prediction.spacing else None
    if decision == "accepted" and (given or rounded(shapes) != rounded(view.prediction.reviewed)):
        decision = "corrected"
    after = {
        "decision": decision,
        "shapes": [to_page(shape) for shape in shapes],
        "not_visible": _not_visible(body.get("not_visible", []), shapes, review.task),
        "spacing_mm": given,
        **({"spacing_from": REVIEWER} if given else {}),
    }
    entry = {
        "decision": decision,
        "image": view.key,
        "note": _note(body.get("note")),
        "after": after,
        "predicted": rounded(view.prediction.shapes),
        "model_sha256": view.prediction.model_sha256,
        "image_sha256": view.prediction.image_sha256,
    }
    saved = review.store.save(view.item.name, view.frame, base, entry)
    return {
        "version": saved["version"],
        "decision": decision,
        "counts": review.counts(),
        "shapes": after["shapes"],
        "remarks": remarks,
    }


def spacing_of(view: View, value: Any, task: Task) -> Spacing | None:
    """Return the spacing of the file or, where it has none, the one given; JSON null: that of the file.

    Raises DataError for another one than the file's, and for one that is not plausible.
    """
    known = view.prediction.spacing
    if value is None:
        return known
    try:
        row, col = (value[name] for name in ("row", "col"))
        numbers = [one for one in (row, col) if isinstance(one, int | float) and not isinstance(one, bool)]
        row, col = map(float, numbers)
    except (TypeError, ValueError, KeyError, OverflowError):
        raise DataError('spacing_mm: expected {"row": mm, "col": mm}, or null when it is unknown') from None
    if known:
        if not (math.isclose(row, known[0]) and math.isclose(col, known[1])):
            where = view.prediction.spacing_from
            raise DataError(f"spacing_mm: the spacing of this image is known, from {where}; correct it there")
        return known
    if not (math.isfinite(row) and math.isfinite(col) and min(row, col) > 0):
        raise DataError("spacing_mm: expected two numbers above 0, in mm per pixel")
    if problem := task.metadata.spacing_problem((row, col)):
        raise DataError(f"spacing_mm: {problem}")
    return row, col


def _frame_of(body: Mapping[str, Any]) -> int | None:
    frame = body.get("frame")
    if frame is not None and (not isinstance(frame, int) or isinstance(frame, bool)):
        raise DataError("frame: expected a number from 1")
    return frame


def _not_visible(value: Any, shapes: Sequence[Shape], task: Task) -> list[str]:
    drawn = {shape.structure for shape in shapes}
    if not isinstance(value, list) or not all(isinstance(name, str) and name in task.class_names for name in value):
        raise DataError(f"not_visible: expected structures of {', '.join(task.class_names)}")
    if both := drawn & set(value):
        raise DataError(f"not_visible: {', '.join(sorted(both))} is drawn; delete its shape, or the mark")
    return sorted(set(value))


def _note(value: Any) -> str:
    if value is None:
        return ""
    if not isinstance(value, str) or len(value) > MAX_NOTE:
        raise DataError(f"note: expected a text of at most {MAX_NOTE} characters")
    if problem := text_problem(value.replace("\n", " ").replace("\t", " ")):
        raise DataError(f"note: {problem}; remove it")
    return value
