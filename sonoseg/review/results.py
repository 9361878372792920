"""The results of a run of stage 4 as items to review: what was found in each image, and the image itself."""

import hashlib
import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

from sonoseg.errors import DataError, TaskError, UsageError, first_of
from sonoseg.inference.sources import split_names
from sonoseg.io.image_ref import ImageRef, stem_of
from sonoseg.io.limits import DEFAULT_LIMITS
from sonoseg.io.readers.opening import digest_of_file
from sonoseg.io.reading import read_own_object
from sonoseg.io.tables import read_table
from sonoseg.prepare.metadata import ImageMetadata, meta_of, read_metadata
from sonoseg.runs.provenance import settings_of_runs
from sonoseg.runs.split_tables import Sample, read_split
from sonoseg.runs.workspace import INFERENCE_RECORD, RESULTS_TABLE, REVIEW_FOLDER, Workspace
from sonoseg.schema.annotations import Metadata
from sonoseg.schema.task import Task
from sonoseg.schema.task_files import load_task, parse_task

STATUSES = ("ok", "check", "reject", "failed", "waiting")
"""Of a result; `waiting`: not segmented yet."""
FOLDER = REVIEW_FOLDER


@dataclass(frozen=True)
class Item:
    """An image or a loop to review.

    id: 16 hexadecimal digits, the only name by which a request can mean it. name: that of its result files. image: file
    name of the image; frame: from 1, None for a single picture. quality: expected Dice, None when unknown. frames:
    number of frames of a loop, 1 for a single image. structures: those that were found. sample: id of the image in the
    split, empty when it is in none. order: place in the list in place of `quality`, lowest first; None: by quality.
    label: what the list shows in place of `name`, empty for the name itself.
    """

    id: str
    name: str
    image: str
    frame: int | None = None
    status: str = "waiting"
    quality: float | None = None
    reasons: tuple[str, ...] = ()
    patient: str = ""
    frames: int = 1
    structures: tuple[str, ...] = ()
    sample: str = ""
    order: float | None = None
    label: str = ""


def item_id(folder: Path, name: str) -> str:
    """Return the id of a result: the same in every session, and another one in every folder."""
    return hashlib.sha256(f"{_resolved(folder)}\0{name}".encode(errors="surrogateescape")).hexdigest()[:16]


@lru_cache(maxsize=64)
def _resolved(folder: Path) -> str:
    return str(folder.resolve())


def patients_in(folder: Path | None, task: Task) -> Callable[[str], str]:
    """Return the function from the name of an image file to its patient; empty text where it is not known.

    folder: of the images, whose table may state the patients; None without one.
    """
    table: dict[str, ImageMetadata] = {}
    if folder is not None and not task.patients.pattern:
        name = task.metadata.file
        for path in (folder / name, folder / Metadata().file, folder.resolve().parent / name):
            with suppress(DataError):
                table = read_metadata(path, task.metadata, task.patients)
                break

    def patient(image: str) -> str:
        if task.patients.pattern:
            with suppress(TimeoutError):
                return task.patients.patient_in(stem_of(Path(image)))
        known = meta_of(table, Path(image)) if table else None
        return (known and known.patient) or ""

    return patient


@dataclass
class ResultFolder:
    """The results in a folder, and where their images are; `images` None: as the run's record says.

    Raises UsageError when the folder holds no results, and DataError for a table that cannot be read.
    """

    folder: Path
    images: Path | None = None
    run: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.folder.is_dir():
            raise UsageError(f"{self.folder}: no such folder; expected one with the results of inference.py")
        self.run = self.run or read_own_object(self.folder / INFERENCE_RECORD)
        if not self.run and not (self.folder / RESULTS_TABLE).is_file():
            raise UsageError(f"{self.folder}: no results in this folder; run inference.py first, or name its output")

    @cached_property
    def _runs(self) -> list[Mapping[str, Any]]:
        """`images` and `workspace` of the runs whose results are here, the latest first; empty without a record."""
        return settings_of_runs(self.run)

    @cached_property
    def image_folders(self) -> list[Path]:
        """Folders in which the images may be: the one that was given, then those of the runs, the latest first."""
        named = [Path(run["images"]) for run in self._runs if isinstance(run.get("images"), str)]
        places = [*([self.images] if self.images else []), *named, *(self.root / path for path in named)]
        return [path for path in dict.fromkeys(places) if path.is_dir()]

    @property
    def root(self) -> Path:
        """Folder of the workspace: the one around `result/<task>`, where these are in it, else that of a run."""
        around = self.folder.resolve().parents[:2]
        named = [Path(run["workspace"]) for run in self._runs if isinstance(run.get("workspace"), str)]
        usual = around[-1] if around else self.folder
        return next((path for path in (usual, *named) if Workspace(path, self.task.name).split.is_dir()), usual)

    @cached_property
    def task(self) -> Task:
        """The task with which the images were segmented. Raises TaskError."""
        if isinstance(self.run.get("task_settings"), dict):
            return parse_task(self.run["task_settings"], str(self.folder / INFERENCE_RECORD))
        for record in sorted(self.folder.glob("*.json"))[:20]:  # a run that was interrupted has no record of its own
            name = read_own_object(record).get("task")
            if isinstance(name, str):
                return load_task(name)
        raise TaskError(f"{self.folder}: no record says which task these results are of; run inference.py again")

    @property
    def model_sha256(self) -> str:
        return str(self.run.get("model_sha256", ""))

    @cached_property
    def samples(self) -> dict[str, Sample]:
        """Name of a result -> image of the test split; empty where no run was of it."""
        table = Workspace(self.root, self.task.name).split_table("test")
        if all(run.get("images") for run in self._runs or [{}]) or not table.is_file():
            return {}
        samples = read_split(table, self.task.class_names, self.root)
        return dict(zip(split_names(samples), samples, strict=True))

    @property
    def problem(self) -> str:
        """Why the images cannot be shown; empty when a folder of them, or the split, is there."""
        if self.image_folders or self.samples:
            return ""
        named = self.images or next((run["images"] for run in self._runs if run.get("images")), None)
        if named:
            return f"The images are not where they were segmented ({named}); start again with their folder."
        return "The images are those of a test split that is not there; start again with the folder of the images."

    def missing(self, items: Sequence[Item]) -> int:
        """Return of how many items no image of that name is found."""
        return sum(item.name not in self.samples and not self._files(item) for item in items)

    def _files(self, item: Item) -> list[Path]:
        if not item.image or Path(item.image).name != item.image:
            return []
        return [path for folder in self.image_folders if (path := folder / item.image).is_file()]

    def items(self) -> list[Item]:
        """Return all results, by name. Raises DataError for a table that cannot be read."""
        table, listed = self.folder / RESULTS_TABLE, dict[str, Item]()
        written = 0.0
        if table.is_file():
            written = table.stat().st_mtime
            for _, row in read_table(table, "inference.py"):
                if row.get("name"):
                    listed[row["name"]] = self._of_row(row)
        with os.scandir(self.folder) as entries:
            for entry in entries:
                name = entry.name.removesuffix(".json")
                if not entry.name.endswith(".json") or entry.name.startswith(".") or name == "run":
                    continue
                if name not in listed or entry.stat().st_mtime > written:  # of another run than the table
                    item = self._of_record(name, read_own_object(Path(entry.path)))
                    listed |= {name: item} if item else {}
        return [listed[name] for name in sorted(listed)]

    def _of_row(self, row: Mapping[str, str]) -> Item:
        return Item(
            **self._identity(row["name"], row.get("image", "")),
            frame=int(row["frame"]) if row.get("frame", "").isdigit() else None,
            status=row.get("status", "") if row.get("status") in STATUSES else "failed",
            quality=_number(row.get("quality", "")),
            reasons=tuple(filter(None, row.get("reason", "").split("; "))),
            frames=int(row["frames"]) if row.get("frames", "").isdigit() else 1,
            structures=tuple(name for name in self.task.class_names if row.get(f"confidence_{name}")),
        )

    def _of_record(self, name: str, record: Mapping[str, Any]) -> Item | None:
        if "made_from" not in record or not isinstance(record.get("image"), str):
            return None
        found = record.get("confidence") or {}
        return Item(
            **self._identity(name, record["image"]),
            frame=record.get("frame"),
            status=record["status"],
            quality=record.get("quality"),
            reasons=tuple(record.get("reasons") or ()),
            frames=int(record.get("frames") or 1),
            structures=tuple(each for each in self.task.class_names if each in found),
        )

    def _identity(self, name: str, image: str) -> dict[str, Any]:
        sample = self.samples.get(name)
        return {
            "id": item_id(self.folder, name),
            "name": name,
            "image": image,
            "patient": sample.patient if sample else self._patient(image),
            "sample": sample.id if sample else "",
        }

    @cached_property
    def _patient(self) -> Callable[[str], str]:
        return patients_in(next(iter(self.image_folders), None), self.task)

    def record(self, item: Item) -> dict[str, Any]:
        """Return the record of an item; empty for one that failed, or whose record cannot be read."""
        return read_own_object(self.folder / f"{item.name}.json")

    def reference(self, item: Item, record: Mapping[str, Any]) -> ImageRef:
        """Return where the image of an item is. Raises DataError when that is not known."""
        if self.problem:
            raise DataError(self.problem)
        made_from = record.get("made_from") or {}
        digest = made_from.get("image_sha256")
        sample = self.samples.get(item.name)
        if sample and (not digest or sample.sha256 == digest):
            return sample.image
        files = self._files(item)
        # Folders of several runs may have files of one name: the right one is that of the record's bytes.
        file = files[0] if len(files) == 1 else next((path for path in files if _digest(path) == digest), None)
        if file is None and sample:
            return sample.image  # which has changed since, as is said where it is opened
        if file is None:
            looked = first_of([str(path) for path in self.image_folders], 3) or "the test split"
            raise DataError(f"{item.image or item.name}: not found in {looked}; start again with its folder")
        region = made_from.get("region")
        frame = None if item.frame is None else item.frame - 1
        return ImageRef(file, frame, region - 1 if isinstance(region, int) else None)


def _digest(path: Path) -> str:
    """Return the SHA-256 of an image file; empty where it cannot be read."""
    with suppress(DataError, OSError):
        return digest_of_file(path, DEFAULT_LIMITS)[0]
    return ""


def _number(text: str) -> float | None:
    try:
        return float(text) if text else None
    except ValueError:
        return None
