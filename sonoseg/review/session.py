"""A review: items, their pictures, measurements and decisions, as the requests of the page ask for them."""

import hashlib
import math
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from sonoseg.errors import DataError, SonoSegError
from sonoseg.geometry.shapes import Shape
from sonoseg.io.names import text_problem
from sonoseg.review import pictures
from sonoseg.review.measuring import DIGITS, entries, measured
from sonoseg.review.pictures import Frame, Kept
from sonoseg.review.predictions import LoopResult, Prediction, of_record
from sonoseg.review.queue import MOST, Query, chosen, counts, listed, worst_first
from sonoseg.review.results import FOLDER, Item, ResultFolder
from sonoseg.review.shapes import PAGE_KINDS, ShapeReader, rounded, to_page
from sonoseg.review.store import DECISIONS, Entry, Rater, Store
from sonoseg.schema.task import Task
from sonoseg.sizes import Spacing

MAX_NOTE = 2000
REVIEWER = "reviewer"
"""Where a pixel spacing comes from that was measured on the page."""
NOTICE = "Not for clinical use."


class NotFound(SonoSegError):
    """There is no such item, frame or picture."""


class NotAllowed(SonoSegError):
    """The server was not started for this."""


@dataclass(frozen=True)
class View:
    """A frame of an item as this rater sees it: the prediction, and the newest decision, None without one."""

    item: Item
    frame: int
    prediction: Prediction
    entry: Entry | None

    @property
    def spacing(self) -> Spacing | None:
        """The spacing of the file or, where it has none, that of the reviewer."""
        given = self.entry["after"].get("spacing_mm") if self.entry else None
        return self.prediction.spacing or ((given["row"], given["col"]) if given else None)

    @property
    def key(self) -> str:
        """Name of the image in annotations."""
        return self.item.name if self.item.frames == 1 else f"{self.item.name}_frame{self.frame:04d}"


class Review:
    """Everything behind the page; several threads may use it at once."""

    def __init__(self, results: ResultFolder, rater: Rater):
        """Raises SonoSegError for results that cannot be read."""
        self.results, self.rater = results, rater
        self.task: Task = results.task
        self.store = Store(results.folder / FOLDER, rater)
        self.read_only = self.store.read_only
        self._lock = threading.Lock()
        self._frames, self._thumbnails, self._loops = Kept(32), Kept(2000), Kept(8)
        self._state: tuple[int, int] | None = None
        self._items: list[Item] = []
        self._by_id: dict[str, Item] = {}

    def items(self) -> list[Item]:
        """Return all items in their order, read again where the folder has changed."""
        with self._lock:
            state = self.results.folder.stat().st_mtime_ns, 0
            if state != self._state:
                found = self.results.items()
                self._items = sorted(found, key=lambda one: one.name) if self.rater.blind else worst_first(found)
                self._by_id = {item.id: item for item in self._items}
                self._state = state
            return self._items

    def item(self, identity: str) -> Item:
        """Return the item of an id. Raises NotFound."""
        if identity not in self._by_id:
            self.items()
        if identity not in self._by_id:
            raise NotFound("there is no such image in these results; load the list again")
        return self._by_id[identity]

    def session(self) -> dict[str, Any]:
        """Return what the page needs once."""
        values = enumerate(self.task.structures, start=1)
        in_mm = any(quantity.unit == "mm" for quantity in self.task.quantities)
        self.store.refresh()
        return {
            "title": self.task.title,
            "task": self.task.name,
            "notice": " ".join(filter(None, (self.read_only, self.results.problem, NOTICE))),
            "reviewer": self.rater.name,
            "blind": self.rater.blind,
            "read_only": bool(self.read_only),
            "can_segment": False,
            "unit": "mm" if in_mm else "px",
            "structures": [
                {
                    "name": structure.name,
                    "shape": PAGE_KINDS[structure.shape],
                    "color": structure.color,
                    "value": value,
                    "thickness_px": structure.thickness_px,
                    "hint": structure.code.meaning if structure.code else structure.name,
                }
                for value, structure in values
            ],
            "measurements": [
                {"key": one.key, "label": one.label, "unit": one.symbol, "digits": DIGITS}
                for one in self.task.quantities
            ],
            "counts": self.counts(),
        }

    def counts(self) -> dict[str, int]:
        return counts(self.items(), self.store.newest_of_items(), self.rater.blind)

    def listing(self, query: Query) -> dict[str, Any]:
        """Return a part of the list."""
        items = self.items()
        self.store.refresh()
        newest, blind = self.store.newest_of_items(), self.rater.blind
        if blind:
            query = replace(query, status="", structure="")
        found = chosen(items, query, newest)
        part = found[query.offset : query.offset + min(query.limit, MOST)]
        return {
            "total": len(found),
            "items": [listed(item, newest, blind) for item in part],
            "counts": counts(items, newest, blind),
        }

    def loop(self, item: Item) -> LoopResult:
        """Return the results of a loop. Raises DataError."""
        made = self._loops.get(item.id, lambda: LoopResult(self.results.folder, item, self.results.record(item)))
        assert isinstance(made, LoopResult)
        return made

    def view(self, identity: str, frame: int | None = None) -> View:
        """Return a frame, from 1, of an item; None: the only one, or the first to look at. Raises NotFound."""
        item = self.item(identity)
        self.store.refresh()
        if item.frames == 1:
            if frame not in (None, 1):
                raise NotFound("this is a single image; expected frame 1")
            return View(item, 1, of_record(self.results.record(item), self.task), self.store.newest(item.name, 1))
        loop = self.loop(item)
        number = loop.first if frame is None else frame
        if not 1 <= number <= len(loop.rows):
            raise NotFound(f"this loop has frames 1 to {len(loop.rows)}")
        prediction = self._frames.get(("shapes", item.id, number), lambda: loop.frame(number, self.task))
        return View(item, number, prediction, self.store.newest(item.name, number))

    def frame(self, view: View) -> Frame:
        """Return the decoded frame. Raises DataError when it cannot be read."""
        record = self.results.record(view.item)
        image = self.results.reference(view.item, record)
        if view.item.frames > 1:
            image = replace(image, frame=view.frame - 1)
        state = image.path.stat().st_mtime_ns if image.path.is_file() else 0
        read: Frame = self._frames.get((image, state), lambda: pictures.read_frame(image))
        if view.prediction.size and read.size != view.prediction.size:
            raise DataError("the image has another size than the one that was segmented; put that one back")
        return read

    def shown(self, view: View) -> list[Shape]:
        """Return the shapes that this rater sees."""
        if view.entry:
            return self._read(view, view.entry["after"]["shapes"])[0]
        return [] if self.rater.blind else view.prediction.shapes

    def details(self, identity: str, frame: int | None) -> dict[str, Any]:
        """Return all about a frame. Raises NotFound, DataError."""
        view = self.view(identity, frame)
        found, blind, entry = view.prediction, self.rater.blind, view.entry
        if found.size is None and not self.results.problem:
            try:
                found = replace(found, size=self.frame(view).size)
            except DataError:
                found = replace(found, size=(0, 0))
            view = replace(view, prediction=found)
        shapes = self.shown(view)
        spacing = view.spacing
        height, width = found.size or (0, 0)
        calibrated = spacing is not None and found.spacing is None
        return {
            **{"id": view.item.id, "name": view.item.name, "width": width, "height": height},
            **{"frames": view.item.frames, "frame": view.frame},
            "spacing_mm": {"row": spacing[0], "col": spacing[1]} if spacing else None,
            "spacing_from": REVIEWER if calibrated else found.spacing_from,
            "status": "" if blind else found.status,
            "quality": None if blind else found.quality,
            "reasons": [] if blind else found.reasons or list(view.item.reasons),
            "decision": entry["decision"] if entry else "open",
            "note": entry.get("note", "") if entry else "",
            "version": entry["version"] if entry else 0,
            "shapes": [to_page(shape) for shape in shapes],
            **({} if blind else {"predicted": [to_page(shape) for shape in found.shapes]}),
            "not_visible": entry["after"].get("not_visible", []) if entry else [],
            "measurements": self._measurements(view, shapes, spacing)[0],
        }

    def _measurements(
        self, view: View, shapes: Sequence[Shape], spacing: Spacing | None
    ) -> tuple[list[dict[str, Any]], list[str]]:
        """Return measurements and reasons: those of the prediction, with intervals, while the shapes are its own."""
        found = view.prediction
        if not self.rater.blind and spacing == found.spacing and rounded(shapes) == rounded(found.shapes):
            return entries(self.task.quantities, found.values, found.intervals, found.notes), found.reasons
        try:
            frame = self.frame(view)
        except DataError as problem:
            missing = {quantity.key: problem.reason for quantity in self.task.quantities}
            return entries(self.task.quantities, {}, {}, missing), [problem.reason]
        return measured(shapes, frame.own, self.task, spacing, frame.region)

    def _read(self, view: View, values: Any) -> tuple[list[Shape], list[str]]:
        size = view.prediction.size or (self.frame(view).size if values else (1, 1))
        reader = ShapeReader(self.task.structures, size)
        return reader.read(values), reader.remarks

    def measure(self, identity: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """Return the measurements of shapes that are not saved. Raises NotFound, DataError."""
        view = self.view(identity, _frame_of(body))
        shapes, remarks = self._read(view, body.get("shapes"))
        spacing = self._spacing(view, body.get("spacing_mm"))
        found, reasons = self._measurements(view, shapes, spacing)
        return {
            "measurements": found,
            "reasons": [] if self.rater.blind else reasons,
            "shapes": [to_page(one) for one in shapes],
            "remarks": remarks,
        }

    def _spacing(self, view: View, value: Any) -> Spacing | None:
        """Return the spacing of the file or, where it has none, a given one. Raises DataError."""
        known = view.prediction.spacing
        if value is None:
            return known
        try:
            row, col = float(value["row"]), float(value["col"])
        except (TypeError, ValueError, KeyError):
            raise DataError('spacing_mm: expected {"row": mm, "col": mm}, or null when it is unknown') from None
        if known:
            if not (math.isclose(row, known[0]) and math.isclose(col, known[1])):
                raise DataError(
                    f"spacing_mm: the spacing of this image is known, from {view.prediction.spacing_from}; correct it "
                    "there"
                )
            return known
        if not (math.isfinite(row) and math.isfinite(col) and min(row, col) > 0):
            raise DataError("spacing_mm: expected two numbers above 0, in mm per pixel")
        if problem := self.task.metadata.spacing_problem((row, col)):
            raise DataError(f"spacing_mm: {problem}")
        return row, col

    def save(self, identity: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """Save a decision. Raises Conflict for a stale version, NotAllowed for a read-only folder, DataError."""
        if self.read_only:
            raise NotAllowed(self.read_only)
        view = self.view(identity, _frame_of(body))
        decision, base = body.get("decision"), body.get("base_version")
        if decision not in DECISIONS:
            raise DataError(f"decision: expected one of {', '.join(DECISIONS)}")
        if not isinstance(base, int) or isinstance(base, bool):
            raise DataError("base_version: expected the version that the page has loaded")
        shapes, remarks = self._read(view, body.get("shapes"))
        spacing = self._spacing(view, body.get("spacing_mm"))
        after = {
            "decision": decision,
            "shapes": [to_page(shape) for shape in shapes],
            "not_visible": self._not_visible(body.get("not_visible", []), shapes),
            "spacing_mm": None
            if spacing is None or view.prediction.spacing
            else {"row": spacing[0], "col": spacing[1]},
        }
        if decision == "accepted" and (rounded(shapes) != rounded(view.prediction.shapes) or after["spacing_mm"]):
            decision = after["decision"] = "corrected"
        predicted = {"decision": "open", "shapes": rounded(view.prediction.shapes)}
        entry = {
            "decision": decision,
            "image": view.key,
            "note": _note(body.get("note")),
            "after": after,
            "predicted": predicted["shapes"],
            "model_sha256": view.prediction.model_sha256,
            "image_sha256": view.prediction.image_sha256,
        }
        saved = self.store.save(view.item.name, view.frame, base, entry)
        return {
            "version": saved["version"],
            "decision": decision,
            "counts": self.counts(),
            "shapes": after["shapes"],
            "remarks": remarks,
        }

    def _not_visible(self, value: Any, shapes: Sequence[Shape]) -> list[str]:
        drawn = {shape.structure for shape in shapes}
        if not isinstance(value, list) or not all(name in self.task.class_names for name in value):
            raise DataError(f"not_visible: expected structures of {', '.join(self.task.class_names)}")
        if both := drawn & set(value):
            raise DataError(f"not_visible: {', '.join(sorted(both))} is drawn; delete its shape, or the mark")
        return sorted(set(value))

    def picture(self, identity: str, kind: str, frame: int | None) -> tuple[bytes, str]:
        """Return a PNG and its tag: `original`, `enhanced` or `thumbnail`. Raises NotFound without one."""
        view = self.view(identity, frame)
        try:
            read = self.frame(view)
        except (DataError, OSError) as problem:
            raise NotFound(problem.reason if isinstance(problem, DataError) else "the image cannot be read") from None
        if kind == "original":
            data = pictures.original(read)
        elif kind == "enhanced":
            data = self._thumbnails.get((identity, view.frame, id(read)), lambda: pictures.enhanced(read, self.task))
        elif kind == "thumbnail":
            version = view.entry["version"] if view.entry else 0
            key = (identity, view.frame, version, id(read))
            shapes = [] if self.rater.blind else self.shown(view)
            data = self._thumbnails.get(key, lambda: pictures.thumbnail(read, shapes, self.task))
        else:
            raise NotFound("kind: expected original or enhanced")
        return data, hashlib.sha256(data).hexdigest()[:32]

    def series(self, identity: str) -> dict[str, Any]:
        """Return the curves of a loop. Raises NotFound for a single image."""
        item = self.item(identity)
        if item.frames == 1 or self.rater.blind:
            raise NotFound("this image has no curves")
        return self.loop(item).series(self.task)


def _frame_of(body: Mapping[str, Any]) -> int | None:
    frame = body.get("frame")
    if frame is not None and (not isinstance(frame, int) or isinstance(frame, bool)):
        raise DataError("frame: expected a number from 1")
    return frame


def _note(value: Any) -> str:
    if value is None:
        return ""
    if not isinstance(value, str) or len(value) > MAX_NOTE:
        raise DataError(f"note: expected a text of at most {MAX_NOTE} characters")
    if problem := text_problem(value.replace("\n", " ")):
        raise DataError(f"note: {problem}; remove it")
    return value


def results_of(folder: Path, images: Path | None) -> ResultFolder:
    """Return the results in a folder. Raises UsageError when it holds none."""
    return ResultFolder(folder, images)
