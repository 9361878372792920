"""Plan a phantom dataset and write it in the layout in which the real data of its kind come.

<out>/phantom.json has the settings and is written first. Images and annotations follow, then the tables of the kind;
the presence of the last one means that the dataset is complete. Each kind's module lists its files.
"""

import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict
from pathlib import Path, PurePosixPath
from typing import Any

from sonoseg.annotations import FORMATS, Annotation
from sonoseg.errors import DataError, UsageError, choices
from sonoseg.io.files import write_bytes, write_json
from sonoseg.io.masks import encode_picture
from sonoseg.io.tables import write_csv
from sonoseg.phantom import head, nerve, tumour
from sonoseg.phantom.layout import Kind, Row, Settings, SimulatedImage
from sonoseg.phantom.spine import dataset as spine

MARKER = "phantom.json"

KINDS: dict[str, Kind] = {"spine": spine.KIND, "head": head.KIND, "nerve": nerve.KIND, "tumour": tumour.KIND}


def plan(settings: Settings) -> list[SimulatedImage]:
    """Return the cases of a dataset with these settings.

    Raises UsageError for an invalid setting, with a message that begins with its name.
    """
    if settings.kind not in KINDS:
        raise UsageError(f"kind {settings.kind}: there is no such phantom; choose {choices(list(KINDS))}")
    kind = KINDS[settings.kind]
    if settings.images < 1:
        raise UsageError(f"images {settings.images}: at least 1 image is needed")
    if settings.seed < 0:
        raise UsageError(f"seed {settings.seed}: give 0 or a positive whole number")
    if not kind.smallest <= settings.size_scale <= 2.0:
        raise UsageError(
            f"size_scale {settings.size_scale}: give a factor from {kind.smallest:g} to 2 for a {settings.kind}"
        )
    if settings.artefacts and settings.kind != "spine":
        raise UsageError(f"artefacts are simulated at the skin of a spine, and not on a {settings.kind}")
    return list(kind.plan(settings))


def is_already_there(out: Path, settings: Settings, force: bool = False) -> bool:
    """Return True when `out` contains the complete dataset of these settings, False when it may be written.

    Raises DataError when writing would replace other data: those of a user, or a phantom with other settings.
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
                "choose another folder, or replace it"
            )
        return False
    foreign = [name for name in kind.shared_files if (out / name).exists()]
    folders = dict.fromkeys(str(PurePosixPath(name).parent) for name in kind.files(""))
    foreign += [f"{name}/" for name in folders if (out / name).is_dir() and any((out / name).iterdir())]
    if foreign and not force:
        raise DataError(
            f"{out} already holds {choices(foreign).replace(' or ', ' and ')} that this phantom did not "
            "make; choose another folder, or overwrite files of the same name"
        )
    return False


def write_dataset(
    out: Path, settings: Settings, progress: Callable[[list[SimulatedImage]], Iterable[SimulatedImage]] = iter
) -> list[SimulatedImage]:
    """Write the dataset into `out` and return its cases. Check with is_already_there first.

    progress wraps the cases for a display. Files of an earlier phantom in the same folder that the new one does not
    write are removed; other files there remain.
    """
    cases = plan(settings)
    kind = KINDS[settings.kind]
    for name in kind.shared_files:  # incomplete from here on
        (out / name).unlink(missing_ok=True)
    _remove_old_files(out, {path for case in cases for path in kind.files(case.name)})
    write_json(out / MARKER, asdict(settings))
    rows: list[Row] = []
    annotations = _simulate(out, kind, progress(cases), rows)
    FORMATS[kind.annotations.format].write(out, kind.annotations, annotations, sync=False)
    for name, columns in kind.tables.items():
        write_csv(out / name, columns, rows)
    return cases


def _simulate(out: Path, kind: Kind, cases: Iterable[SimulatedImage], rows: list[Row]) -> Iterator[Annotation]:
    """Write the image of each case, append its row of the tables to `rows`, and yield its annotation."""
    for case in cases:
        simulated = case.simulate()
        name = kind.image_name(case.name)
        path = out / kind.annotations.images / name
        write_bytes(path, encode_picture(simulated.image, kind.image_suffix), sync=False)
        rows.append(simulated.row)
        yield Annotation(name, simulated.shapes, simulated.mask)


def _remove_old_files(out: Path, keep: set[str]) -> None:
    """Remove what an earlier phantom in this folder wrote: its tables, and its pictures unless they are in keep.

    The names are those of a plan with the settings in its marker.
    """
    made_with = _read_marker(out / MARKER) if (out / MARKER).is_file() else {}
    if set(made_with) != set(asdict(Settings())):  # settings left out must not be guessed: this removes files
        return
    try:
        earlier = Settings(**made_with)
        old = [path for case in plan(earlier) for path in KINDS[earlier.kind].files(case.name)]
    except (UsageError, TypeError):  # such settings made no dataset
        return
    for path in [*KINDS[earlier.kind].shared_files, *(path for path in old if path not in keep)]:
        (out / path).unlink(missing_ok=True)


def _read_marker(path: Path) -> dict[str, Any]:
    """Return the settings in a marker, none for an unreadable marker."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        return {}
    if not isinstance(value, dict):
        return {}
    return value if "artefacts" in value or "version" not in value else {**value, "artefacts": False}  # version 1


def _short(made_with: dict[str, Any]) -> str:
    return ", ".join(f"{key} {value}" for key, value in made_with.items()) or "its phantom.json cannot be read"
