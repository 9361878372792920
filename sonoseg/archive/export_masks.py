"""The label maps of an archive as files again: the bytes that an ordinary run would have written."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from sonoseg.archive.masks import decode_labels
from sonoseg.archive.rows import FRAME, IMAGE, LOOP
from sonoseg.archive.shards import SHARD_NAME, SHARDS
from sonoseg.archive.table import read_about, read_rows
from sonoseg.errors import DataError, UsageError
from sonoseg.inference.cine.files import LoopFiles
from sonoseg.inference.cine.masks import MaskPages
from sonoseg.inference.results import ResultFiles
from sonoseg.inference.sources import UNSUPPORTED_SUFFIXES, output_names
from sonoseg.io.image_ref import ImageRef
from sonoseg.io.masks import write_label_map
from sonoseg.runs.workspace import INFERENCE_RECORD

_KEY = ("image", "frame", "region", "kind")
_Key = tuple[str, int | None, int | None]


@dataclass(frozen=True)
class _Shard:
    """A table with the structures of its label maps."""

    path: Path
    class_names: list[str]
    colors: list[str]


def export_masks(archive: Path, target: Path) -> Iterator[Path]:
    """Write `<name>_mask.png` of each image and `<name>_masks.tif` of each loop below `target`; yield their paths.

    archive: output folder of a run. Files lie in the sub-folders in which their images lie, and have the names that an
    ordinary run gives them there. target: a new folder, or an empty one. The names of all images are kept in memory.
    Raises UsageError for other folders, DataError for a table that cannot be read, and OSError.
    """
    if not (archive / SHARDS).is_dir():
        raise UsageError(f"{archive}: no results of a run over an archive; expected a folder with {SHARDS}/")
    if not (archive / INFERENCE_RECORD).is_file():
        raise UsageError(f"{archive}: the run has not ended, as {INFERENCE_RECORD} is missing; complete it first")
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise UsageError(f"{target}: exists and is no empty folder; choose a new one")
    shards = [_opened(path) for path in sorted((archive / SHARDS).iterdir()) if SHARD_NAME.fullmatch(path.name)]
    names = _names(shards)
    for shard in shards:
        yield from _export(shard, names, target)


def _opened(path: Path) -> _Shard:
    structures = read_about(path)["structures"]
    return _Shard(path, [name for name, _ in structures], [color for _, color in structures])


def _names(shards: Sequence[_Shard]) -> dict[_Key, str]:
    """Return the name of each image and loop, as `output_names` gives them to those of a folder, in their order."""
    folders: dict[PurePosixPath, set[_Key]] = defaultdict(set)
    for shard in shards:
        for row in read_rows(shard.path, [*_KEY, "status"]):
            unread = row["status"] == "failed" and Path(row["image"]).suffix.lower() in UNSUPPORTED_SUFFIXES
            if row["kind"] != FRAME and not unread:
                folders[_folder(row["image"])].add((row["image"], row["frame"], row["region"]))
    names: dict[_Key, str] = {}
    for keys in folders.values():
        ordered = sorted(keys, key=lambda key: (key[0], key[2] or 0, key[1] or 0))
        names |= dict(zip(ordered, output_names([_ref(key) for key in ordered]), strict=True))
    return names


def _folder(image: str) -> PurePosixPath:
    """Return the sub-folder of an image's files; a list may name images by paths that lead elsewhere."""
    return PurePosixPath(*(part for part in PurePosixPath(image).parts[:-1] if part not in ("/", "//", "..")))


def _ref(key: _Key) -> ImageRef:
    name, frame, region = key
    return ImageRef(Path(name), None if frame is None else frame - 1, None if region is None else region - 1)


def _export(shard: _Shard, names: dict[_Key, str], target: Path) -> Iterator[Path]:
    rows = read_rows(shard.path, [*_KEY, "status", "width", "height", *(f"mask_{name}" for name in shard.class_names)])
    frames: list[dict[str, Any]] = []
    for row in rows:
        folder = target / _folder(row["image"])
        if row["kind"] == FRAME:
            frames.append(row)
        elif row["kind"] == LOOP:
            name = names[row["image"], None, row["region"]]
            path = folder / LoopFiles.of(name).masks
            path.parent.mkdir(parents=True, exist_ok=True)
            size = row["height"], row["width"]
            with MaskPages(path, shard.colors) as pages:
                for frame in frames:
                    pages.write(np.zeros(size, np.uint8) if frame["status"] == "failed" else _labels(frame, shard))
            frames = []
            yield path
        elif row["kind"] == IMAGE and row["status"] != "failed":
            name = names[row["image"], row["frame"], row["region"]]
            path = folder / ResultFiles.of(name, shard.class_names).mask
            yield write_label_map(path, _labels(row, shard), shard.colors)


def _labels(row: dict[str, Any], shard: _Shard) -> Any:
    try:
        counts = {name: row[f"mask_{name}"] for name in shard.class_names}
        return decode_labels(counts, shard.class_names, (row["height"], row["width"]))
    except DataError as error:
        raise DataError(f"{row['image']}: {error.reason}", shard.path) from None
