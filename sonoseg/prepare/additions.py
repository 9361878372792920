"""Further and corrected images for a dataset that is split already: patients stay in the part that they are in."""

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from sonoseg.errors import DataError, UsageError
from sonoseg.io.names import patient_key
from sonoseg.prepare.dataset import Dataset, VerifiedImages, build_dataset, classes_shown, order_of_pseudonyms
from sonoseg.prepare.output import current_tables
from sonoseg.prepare.split import Split, class_warnings, divide_patients
from sonoseg.runs.split_tables import Sample, read_split
from sonoseg.runs.workspace import PREPARATION_RECORD, Workspace
from sonoseg.schema.task import Task


def added_folders(workspace: Workspace, new: Sequence[Path], forget: bool = False) -> list[Path]:
    """Return the folders that were added to a dataset before, as its record states, and the new ones.

    forget: the new ones only.

    Raises DataError when one of them is not there.
    """
    earlier: list[str] = []
    with suppress(TypeError):
        earlier = [] if forget else [str(name) for name in _recorded(workspace).get("added", [])]
    folders = list(dict.fromkeys([*map(Path, earlier), *(path.absolute() for path in new)]))
    for folder in folders:
        if not folder.is_dir():
            raise DataError("no such folder; its images were, or are to be, added to this dataset: put it back", folder)
    return folders


def earlier_split(workspace: Workspace, classes: Sequence[str]) -> dict[str, Sample]:
    """Return the images of the split of a prepared dataset, by id, also where a run ended before its tables were moved.

    Raises UsageError when nothing was prepared yet, DataError for tables that cannot be read.
    """
    tables = current_tables(workspace)
    if not all(path.is_file() for path in tables.values()):
        raise UsageError(
            f"{workspace.split}: no split to add images to; prepare the dataset first, without further images"
        )
    return {sample.id: sample for path in tables.values() for sample in read_split(path, classes, workspace.root)}


def earlier_settings(workspace: Workspace, given: Mapping[str, Any]) -> dict[str, Any]:
    """Return test_size, folds and seed of the earlier split, as far as its record states them.

    Raises UsageError when one is given that differs: patients of the earlier split stay where they are.
    """
    settings = _recorded(workspace)
    for name, value in given.items():
        if name in settings and settings[name] != value:
            raise UsageError(
                f"{workspace.split}: the split to which images are added has {name} {settings[name]}, and not {value}"
            )
    return {name: settings[name] for name in ("test_size", "folds", "seed") if name in settings}


def _recorded(workspace: Workspace) -> dict[str, Any]:
    """Return the settings of the earlier run, as its record states them; empty without one."""
    with suppress(OSError, ValueError, KeyError, TypeError):
        record = json.loads((workspace.split / PREPARATION_RECORD).read_text(encoding="utf-8"))
        return dict(record["settings"])
    return {}


def add_to_split(
    earlier: Mapping[str, Sample],
    verified: VerifiedImages,
    task: Task,
    workspace: Workspace,
    settings: Mapping[str, Any],
) -> Dataset:
    """Return the dataset of all images, in which the patients of the earlier split are where they were.

    Raises DataError as `keep_patients` and `build_dataset` do.
    """
    verified = keep_patients(verified, earlier)
    folds = {sample.patient: sample.fold for sample in earlier.values()}
    order = order_of_pseudonyms(verified)
    split = extend_split(classes_shown(verified), task.class_names, folds, settings, order)
    return build_dataset(verified, task, workspace, settings, split)


def keep_patients(verified: VerifiedImages, earlier: Mapping[str, Sample]) -> VerifiedImages:
    """Return the images with the patients of the earlier split for those that are in it.

    Where patients are unknown, frames of a file that is in the split take its patient, and a group of similar images
    takes the patient of its images that are in the split, of the test part first, so that no such image trains. Raises
    DataError when an image of the split is missing, or is said to be of another patient now.
    """
    missing = sorted(earlier.keys() - verified.meta.keys())
    if missing:
        raise DataError(
            f"{verified.folder}: {len(missing)} images of the split are missing ({', '.join(missing[:3])}); "
            "put them back: an image that has tested or trained a model stays where it is"
        )
    meta = dict(verified.meta)
    groups: dict[str, list[Sample]] = defaultdict(list)
    for identity, sample in sorted(earlier.items()):
        entry = meta[identity]
        groups[entry.patient or identity].append(sample)
        if entry.patient_known and patient_key(entry.patient or "") != patient_key(sample.patient):
            raise DataError(
                f"image {identity}: of patient {sample.patient} in the split, and of {entry.patient} now; correct the "
                "patient, or split all images anew"
            )
        meta[identity] = replace(entry, patient=sample.patient)
    leader = {
        name: min(group, key=lambda one: (one.fold is not None, one.id)).patient for name, group in groups.items()
    }
    sha256 = {image.item.id: image.sha256 for image in verified.images}
    of_file = {sample.sha256: sample.patient for sample in earlier.values()}
    for identity, entry in verified.meta.items():
        if identity in earlier or entry.patient_known:
            continue
        if sha256.get(identity) in of_file:
            meta[identity] = replace(entry, patient=of_file[sha256[identity]])
        elif (entry.patient or identity) in leader:
            meta[identity] = replace(entry, patient=leader[entry.patient or identity])
    return replace(verified, meta=meta)


def extend_split(
    images: Iterable[tuple[str, Sequence[bool]]],
    classes: Sequence[str],
    earlier: Mapping[str, int | None],
    settings: Mapping[str, Any],
    order: Mapping[str, str] | None = None,
) -> Split:
    """Return the split of all patients: those of the earlier one as they were, new ones divided like a new dataset.

    images, settings, order: see `split_patients`. earlier: patient -> fold. As many new patients test as the test part
    of all lacks, but never all of several; the largest of the new folds joins the smallest of the earlier ones.
    """
    known = {patient_key(name): fold for name, fold in earlier.items()}
    listed = list(images)
    fold_of = {patient: known[patient_key(patient)] for patient, _ in listed if patient_key(patient) in known}
    new = [(patient, flags) for patient, flags in listed if patient not in fold_of]
    if count := len({patient for patient, _ in new}):
        lacking = round(settings["test_size"] * (len(known) + count)) - sum(fold is None for fold in known.values())
        tested = min(max(0, lacking), max(1, count - 1))
        folds = sorted({fold for fold in earlier.values() if fold is not None}) or [0]
        divided = divide_patients(new, tested, len(folds), settings["seed"], order or {})
        sizes = Counter(fold_of[patient] for patient, _ in listed if patient in fold_of)
        more = Counter(fold for patient, _ in new if (fold := divided[patient]) is not None)
        smallest = sorted(folds, key=lambda fold: sizes[fold])
        joined = {fold: other for (fold, _), other in zip(more.most_common(), smallest, strict=False)}
        fold_of |= {patient: None if fold is None else joined[fold] for patient, fold in divided.items()}
    return Split(fold_of, class_warnings(listed, classes, fold_of))


def added_summary(samples: Sequence[Sample], earlier: Mapping[str, Sample]) -> dict[str, Any]:
    """Return what an addition changed, for the report: images that are new or corrected, and new patients by part."""
    new = [sample for sample in samples if sample.id not in earlier]
    before = {sample.patient for sample in earlier.values()}
    patients = {sample.patient: sample.fold for sample in new if sample.patient not in before}
    corrected = [
        sample.id
        for sample in samples
        if (old := earlier.get(sample.id)) and (old.mask_sha256, old.sha256) != (sample.mask_sha256, sample.sha256)
    ]
    return {
        "images": len(new),
        "corrected": sorted(corrected),
        "corrected_in_test": sum(earlier[name].fold is None for name in corrected),
        "patients": len(patients),
        "patients_in_test": sum(fold is None for fold in patients.values()),
    }
