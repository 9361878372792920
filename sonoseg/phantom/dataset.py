"""Plan a phantom dataset and write it in the layout of a hand-annotated one.

<out>/phantom.json      the settings, written first: it marks the folder as made here
<out>/images/*.png      8-bit grey images
<out>/annotations.json  {"Image_001": [["MID", "line", [[x, y], [x, y]]], ...], ...}
<out>/metadata.csv      image,patient,row_mm,col_mm,skin_to_epi_mm, written last: its presence means "finished"
"""

import json
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from sonoseg.core.errors import DataError, UsageError, choices
from sonoseg.core.files import write_bytes, write_csv, write_json
from sonoseg.phantom.anatomy import Patient, View, draw_patient, draw_view, share_patients, share_views
from sonoseg.phantom.spine import Scene, make_scene

VERSION = 1  # raise it whenever the same seed gives other images

MARKER, ANNOTATIONS, METADATA, IMAGES = "phantom.json", "annotations.json", "metadata.csv", "images"
COLUMNS = ("image", "patient", "row_mm", "col_mm", "skin_to_epi_mm")


@dataclass(frozen=True)
class Settings:
    """Everything that decides the bytes of a dataset. size_scale shrinks the pixel grid, not the anatomy."""

    kind: str = "spine"
    images: int = 70
    seed: int = 42
    size_scale: float = 1.0
    version: int = VERSION


@dataclass(frozen=True)
class Case:
    """One image to be made: its file stem, who and what it shows, and the seed of its texture."""

    name: str
    patient: Patient
    view: View
    seed: np.random.SeedSequence

    def make(self) -> Scene:
        """The image and its truth; the same at every call."""
        return make_scene(self.patient, self.view, np.random.default_rng(self.seed))


def plan_spine(settings: Settings) -> list[Case]:
    """The cases of a spine dataset, patient by patient. Every draw has its own stream, so none depends on order."""
    plan_seed, patients_seed, views_seed, textures_seed = np.random.SeedSequence(settings.seed).spawn(4)
    rng = np.random.default_rng(plan_seed)
    owners = share_patients(settings.images, rng)
    kinds = share_views(settings.images, rng)
    patients = [
        draw_patient(f"P{i + 1:02d}", np.random.default_rng(seed), settings.size_scale)
        for i, seed in enumerate(patients_seed.spawn(owners[-1] + 1))
    ]
    digits = max(3, len(str(settings.images)))
    seeds = zip(views_seed.spawn(settings.images), textures_seed.spawn(settings.images), strict=True)
    cases = []
    for i, (view_seed, texture_seed) in enumerate(seeds):
        patient = patients[owners[i]]
        view = draw_view(kinds[i], patient, np.random.default_rng(view_seed))
        cases.append(Case(f"Image_{i + 1:0{digits}d}", patient, view, texture_seed))
    return cases


KINDS: dict[str, Callable[[Settings], list[Case]]] = {"spine": plan_spine}


def plan(settings: Settings) -> list[Case]:
    """The cases that settings ask for. Raises UsageError for settings that make no dataset."""
    if settings.kind not in KINDS:
        raise UsageError(f"--kind {settings.kind}: there is no such phantom; choose {choices(list(KINDS))}")
    if settings.images < 1:
        raise UsageError(f"--images {settings.images}: at least 1 image is needed")
    if settings.seed < 0:
        raise UsageError(f"--seed {settings.seed}: give 0 or a positive whole number")
    if not 0.3 <= settings.size_scale <= 2.0:
        raise UsageError(f"--size-scale {settings.size_scale}: give a factor from 0.3 to 2")
    return KINDS[settings.kind](settings)


def is_already_there(out: Path, settings: Settings, force: bool = False) -> bool:
    """True when `out` holds the finished dataset of these settings; False when it may be written.

    Raises DataError when writing would replace something else: a person's own data, or a phantom with other settings.
    """
    marker = out / MARKER
    if marker.is_file():
        made_with = _read_marker(marker)
        same = made_with == asdict(settings)
        if same and (out / METADATA).is_file() and not force:
            return True
        if not same and not force:
            raise DataError(
                f"{out} holds a phantom dataset made with other settings ({_short(made_with)}); "
                "choose another --out, or add --force to replace it"
            )
        return False
    foreign = [name for name in (ANNOTATIONS, METADATA) if (out / name).exists()]
    if (out / IMAGES).is_dir() and any((out / IMAGES).iterdir()):
        foreign.append(f"{IMAGES}/")
    if foreign and not force:
        raise DataError(
            f"{out} already holds {choices(foreign).replace(' or ', ' and ')} that this phantom did not "
            "make; choose another --out, or add --force to overwrite files of the same name"
        )
    return False


def write_dataset(out: Path, settings: Settings, progress: Callable[[list[Case]], Iterable[Case]] = iter) -> list[Case]:
    """Write the dataset into `out` and return its cases. Check with is_already_there first.

    progress wraps the cases for a display. Images of an earlier phantom in the same folder are removed; other files
    there are left alone.
    """
    cases = plan(settings)
    (out / METADATA).unlink(missing_ok=True)  # unfinished from here on
    _remove_old_images(out, {case.name for case in cases})
    write_json(out / MARKER, asdict(settings))
    annotations, rows = {}, []
    for case in progress(cases):
        scene = case.make()
        ok, png = cv2.imencode(".png", scene.image)
        if not ok:
            raise DataError(f"{case.name}: OpenCV could not encode the image as PNG")
        write_bytes(out / IMAGES / f"{case.name}.png", png.tobytes(), sync=False)
        annotations[case.name] = scene.annotation
        device = case.patient.device
        depth = scene.skin_to_epi_mm
        rows.append(
            {
                "image": case.name,
                "patient": case.patient.name,
                "row_mm": device.row_mm,
                "col_mm": device.col_mm,
                "skin_to_epi_mm": None if depth is None else f"{depth:.3f}",
            }
        )
    write_json(out / ANNOTATIONS, annotations)
    write_csv(out / METADATA, COLUMNS, rows)
    return cases


def _remove_old_images(out: Path, keep: set[str]) -> None:
    """Remove the images that an earlier phantom in this folder made and the new one does not."""
    if not (out / MARKER).is_file():
        return
    count = _read_marker(out / MARKER).get("images")
    for i in range(1, count + 1 if isinstance(count, int) else 1):
        name = f"Image_{i:0{max(3, len(str(count)))}d}"
        if name not in keep:
            (out / IMAGES / f"{name}.png").unlink(missing_ok=True)


def _read_marker(path: Path) -> dict[str, Any]:
    """The settings in a marker; an unreadable marker counts as other settings."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


def _short(made_with: dict[str, Any]) -> str:
    return ", ".join(f"{key} {value}" for key, value in made_with.items()) or "its phantom.json cannot be read"
