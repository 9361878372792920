"""Images that are segmented as they are opened, without results of stage 4.

The network runs in a process of its own, which is started again when it ends: a crash of the predictor ends neither the
server nor the review. The record of each frame is kept beside the decisions.
"""

import hashlib
import os
import signal
import threading
from collections.abc import Callable, Hashable, Mapping, Sequence
from concurrent.futures import CancelledError, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from multiprocessing import get_context, parent_process
from pathlib import Path
from typing import Any

from sonoseg.errors import DataError, SonoSegError, is_machine_error, machine_error
from sonoseg.inference.sources import Source as Image
from sonoseg.io.file_state import state_now
from sonoseg.io.files import write_json
from sonoseg.io.image_ref import ImageRef
from sonoseg.io.limits import DEFAULT_LIMITS
from sonoseg.io.readers.opening import digest_of_file
from sonoseg.io.reading import read_own_object
from sonoseg.review.kept import Kept
from sonoseg.review.predictions import Prediction, curves, image_sha256_of, of_record
from sonoseg.review.results import Item, item_id, patients_in
from sonoseg.review.sources import check_frame
from sonoseg.schema.task import Task

SECONDS = 120
"""In which the network has to answer; the first image takes longest, as the model is loaded."""

Segment = Callable[[tuple[str, ...], str, Image], tuple[dict[str, Any], str]]
"""Models, device and image -> the record of the image, and why there is none; called in another process."""


class Predictor:
    """A model in a process of its own; several threads may ask at once, and wait for each other."""

    def __init__(
        self, models: Sequence[str], device: str = "auto", seconds: float = SECONDS, segment: Segment | None = None
    ):
        """seconds: in which an image has to be done. segment: what the process does with an image; for tests."""
        self._segment = segment or _segment
        self._models, self._device, self._seconds = tuple(models), device, seconds
        self._lock, self._is_closed = threading.Lock(), False
        self._pool: ProcessPoolExecutor | None = None

    def of(self, models: Sequence[str]) -> Callable[[Image], dict[str, Any]]:
        """Return the same for other models, in the same process."""
        return partial(self, models=tuple(models))

    def __call__(self, image: Image, models: tuple[str, ...] = ()) -> dict[str, Any]:
        """Return the record of an image (`inference.results.describe`), with the SHA-256 of its file.

        Raises DataError for an image that cannot be segmented, and when the process has ended or does not answer.
        """
        with self._lock:
            if self._is_closed:
                raise DataError("the review has ended")
            if self._pool is None:
                self._pool = ProcessPoolExecutor(1, get_context("spawn"), _end_with_parent)
            try:
                made = self._pool.submit(self._segment, models or self._models, self._device, image)
                record, problem = made.result(self._seconds)
            except (BrokenProcessPool, CancelledError):
                self._end()
                raise DataError("the process of the network ended at this image; it is started again") from None
            except TimeoutError:
                self._end()
                found = f"the network gave no result in {self._seconds:g} seconds"
                raise DataError(f"{found}; it is started again") from None
        if problem:
            raise DataError(problem)
        return record

    def _end(self) -> None:
        """End the process, so that the next image starts another one."""
        pool, self._pool = self._pool, None
        if pool is not None:
            for process in list((getattr(pool, "_processes", None) or {}).values()):
                process.kill()
            pool.shutdown(wait=False, cancel_futures=True)

    def close(self) -> None:
        """End the process for good."""
        self._is_closed = True
        self._end()


def _end_with_parent() -> None:
    """Leave Ctrl-C to the server's process, and end when that has ended for any reason."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_wait_for_parent, daemon=True).start()


def _wait_for_parent() -> None:
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(0)


def _segment(models: tuple[str, ...], device: str, image: Image) -> tuple[dict[str, Any], str]:
    """Return the record of an image, or why there is none; called in the process of the network."""
    from sonoseg.inference.process_image import segment_record
    from sonoseg.inference.results import describe
    from sonoseg.io.readers import read_image
    from sonoseg.io.readers.opening import read_file

    try:
        segmenter = _loaded(models, device)
        data = read_file(image.path, DEFAULT_LIMITS)
        pixels, findings = segment_record(read_image(image.image, DEFAULT_LIMITS, data), image, segmenter, False)
        made_from = {"image_sha256": hashlib.sha256(data).hexdigest(), "region": image.image.region_number}
        return {**describe(image, pixels, findings, segmenter), "made_from": made_from}, ""
    except Exception as error:
        if is_machine_error(error):
            return {}, str(machine_error(error, image.path.name))
        if isinstance(error, SonoSegError):
            return {}, error.reason if isinstance(error, DataError) else str(error)
        return {}, f"unexpected {type(error).__name__}"


_segmenters: dict[tuple[tuple[str, ...], str], Any] = {}


def _loaded(models: tuple[str, ...], device: str) -> Any:
    """Return the segmenter of these models, loaded once in this process."""
    from sonoseg.inference.segmenter import Segmenter

    if (models, device) not in _segmenters:
        _segmenters[models, device] = Segmenter.load(models, device)
    return _segmenters[models, device]


@dataclass(frozen=True)
class Opened:
    """An item with the image that it stands for."""

    item: Item
    image: Image


class LiveImages:
    """Images as a source: each is segmented when it is opened, or by `run_ahead`."""

    problem = ""

    def __init__(self, task: Task, records: Path, predictor: Callable[[Image], dict[str, Any]], model_sha256: str = ""):
        """records: folder of the records, one per frame. predictor: see `Predictor`.

        model_sha256: of its model (`digest_of`): records of another one are not used; empty: where it is not known.
        """
        self.task, self._model_sha256 = task, model_sha256
        self._records, self._predictor = records, predictor
        self._digests = Kept(20_000)
        self._lock, self._asking = threading.Lock(), threading.Lock()
        self._opened: dict[str, Opened] = {}
        self._changes = 0
        self._failed: dict[tuple[str, int], str] = {}
        self._done: dict[str, Item] = {}

    def add(self, images: Sequence[Image], names: Sequence[str] = ()) -> list[str]:
        """Add images, unless they are there already; return their ids.

        names: what the list shows, where it is not the name of the file.
        """
        ids = []
        patient = patients_in(images[0].path.parent if images and not names else None, self.task)
        with self._lock:
            for number, image in enumerate(images):
                identity = item_id(self._records, image.name)
                frames = image.loop.frames if image.loop else 1
                item = Item(identity, image.name, image.path.name, frames=frames)
                item = replace(item, label=names[number] if names else "")
                item = replace(item, patient=patient(image.path.name))
                self._opened.setdefault(identity, Opened(replace(item, frame=image.image.frame_number), image))
                ids.append(identity)
            self._changes += 1
        return ids

    def state(self) -> Hashable:
        return self._changes

    def items(self) -> list[Item]:
        return [self._with_result(opened) for opened in list(self._opened.values())]

    def _with_result(self, opened: Opened) -> Item:
        item, image = opened.item, opened.image
        if item.id in self._done:
            return self._done[item.id]
        if image.problem or (item.id, 1) in self._failed:
            return replace(item, status="failed", reasons=(image.problem or self._failed[item.id, 1],))
        record = self._stored(image, item, 1)
        if not record:
            return item
        self._done[item.id] = replace(
            item,
            status=str(record.get("status", "failed")),
            quality=record.get("quality"),
            reasons=tuple(record.get("reasons") or ()),
            structures=tuple(name for name in self.task.class_names if name in (record.get("confidence") or {})),
        )
        return self._done[item.id]

    def _path(self, name: str, item: Item, frame: int) -> Path:
        return self._records / (f"{name}.json" if item.frames == 1 else f"{name}_frame{frame:04d}.json")

    def _stored(self, image: Image, item: Item, frame: int) -> dict[str, Any]:
        """Return the record of a frame; empty without one, and for that of another model or of an earlier file."""
        value = read_own_object(self._path(image.name, item, frame))
        return value if value and self._is_valid(value, image.path) else {}

    def _is_valid(self, record: Mapping[str, Any], path: Path) -> bool:
        if self._model_sha256 and record.get("model_sha256", "") != self._model_sha256:
            return False
        digest = image_sha256_of(record)
        if not digest or record["made_from"].get("file_state") == list(state_now(path) or ()):
            return True
        return self._sha256(path) in ("", digest)

    def _sha256(self, path: Path) -> str:
        """Return the SHA-256 of an image file, kept while the file is the same; empty when it cannot be read."""
        with suppress(DataError):
            digest, _ = self._digests.get((path, state_now(path)), lambda: digest_of_file(path, DEFAULT_LIMITS))
            return str(digest)
        return ""

    def prediction(self, item: Item, frame: int | None) -> tuple[int, Prediction]:
        number = check_frame(frame, item.frames)
        image = self._opened[item.id].image
        record = self._stored(image, item, number)
        problem = image.problem or self._failed.get((item.id, number), "")
        if not record and not problem:
            with self._asking:
                record, problem = self._made(item, number, image)
        if problem:
            return number, Prediction(status="failed", reasons=[problem])
        return number, of_record(record, self.task)

    def _made(self, item: Item, number: int, image: Image) -> tuple[dict[str, Any], str]:
        """Return the record of a frame, made unless another thread has made it meanwhile, or why there is none."""
        record = self._stored(image, item, number)
        if not record and (item.id, number) not in self._failed:
            try:
                state = state_now(image.path)
                record = self._predictor(replace(image, image=self.image(item, number)))
                record = {**record, "made_from": {**record.get("made_from", {}), "file_state": list(state or ())}}
                write_json(self._path(image.name, item, number), record)
            except DataError as error:
                self._failed[item.id, number] = error.reason
            self._changes += 1
        return record, self._failed.get((item.id, number), "")

    def image(self, item: Item, frame: int) -> ImageRef:
        image = self._opened[item.id].image.image
        return image if item.frames == 1 else replace(image, frame=frame - 1)

    def image_sha256(self, item: Item) -> str:
        return image_sha256_of(self._stored(self._opened[item.id].image, item, 1))

    def series(self, item: Item) -> dict[str, Any]:
        image = self._opened[item.id].image
        records = [self._stored(image, item, number) for number in range(1, item.frames + 1)]
        step = image.loop.frame_seconds if image.loop else None
        return {
            "frames": item.frames,
            "seconds": None if step is None else [round(number * step, 6) for number in range(item.frames)],
            "curves": curves(self.task, [(record.get("measurements") or {}) for record in records]),
            "quality": [record.get("quality") for record in records],
        }

    def run_ahead(self, stop: threading.Event) -> None:
        """Segment all images in their order, first frames of loops, until all are done or `stop` is set."""
        for opened in list(self._opened.values()):
            if stop.is_set():
                return
            with suppress(SonoSegError, OSError):
                self.prediction(opened.item, None)
