"""Where items come from: results in a folder, images that are segmented as they are opened, or several of these.

`View` is a frame of one, with the newest decision about it.
"""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

from sonoseg.errors import DataError
from sonoseg.io.image_ref import ImageRef
from sonoseg.review.kept import Kept
from sonoseg.review.predictions import LoopResult, Prediction, image_sha256_of, of_record
from sonoseg.review.results import Item, ResultFolder
from sonoseg.review.store import REVIEWER, Entry
from sonoseg.schema.task import Task
from sonoseg.sizes import Spacing


class NoSuchFrame(DataError):
    """An item has no frame of this number."""


@dataclass(frozen=True)
class View:
    """A frame, from 1, of an item as this rater sees it: the prediction, and the newest decision, None without one.

    version: of the newest decision under this name, also about an earlier image; 0 without one.
    """

    item: Item
    frame: int
    prediction: Prediction
    entry: Entry | None
    version: int = 0

    @property
    def spacing(self) -> Spacing | None:
        """The spacing of the file or, where it has none, that of the reviewer."""
        given = self.entry["after"].get("spacing_mm") if self.entry else None
        return self.prediction.spacing or ((given["row"], given["col"]) if given else None)

    @property
    def spacing_from(self) -> str:
        """Where `spacing` comes from: as of the prediction, or `REVIEWER`."""
        return REVIEWER if self.spacing and not self.prediction.spacing else self.prediction.spacing_from

    @property
    def key(self) -> str:
        """Name of the image in annotations."""
        return self.item.name if self.item.frames == 1 else f"{self.item.name}_frame{self.frame:04d}"


class Source(Protocol):
    """Items of one kind. Several threads may use it at once."""

    @property
    def task(self) -> Task: ...

    @property
    def problem(self) -> str:
        """Why the images cannot be shown; empty when they can."""
        ...

    def state(self) -> Hashable:
        """Return what changes when `items` does."""
        ...

    def items(self) -> list[Item]:
        """Return all items. Raises DataError."""
        ...

    def prediction(self, item: Item, frame: int | None) -> tuple[int, Prediction]:
        """Return the number of a frame, from 1, and what was found in it; None: the frame to begin with.

        Raises NoSuchFrame, DataError.
        """
        ...

    def image(self, item: Item, frame: int) -> ImageRef:
        """Return where the image of a frame is. Raises DataError when that is not known."""
        ...

    def image_sha256(self, item: Item) -> str:
        """Return the SHA-256 of the image file that a prediction is of; empty where it is not known."""
        ...

    def series(self, item: Item) -> dict[str, Any]:
        """Return the curves of a loop, see `LoopResult.series`. Raises DataError."""
        ...


def check_frame(frame: int | None, frames: int, first: int = 1) -> int:
    """Return a frame's number, from 1. Raises NoSuchFrame."""
    number = first if frame is None else frame
    if not 1 <= number <= frames:
        raise NoSuchFrame(
            "this is a single image; expected frame 1" if frames == 1 else f"expected frame 1 to {frames}"
        )
    return number


class Results:
    """The results of a run of stage 4 as a source."""

    def __init__(self, results: ResultFolder):
        self.results = results
        self._loops, self._frames = Kept(8), Kept(64)

    @property
    def task(self) -> Task:
        return self.results.task

    @cached_property
    def problem(self) -> str:
        if self.results.problem:
            return self.results.problem
        items = self.items()
        missing = self.results.missing(items)
        if not missing:
            return ""
        return f"{missing} of {len(items)} images are not found; start again with their folder."

    def models(self) -> list[str]:
        """Return the model files that the results were made with; empty when one is not there any more."""
        files = [entry.get("file") for entry in self.results.run.get("models") or () if isinstance(entry, dict)]
        paths = [str(path) for name in files if isinstance(name, str) for path in self._places(name) if path.is_file()]
        return paths if len(paths) == len(files) else []

    def _places(self, name: str) -> list[Path]:
        """Return where a model file may be: as recorded, from here or from the workspace; the first that is there."""
        places = [path for path in (Path(name), self.results.root / name) if path.is_file()]
        return places[:1]

    def state(self) -> Hashable:
        return self.results.folder.stat().st_mtime_ns

    def items(self) -> list[Item]:
        return self.results.items()

    def prediction(self, item: Item, frame: int | None) -> tuple[int, Prediction]:
        if item.frames == 1:
            return check_frame(frame, 1), of_record(self.results.record(item), self.task)
        loop = self._loop(item)
        number = check_frame(frame, len(loop.rows), loop.first)
        made: Prediction = self._frames.get((item.id, number, loop.made), lambda: loop.frame(number, self.task))
        return number, made

    def _loop(self, item: Item) -> LoopResult:
        record = self.results.record(item)
        key = item.id, record.get("sha256")
        loop: LoopResult = self._loops.get(key, lambda: LoopResult(self.results.folder, item, record))
        return loop

    def image(self, item: Item, frame: int) -> ImageRef:
        image = self.results.reference(item, self.results.record(item))
        return image if item.frames == 1 else replace(image, frame=frame - 1)

    def image_sha256(self, item: Item) -> str:
        return image_sha256_of(self.results.record(item))

    def series(self, item: Item) -> dict[str, Any]:
        return self._loop(item).series(self.task)


class Joined:
    """The items of several sources of one task, at least one."""

    def __init__(self, sources: Sequence[Source]):
        self.sources = list(sources)
        self._of: dict[str, Source] = {}

    @property
    def task(self) -> Task:
        return self.sources[0].task

    @property
    def problem(self) -> str:
        return self.sources[0].problem

    def state(self) -> Hashable:
        return tuple(source.state() for source in self.sources)

    def items(self) -> list[Item]:
        found: list[Item] = []
        for source in self.sources:
            own = source.items()
            self._of |= {item.id: source for item in own}
            found += own
        return found

    def prediction(self, item: Item, frame: int | None) -> tuple[int, Prediction]:
        return self._of[item.id].prediction(item, frame)

    def image(self, item: Item, frame: int) -> ImageRef:
        return self._of[item.id].image(item, frame)

    def image_sha256(self, item: Item) -> str:
        return self._of[item.id].image_sha256(item)

    def series(self, item: Item) -> dict[str, Any]:
        return self._of[item.id].series(item)


def results_in(folder: Path, images: Path | None) -> Results:
    """Return the results in a folder. Raises UsageError when it holds none."""
    return Results(ResultFolder(folder, images))
