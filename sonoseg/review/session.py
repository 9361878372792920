"""A review: items, their pictures and measurements, and the decisions, as the requests of the page ask for them."""

import hashlib
import os
import threading
from collections.abc import Hashable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from sonoseg.errors import DataError, SonoSegError, is_machine_error
from sonoseg.geometry.shapes import Shape
from sonoseg.io.file_state import FileState, state_now
from sonoseg.io.limits import DEFAULT_LIMITS
from sonoseg.io.readers.opening import digest_of_file
from sonoseg.review import pictures
from sonoseg.review.kept import Kept
from sonoseg.review.measuring import DIGITS, entries, measured, measured_marks
from sonoseg.review.pictures import Frame
from sonoseg.review.queue import MOST, Lists, Query, chosen, counts, listed, worst_first
from sonoseg.review.results import FOLDER, Item
from sonoseg.review.shapes import PAGE_KINDS, ShapeReader, rounded, stored, to_page
from sonoseg.review.sources import NoSuchFrame, Source, View
from sonoseg.review.store import Rater, Store
from sonoseg.schema.task import Task
from sonoseg.sizes import Spacing

MAX_PATIENTS = 1000
"""Patients that the page offers as a filter."""
NOTICE = "Not for clinical use."


class NotFound(SonoSegError):
    """There is no such item, frame or picture."""


class NotAllowed(SonoSegError):
    """The server was not started for this."""


class Review:
    """Everything behind the page; several threads may use it at once."""

    def __init__(self, source: Source, folder: Path, rater: Rater, can_segment: bool = False):
        """folder: of the results, beside which decisions are stored. can_segment: whether pictures may be dropped.

        Raises SonoSegError for results that cannot be read.
        """
        self.source, self.folder, self.rater, self.can_segment = source, folder / FOLDER, rater, can_segment
        self.task: Task = source.task
        self.store = Store(self.folder, rater, self._image_sha256)
        self.read_only = self.store.read_only
        self._lock = threading.Lock()
        self._frames, self._enhanced, self._thumbnails = Kept(16), Kept(16), Kept(2000)
        self._digests, self._lists = Kept(20_000), Lists()
        self._state: Hashable = None
        self._items: list[Item] = []
        self._by_id: dict[str, Item] = {}
        self._by_name: dict[str, Item] = {}
        self._of_images: dict[str, str] = {}

    def items(self) -> list[Item]:
        """Return all items in their order, read again where they have changed."""
        with self._lock:
            state = self.source.state()
            if state != self._state:
                found = self.source.items()
                self._items = sorted(found, key=lambda one: one.name) if self.rater.blind else worst_first(found)
                self._by_id = {item.id: item for item in self._items}
                self._by_name = {item.name: item for item in self._items}
                self._of_images = {}
                self._state = state
            return self._items

    def _image_sha256(self, name: str) -> str:
        """Return the SHA-256 of the image of an item, kept until the results change; empty where it is not known."""
        if not self._by_name:
            self.items()
        known, item = self._of_images, self._by_name.get(name)
        if name not in known:
            known[name] = self.source.image_sha256(item) if item else ""
        return known[name]

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
            "notice": " ".join(filter(None, (self.read_only, self.source.problem, NOTICE))),
            "reviewer": self.rater.name,
            "blind": self.rater.blind,
            "read_only": bool(self.read_only),
            "can_segment": self.can_segment and not self.read_only,
            "scope": self._scope(),
            "patients": sorted({item.patient for item in self.items() if item.patient})[:MAX_PATIENTS],
            "agreement": not self.rater.blind and any(len(one) > 1 for one in self.store.by_rater().values()),
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

    def _scope(self) -> str:
        """Return under which name a browser keeps unsaved work: that of each reviewer, blind or not, is kept apart."""
        parts = [os.fsencode(self.folder.resolve()), self.rater.name.encode(), b"blind" if self.rater.blind else b""]
        return hashlib.sha256(b"\0".join(parts)).hexdigest()[:12]

    def counts(self) -> dict[str, int]:
        return counts(self.items(), self.store.newest_of_items(), self.rater.blind)

    def listing(self, query: Query) -> dict[str, Any]:
        """Return a part of the list."""
        items = self.items()
        self.store.refresh()
        newest, blind = self.store.newest_of_items(), self.rater.blind
        if blind:
            query = replace(query, status="", structure="")
        ids, by_id = self._lists.get(query.pages_of) or [], self._by_id
        found = [by_id[identity] for identity in ids if identity in by_id]
        if not found or len(found) < len(ids):
            found = chosen(items, query, newest)
        part = found[query.offset : query.offset + min(query.limit, MOST)]
        return {
            "list": self._lists.keep(found),
            "total": len(found),
            "items": [listed(item, newest, blind) for item in part],
            "counts": counts(items, newest, blind),
        }

    def view(self, identity: str, frame: int | None = None) -> View:
        """Return a frame, from 1, of an item; None: the one to begin with. Raises NotFound, DataError."""
        item = self.item(identity)
        self.store.refresh()
        try:
            number, prediction = self.source.prediction(item, frame)
        except NoSuchFrame as problem:
            raise NotFound(problem.reason) from None
        self.items()  # of which image decisions are asked for
        view = View(item, number, prediction, self.store.newest(item.name, number))
        view = replace(view, version=self.store.version(item.name, number))
        if prediction.size is None:
            try:
                size = self.frame(view).size
            except (DataError, OSError) as error:
                if is_machine_error(error):
                    raise
                size = (0, 0)
            view = replace(view, prediction=replace(prediction, size=size))
        return view

    def frame(self, view: View) -> Frame:
        """Return the decoded frame. Raises DataError when it cannot be read, or is not what was segmented."""
        image = self.source.image(view.item, view.frame)
        state, expected = state_now(image.path), view.prediction.image_sha256
        if state and expected and self._digest(image.path, state) != expected:
            raise DataError("the image has changed since it was segmented; put it back, or segment it again")
        read: Frame = self._frames.get((image, state), lambda: pictures.read_frame(image))
        if view.prediction.size and 0 not in view.prediction.size and read.size != view.prediction.size:
            raise DataError("the image has another size than its result; segment it again")
        return read

    def _digest(self, path: Path, state: FileState) -> str:
        return str(self._digests.get((path, state), lambda: digest_of_file(path, DEFAULT_LIMITS)[0]))

    def shown(self, view: View) -> list[Shape]:
        """Return the shapes that this rater sees."""
        if view.entry:
            return stored(view.entry["after"]["shapes"])
        return [] if self.rater.blind else view.prediction.reviewed

    def read_shapes(self, view: View, values: Any) -> tuple[list[Shape], list[str]]:
        """Return checked shapes of a frame and remarks, see `ShapeReader`. Raises DataError."""
        reader = ShapeReader(self.task.structures, view.prediction.size or (0, 0))
        return reader.read(values), reader.remarks

    def details(self, identity: str, frame: int | None) -> dict[str, Any]:
        """Return all about a frame. Raises NotFound, DataError."""
        view = self.view(identity, frame)
        found, blind, entry = view.prediction, self.rater.blind, view.entry
        shapes, spacing = self.shown(view), view.spacing
        height, width = found.size or (0, 0)
        return {
            **{"id": view.item.id, "name": view.item.label or view.item.name, "width": width, "height": height},
            **{"frames": view.item.frames, "frame": view.frame},
            "spacing_mm": {"row": spacing[0], "col": spacing[1]} if spacing else None,
            "spacing_from": view.spacing_from,
            "status": "" if blind else found.status,
            "quality": None if blind else found.quality,
            "reasons": [] if blind else found.reasons or list(view.item.reasons),
            "decision": entry["decision"] if entry else "open",
            "note": entry.get("note", "") if entry else "",
            "version": view.version,
            "shapes": [to_page(shape) for shape in shapes],
            **({} if blind else {"predicted": [to_page(shape) for shape in found.shapes]}),
            "not_visible": entry["after"].get("not_visible", []) if entry else [],
            "measurements": self.measurements(view, shapes, spacing)[0],
        }

    def measurements(
        self, view: View, shapes: Sequence[Shape], spacing: Spacing | None
    ) -> tuple[list[dict[str, Any]], list[str]]:
        """Return measurements and reasons: those of the prediction, with intervals, while the shapes are its own."""
        found = view.prediction
        is_predicted = spacing == found.spacing and rounded(shapes) == rounded(found.shapes)
        if is_predicted and not self.rater.blind and found.values:
            is_loop = view.item.frames > 1  # whose table has no marks
            frame = self._frame_or_problem(view)[0] if is_loop else None
            marks = measured_marks(shapes, frame.own, self.task, spacing, frame.region) if frame else found.marks
            return entries(self.task.quantities, found.values, found.intervals, found.notes, marks), found.reasons
        frame, problem = self._frame_or_problem(view)
        if not frame:
            missing = {quantity.key: "measured with the image only" for quantity in self.task.quantities}
            return entries(self.task.quantities, {}, {}, missing, {}), [problem]
        return measured(shapes, frame.own, self.task, spacing, frame.region)

    def _frame_or_problem(self, view: View) -> tuple[Frame | None, str]:
        """Return the pixels of a view, or None and why they cannot be read."""
        try:
            return self.frame(view), ""
        except (DataError, OSError) as error:
            if is_machine_error(error):
                raise
            return None, error.reason if isinstance(error, DataError) else "the image cannot be read"

    def hidden(self, view: View) -> str:
        """Return why a view has no picture; empty where it has one."""
        return self._frame_or_problem(view)[1]

    def picture(self, identity: str, kind: str, frame: int | None) -> tuple[bytes, str]:
        """Return a PNG and its tag; kind: `original`, `enhanced` or `thumbnail`. Raises NotFound without a picture."""
        view = self.view(identity, frame)
        read, problem = self._frame_or_problem(view)
        if not read:
            raise NotFound(problem)
        key = (identity, view.frame, hashlib.sha256(read.pixels.tobytes()).digest())
        if kind == "thumbnail":
            shapes = [] if self.rater.blind else self.shown(view)
            drawn = *key, tuple((shape.structure, shape.kind, shape.points.tobytes()) for shape in shapes)
            data: bytes = self._thumbnails.get(drawn, lambda: pictures.thumbnail(read, shapes, self.task))
        elif kind == "enhanced":
            data = self._enhanced.get(key, lambda: pictures.enhanced(read, self.task))
        else:
            data = pictures.original(read)
        return data, hashlib.sha256(data).hexdigest()[:32]

    def series(self, identity: str) -> dict[str, Any]:
        """Return the curves of a loop. Raises NotFound for a single image, and for a blind rater."""
        item = self.item(identity)
        if item.frames == 1 or self.rater.blind:
            raise NotFound("this image has no curves")
        return self.source.series(item)
