"""Whose image is it? And its pixel spacing and reference measurements, from the metadata table."""

import re
from collections.abc import Sequence
from pathlib import Path

from sonoseg.annotations.base import AnnotatedImage
from sonoseg.io.faults import Fault, FaultsError, error, warning
from sonoseg.io.names import is_inside
from sonoseg.prepare.metadata import Meta, meta_of, read_metadata
from sonoseg.schema.task import Task


def describe(items: Sequence[AnnotatedImage], data: Path, task: Task) -> tuple[dict[str, Meta], list[Fault]]:
    """Return {id: Meta} with the patient of every image filled in, and what the table leaves open as warnings.

    Where the task tells patients apart by a column that is missing or empty, an image counts as a patient of its own,
    with a warning: images of one patient might then be in training and test. Errors: unusable rows; a file name that
    the task's patient pattern does not match.
    """
    table, faults = _table(data, task)
    found = {item.id: meta_of(table, item.image) for item in items} if table else {}
    missing = [item.id for item in items if found.get(item.id) is None]
    if table and missing:
        faults.append(warning(task.metadata.file, f"no row for {_some(missing)}", "no_spacing"))
    known = {item.id: found.get(item.id) or Meta() for item in items}
    no_spacing = [name for name, meta in known.items() if meta.spacing is None]
    if table and no_spacing:
        message = f"no pixel spacing, so no millimetres, for {_some(no_spacing)}"
        faults.append(warning(task.metadata.file, message, "no_spacing"))
    for name, column in task.metadata.reference.items():
        if table and not any(name in meta.reference for meta in known.values()):
            message = f"column {column!r} gives no image a reference {name}"
            faults.append(warning(task.metadata.file, message, "no_spacing"))
    patients, more = _patients(items, known, data, task)
    faults += more
    by_column = task.patients.pattern is None
    return {
        name: Meta(meta.spacing, patients.get(name), meta.reference, not by_column or meta.patient is not None)
        for name, meta in known.items()
    }, faults


def _table(data: Path, task: Task) -> tuple[dict[str, Meta], list[Fault]]:
    path = data / task.metadata.file
    if not is_inside(path, data):
        return {}, [error(task.metadata.file, "leads out of the data folder; copy the table there")]
    if not path.is_file():
        message = "no such table: pixel spacing is unknown, so nothing will be measured in millimetres"
        return {}, [warning(task.metadata.file, message, "no_spacing")]
    try:
        return read_metadata(path, task), []
    except FaultsError as problem:
        return {}, list(problem.faults)


def _patients(
    items: Sequence[AnnotatedImage], known: dict[str, Meta], data: Path, task: Task
) -> tuple[dict[str, str], list[Fault]]:
    faults: list[Fault] = []
    patients: dict[str, str] = {}
    alone = []
    for item in items:
        patient = known[item.id].patient
        if task.patients.pattern is not None:
            match = re.search(task.patients.pattern, item.image.stem)
            patient = match.group(1).strip() if match and match.group(1) else None
            if not patient:
                message = f"the file name does not say the patient: patients.pattern is {task.patients.pattern!r}"
                faults.append(error(item.image.relative_to(data).as_posix(), message, "names", item.id))
        elif patient is None:
            alone.append(item.id)
        patients[item.id] = patient or item.id
    if alone:
        column = f"{task.metadata.file}, column {task.patients.column!r}"
        message = (
            f"no patient for {_some(alone)}: each counts as a patient of its own. If two of them show one patient, "
            "that patient may be in training and in test, and the test score means nothing; fill in the column"
        )
        faults.append(warning(column, message, "no_patients"))
    return patients, faults + _almost_equal(patients)


def _almost_equal(patients: dict[str, str]) -> list[Fault]:
    spelling: dict[str, str] = {}
    faults = []
    for name in sorted(set(patients.values())):
        other = spelling.setdefault(name.casefold(), name)
        if other != name:
            message = f"differs from {other} in upper and lower case only; taken as two"
            faults.append(warning(f"patient {name}", message, "patient_names"))
    return faults


def _some(names: Sequence[str]) -> str:
    listed = f"{', '.join(names[:5])}{', ...' if len(names) > 5 else ''}"
    return f"{len(names)} {'image' if len(names) == 1 else 'images'} ({listed})"
