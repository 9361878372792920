"""Plan a phantom dataset and write it in the layout in which the real data of its kind come.

<out>/phantom.json marks the folder as made here: the settings, written first. Pictures follow, then the tables of the
kind; the presence of the last one means "finished". Each kind's module says what its files are called.
"""

import json
from collections.abc import Callable, Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from sonoseg.errors import DataError, UsageError, choices
from sonoseg.io.files import write_bytes, write_json
from sonoseg.phantom import head, nerve, spine, tumour
from sonoseg.phantom.layout import Case, Kind, Row, Settings

MARKER = "phantom.json"

KINDS: dict[str, Kind] = {"spine": spine.KIND, "head": head.KIND, "nerve": nerve.KIND, "tumour": tumour.KIND}


def plan(settings: Settings) -> list[Case]:
    """The cases that settings ask for. Raises UsageError for settings that make no dataset."""
    if settings.kind not in KINDS:
        raise UsageError(f"--kind {settings.kind}: there is no such phantom; choose {choices(list(KINDS))}")
    kind = KINDS[settings.kind]
    if settings.images < 1:
        raise UsageError(f"--images {settings.images}: at least 1 image is needed")
    if settings.seed < 0:
        raise UsageError(f"--seed {settings.seed}: give 0 or a positive whole number")
    if not kind.smallest <= settings.size_scale <= 2.0:
        raise UsageError(
            f"--size-scale {settings.size_scale}: give a factor from {kind.smallest:g} to 2 for a {settings.kind}"
        )
    return list(kind.plan(settings))


def is_already_there(out: Path, settings: Settings, force: bool = False) -> bool:
    """True when `out` holds the finished dataset of these settings; False when it may be written.

    Raises DataError when writing would replace something else: a person's own data, or a phantom with other settings.
    """
    kind, marker = KINDS[settings.kind], out / MARKER
    if marker.is_file():
        made_with = _read_marker(marker)
        same = made_with == asdict(settings)
        if same and (out / kind.last_table).is_file() and not force:
            return True
        if not same and not force:
            raise DataError(
                f"{out} holds a phantom dataset made with other settings ({_short(made_with)}); "
                "choose another --out, or add --force to replace it"
            )
        return False
    foreign = [name for name in kind.tables if (out / name).exists()]
    foreign += [f"{name}/" for name in kind.folders if (out / name).is_dir() and any((out / name).iterdir())]
    if foreign and not force:
        raise DataError(
            f"{out} already holds {choices(foreign).replace(' or ', ' and ')} that this phantom did not "
            "make; choose another --out, or add --force to overwrite files of the same name"
        )
    return False


def write_dataset(out: Path, settings: Settings, progress: Callable[[list[Case]], Iterable[Case]] = iter) -> list[Case]:
    """Write the dataset into `out` and return its cases. Check with is_already_there first.

    progress wraps the cases for a display. What an earlier phantom in the same folder left and the new one does not
    write is removed; other files there are left alone.
    """
    cases = plan(settings)
    kind = KINDS[settings.kind]
    (out / kind.last_table).unlink(missing_ok=True)  # unfinished from here on
    _remove_old_files(out, {path for case in cases for path in kind.paths(case.name)})
    write_json(out / MARKER, asdict(settings))
    rows: list[Row] = []
    for case in progress(cases):
        files = case.files()
        for path, picture in zip(kind.paths(case.name), files.pictures, strict=True):
            write_bytes(out / path, _encode(path, picture), sync=False)
        rows.append(files.row)
    for name, write in kind.tables.items():
        write(out / name, rows)
    return cases


def _encode(path: str, picture: NDArray[np.uint8]) -> bytes:
    """The picture (H, W) in the format that the path's suffix names."""
    ok, data = cv2.imencode(Path(path).suffix, picture)
    if not ok:
        raise DataError(f"{path}: OpenCV could not encode a picture of shape {picture.shape}")
    return bytes(data)


def _remove_old_files(out: Path, keep: set[str]) -> None:
    """Remove what an earlier phantom in this folder wrote: its tables, and its pictures unless they are in keep.

    Its marker says what it was asked for, and a plan of the same settings gives the names.
    """
    made_with = _read_marker(out / MARKER) if (out / MARKER).is_file() else {}
    if set(made_with) != set(asdict(Settings())):  # settings left out must not be guessed: this removes files
        return
    try:
        earlier = Settings(**made_with)
        old = [path for case in plan(earlier) for path in KINDS[earlier.kind].paths(case.name)]
    except (UsageError, TypeError):  # such settings made no dataset
        return
    for path in [*KINDS[earlier.kind].tables, *(path for path in old if path not in keep)]:
        (out / path).unlink(missing_ok=True)


def _read_marker(path: Path) -> dict[str, Any]:
    """The settings in a marker; an unreadable marker counts as other settings."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


def _short(made_with: dict[str, Any]) -> str:
    return ", ".join(f"{key} {value}" for key, value in made_with.items()) or "its phantom.json cannot be read"
