"""Patient, pixel spacing and reference measurements of each image."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from sonoseg.annotations.base import AnnotatedImage
from sonoseg.errors import TaskError, counted, first_of
from sonoseg.io.faults import Fault, FaultsError, error, warning
from sonoseg.io.image_ref import UNKNOWN
from sonoseg.io.names import is_inside, patient_key, similar_patient_key
from sonoseg.io.pseudonyms import PseudonymKey, identity_key
from sonoseg.io.tables import read_table
from sonoseg.prepare.metadata import ImageMetadata, read_metadata, rows_of
from sonoseg.prepare.verify import VerifiedImage
from sonoseg.schema.annotations import Metadata, Patients
from sonoseg.schema.drafts import StatedIn
from sonoseg.schema.task import Task

SAME_SPACING = 0.01
"""Part by which two statements of a spacing may differ."""

MOST_NAMED = 10
"""Files, or columns, that a message about patients names."""


def collect_metadata(
    items: Sequence[AnnotatedImage],
    images: Sequence[VerifiedImage],
    data: Path,
    task: Task,
    key: PseudonymKey,
    stated: StatedIn,
) -> tuple[dict[str, ImageMetadata], list[Fault]]:
    """Return {id: ImageMetadata} with the patient of every image filled in, and what remains unknown as warnings.

    Where the task says that patients are unknown, those that neither table nor file states are None: the images of all
    folders are grouped together, see `with_groups`.

    Spacing and patient are those of the metadata table, else those that the image file itself states, the patient as
    its pseudonym; `images` are the items that could be read. stated: where the task states how patients are told apart,
    for messages. Where the task identifies patients by a column and neither source has one, an image counts as a
    patient of its own (all frames of a file as one), with a warning: images of one patient might then be in training
    and test. So does one whose file name the task's pattern does not match: see `pattern_faults`. Patients that look
    the same are one, spelled as at the first of their images, with a warning. A spacing of table and file that differs
    by more than 1 % gives a warning. Errors: unusable rows.
    """
    metadata, patients = task.metadata, task.patients
    read = {image.item.id: image for image in images}
    table_needed = not any(image.spacing for image in images)
    table, faults = _table(data, metadata, patients, table_needed)
    rows = rows_of(table, items) if table else {}
    in_files = _stated_patients(images, rows, key) if patients.pattern is None else {}
    known = {
        item.id: _merged(rows.get(item.id), read.get(item.id), in_files.get(item.id), metadata.file) for item in items
    }
    faults += _contradicting_spacings(items, rows, read, metadata, data)
    for item in items:  # a spacing of the table has been checked with its row
        spacing = known[item.id].spacing
        if spacing and (problem := metadata.spacing_problem(spacing)):
            faults.append(error(item.name_in(data), problem, "spacing", item.id))
    if table or not table_needed:
        faults += _missing(known, rows if table else None, metadata)
    patient_of: dict[str, str]
    matched: dict[str, str] = {}
    more: list[Fault] = []
    if patients.unknown:
        patient_of = {name: entry.patient for name, entry in known.items() if entry.patient}
    elif patients.pattern is None:
        patient_of = {item.id: known[item.id].patient or _file_id(item) for item in items}
        more = _without_patient([name for name, entry in known.items() if entry.patient is None], data, task, stated)
    else:
        matched = _patients_by_pattern(items, patients, data, stated)
        patient_of = {item.id: matched.get(item.id, item.id) for item in items}
    patient_of, same = _one_spelling(patient_of)
    faults += [*more, *same, *_almost_equal(patient_of)]
    return {
        name: ImageMetadata(
            entry.spacing,
            patient_of.get(name),
            entry.reference,
            name in matched or entry.patient is not None,
            entry.spacing_from,
        )
        for name, entry in known.items()
    }, faults


def _missing(
    known: Mapping[str, ImageMetadata], rows: Mapping[str, ImageMetadata | None] | None, metadata: Metadata
) -> list[Fault]:
    """Return warnings about spacings and references that no source states; rows: of the table, None without one."""
    messages = []
    missing = [name for name, entry in known.items() if entry.spacing_from == UNKNOWN]
    missing = [name for name in missing if rows is not None and rows.get(name) is None]
    if missing:
        messages.append(f"no row for {_some(missing)}")
    no_spacing = [name for name, entry in known.items() if entry.spacing is None]
    if no_spacing:
        messages.append(f"no pixel spacing, so no millimetres, for {_some(no_spacing)}")
    for name, column in metadata.reference.items() if rows is not None else ():
        if not any(name in entry.reference for entry in known.values()):
            messages.append(f"column {column!r} gives no image a reference {name}")
    return [warning(metadata.file, message, "no_spacing") for message in messages]


def _stated_patients(
    images: Sequence[VerifiedImage], rows: Mapping[str, ImageMetadata | None], key: PseudonymKey
) -> dict[str, str]:
    """Return {id: patient} of images without one in the table, whose file states one.

    It is a pseudonym or, where the table names the patient of another image with the same identity, that patient.
    """
    in_table = {image.item.id: row.patient for image in images if (row := rows.get(image.item.id)) and row.patient}
    identity_of = {image.item.id: found for image in images if (found := identity_key(image.patient or ""))}
    named = {identity_of[name]: in_table[name] for name in sorted(in_table, reverse=True) if name in identity_of}
    return {
        name: named.get(identity) or key.pseudonym(identity)
        for name, identity in identity_of.items()
        if name not in in_table
    }


def _contradicting_spacings(
    items: Sequence[AnnotatedImage],
    rows: Mapping[str, ImageMetadata | None],
    read: Mapping[str, VerifiedImage],
    metadata: Metadata,
    data: Path,
) -> list[Fault]:
    """Return a warning per image whose file states another spacing than the table, by more than 1 %."""
    faults = []
    for item in items:
        row, image = rows.get(item.id), read.get(item.id)
        if not (row and row.spacing and image and image.spacing):
            continue
        if any(abs(ours / theirs - 1) > SAME_SPACING for ours, theirs in zip(row.spacing, image.spacing, strict=True)):
            table, file = (f"{row_mm:g} x {col_mm:g} mm" for row_mm, col_mm in (row.spacing, image.spacing))
            message = (
                f"{metadata.file} states a pixel spacing of {table} (row x column), the file itself {file} "
                f"({image.spacing_from}); that of the table is used"
            )
            faults.append(warning(item.name_in(data), message, "two_spacings", item.id))
    return faults


def _merged(
    row: ImageMetadata | None, image: VerifiedImage | None, patient: str | None, table_name: str
) -> ImageMetadata:
    """Return an image's row of the table, completed by what its file states; `patient` is its pseudonym."""
    row = row or ImageMetadata()
    spacing, spacing_from = row.spacing, table_name
    if spacing is None:
        spacing, spacing_from = (image.spacing, image.spacing_from) if image else (None, UNKNOWN)
    return ImageMetadata(spacing, row.patient or patient, row.reference, spacing_from=spacing_from)


def _table(
    data: Path, metadata: Metadata, patients: Patients, needed: bool
) -> tuple[dict[str, ImageMetadata], list[Fault]]:
    """Return the table and its faults; it may be missing when it is not needed, as image files state their spacing."""
    path = data / metadata.file
    if not is_inside(path, data):
        return {}, [error(metadata.file, "leads out of the data folder; copy the table there")]
    if not path.is_file():
        message = "no such table: pixel spacing is unknown, so nothing will be measured in millimetres"
        return {}, [warning(metadata.file, message, "no_spacing")] if needed else []
    try:
        return read_metadata(path, metadata, patients), []
    except FaultsError as problem:
        return {}, list(problem.faults)


def _patients_by_pattern(
    items: Sequence[AnnotatedImage], patients: Patients, data: Path, stated: StatedIn
) -> dict[str, str]:
    """Return {id: patient} of the images whose file names the pattern matches."""
    patient_of = {}
    for item in items:
        try:
            patient = patients.patient_in(item.path_name).strip()
        except TimeoutError as problem:
            raise TaskError(f"{item.name_in(data)}: {problem}; the pattern is that of {stated}") from None
        if patient_key(patient):
            patient_of[item.id] = patient
    return patient_of


def pattern_faults(
    items: Sequence[AnnotatedImage], meta: Mapping[str, ImageMetadata], patients: Patients, stated: StatedIn
) -> list[Fault]:
    """Return an error where patients are told apart by a pattern that does not match all images' names.

    items: of all folders. It says how many and which, and where the pattern is stated.
    """
    names = [f"{item.folder}{item.image.path.name}" for item in items if not meta[item.id].patient_known]
    names = list(dict.fromkeys(names))
    if patients.pattern is None or not names:
        return []
    pattern, total = f"patients.pattern {patients.pattern!r}", len({item.image.path for item in items})
    if stated.parent:
        pattern = f"{pattern} of {stated.parent}, which it extends,"
    own = f"state `patients:` in {stated.file} (or `patients: unknown`)"
    if not stated.file.endswith((".yaml", ".yml")):
        own = f"write a task file that extends {stated.file} with `patients:` of its own (or `patients: unknown`)"
    elif not stated.parent:
        own = "correct it (or write `patients: unknown`)"
    if len(names) == total:
        message = f"{pattern} matches none of {total} file names, such as {names[0]}; {own}"
    else:
        listed = first_of(names, MOST_NAMED)
        message = f"{pattern} does not match {len(names)} of {total} file names ({listed}); rename the files, or {own}"
    return [error(stated.file, message, "patient_pattern")]


def _without_patient(alone: Sequence[str], data: Path, task: Task, stated: StatedIn) -> list[Fault]:
    """Return the warning about images for which neither table nor file states a patient; none without any."""
    if not alone:
        return []
    table, column = task.metadata.file, task.patients.column
    where, found = f"{table}, column {column!r}", ""
    remedy = f"fill in the column (patients.column of {stated})"
    path = data / table
    rows = read_table(path, "stage 1") if is_inside(path, data) and path.is_file() else []
    columns = [name for name in rows[0][1] if name] if rows else []
    if columns and column not in columns:
        there = first_of([repr(name) for name in columns], MOST_NAMED)
        where, found = table, f"no column {column!r} (patients.column of {stated}), only {there}: "
        remedy = "name another column in the task, or add this one"
    message = (
        f"{found}no patient for {_some(alone)}: each counts as a patient of its own. If two of them show one patient, "
        f"that patient may be in training and in test, and the test score means nothing; {remedy}"
    )
    return [warning(where, message, "no_patients")]


def _file_id(item: AnnotatedImage) -> str:
    """Return the image's id, the same for all frames and regions of a file: they show one patient."""
    return item.id if item.image.frame is None and item.image.region is None else item.file_id


def _one_spelling(patient_of: Mapping[str, str]) -> tuple[dict[str, str], list[Fault]]:
    """Return {id: patient} with one spelling, that of the first id, for patients that look the same, and warnings."""
    spelling: dict[str, str] = {}
    unified = {
        name: spelling.setdefault(patient_key(patient_of[name]), patient_of[name]) for name in sorted(patient_of)
    }
    others = sorted({(unified[name], patient) for name, patient in patient_of.items() if patient != unified[name]})
    faults = [
        warning(
            f"patient {kept}",
            f"also written {other!a} instead of {kept!a}; treated as one patient, because only invisible "
            "characters, spaces or forms of the same characters differ",
            "patient_spellings",
        )
        for kept, other in others
    ]
    return unified, faults


def _almost_equal(patient_of: Mapping[str, str]) -> list[Fault]:
    spelling: dict[str, str] = {}
    faults = []
    for name in sorted(set(patient_of.values())):
        other = spelling.setdefault(similar_patient_key(name), name)
        if other != name:
            same_letters = patient_key(other).casefold() == patient_key(name).casefold()
            what = "upper and lower case" if same_letters else "letter case, accents, dashes or spaces"
            message = f"differs from {other} in {what} only; treated as two patients"
            faults.append(warning(f"patient {name}", message, "patient_names"))
    return faults


def _some(names: Sequence[str]) -> str:
    return f"{counted(len(names), 'image')} ({first_of(names, 5)})"
