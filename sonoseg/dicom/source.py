"""The header of a source: what its results take over from it, checked, and nothing else."""

import logging
import re
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any

from pydicom.dataset import Dataset

from sonoseg.errors import DataError
from sonoseg.io.limits import ReadLimits
from sonoseg.io.readers.dicom.opened import dicom_errors, load_pydicom, open_dicom
from sonoseg.sizes import Size

UNICODE = "ISO_IR 192"
UNKNOWN_DATE, UNKNOWN_TIME = "19000101", "000000"
"""Content date and time of objects that must have them, of a source that states no date."""

_UID = re.compile(r"(?=.{1,64}$)(0|[1-9]\d*)(\.(0|[1-9]\d*))+")
_DATE, _TIME = re.compile(r"\d{8}"), re.compile(r"\d{2}(\d{2}(\d{2}(\.\d{1,6})?)?)?")
_UIDS = ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "SOPClassUID")
_PATIENT = {"PatientID": 64, "PatientName": 5 * 64}
"""What tells whose results they are, with the most letters of each; an image with others has none written."""
_TEXTS = {
    "IssuerOfPatientID": 64,
    "StudyID": 16,
    "AccessionNumber": 16,
    "ReferringPhysicianName": 5 * 64,
    "StudyDescription": 64,
    "DeidentificationMethod": 64,
}
_REQUIRED = ("StudyID", "AccessionNumber", "ReferringPhysicianName")
"""Elements that every object has, be they empty; the others only where the source has them."""
_DATES = {"PatientBirthDate": _DATE, "StudyDate": _DATE, "StudyTime": _TIME}
_WORDS = {"PatientSex": ("M", "F", "O"), "PatientIdentityRemoved": ("YES", "NO"), "BurnedInAnnotation": ("YES", "NO")}
_MOMENTS = ("Content", "Acquisition", "Series", "Study", "InstanceCreation")
_NUMBERS = ("InstanceNumber", "NumberOfFrames", "Rows", "Columns")
_WANTED = (
    *_UIDS,
    *_PATIENT,
    *_TEXTS,
    *_DATES,
    *_WORDS,
    *_NUMBERS,
    *(f"{moment}{part}" for moment in _MOMENTS for part in ("Date", "Time")),
    "LossyImageCompression",
    "SpecificCharacterSet",
)


@dataclass(frozen=True)
class SourceHeader:
    """A DICOM source as its results refer to it.

    dataset: of pydicom, with patient, study and identifiers of the source, all of them valid; its text is ASCII or else
    Unicode, and what the source has wrong is empty. number: of the instance in its series. content_date, content_time:
    as DICOM writes them. may_show_text: whether the frame may have text in its pixels; false only where the source
    states that it has none.
    """

    dataset: Dataset = field(repr=False)
    size: Size
    frames: int
    number: int
    content_date: str
    content_time: str
    may_show_text: bool


def read_source(path: Path, data: bytes, limits: ReadLimits) -> SourceHeader:
    """Return the header of a DICOM image from the bytes of its file; no pixel is decoded.

    Raises DataError for a file that cannot be read, and for a patient or identifiers that are missing or invalid: which
    element it is, and never its value.
    """
    quiet(path)
    with open_dicom(path, limits, data), dicom_errors(path):
        import pydicom

        header = pydicom.dcmread(BytesIO(data), stop_before_pixels=True, specific_tags=list(_WANTED))
        values = {keyword: _value(header, keyword) for keyword in _WANTED}
        return _checked(values, path)


def quiet(path: Path) -> None:
    """Keep warnings and logs, which may contain values of headers, from the terminal. Raises DataError as pydicom."""
    load_pydicom(path)
    logging.getLogger("highdicom").setLevel(logging.CRITICAL)
    warnings.filterwarnings("ignore", module="highdicom")


def _value(header: Dataset, keyword: str) -> Any:
    """Return the value of an element, None where it cannot be decoded."""
    try:
        return header.get(keyword)
    except Exception:  # any error of a decoder: a wrong representation, a number that is none
        return None


def _checked(values: Mapping[str, Any], path: Path) -> SourceHeader:
    dataset = Dataset()
    values = _without_unknown_letters(values)
    for keyword in _UIDS:
        setattr(dataset, keyword, _required(path, keyword, _match(_UID, values[keyword])))
    for keyword, longest in _PATIENT.items():
        empty = values[keyword] in (None, "")
        setattr(dataset, keyword, "" if empty else _required(path, keyword, _text(values[keyword], longest)))
    for keyword, longest in _TEXTS.items():
        text = _text(values[keyword], longest)
        if text or keyword in _REQUIRED:
            setattr(dataset, keyword, text)
    for keyword, pattern in _DATES.items():
        setattr(dataset, keyword, _match(pattern, values[keyword]))
    for keyword, words in _WORDS.items():
        word = values[keyword] if values[keyword] in words else ""
        if keyword != "BurnedInAnnotation" and (word or keyword == "PatientSex"):
            setattr(dataset, keyword, word)
    if not all(str(element.value).isascii() for element in dataset):
        dataset.SpecificCharacterSet = UNICODE
    if values["LossyImageCompression"] == "01":
        dataset.LossyImageCompression = "01"
    dataset.Modality, dataset.PatientOrientation = "US", None
    dataset.Rows, dataset.Columns = values["Rows"], values["Columns"]
    date, time = _moment(values)
    may_show_text = values["BurnedInAnnotation"] != "NO"
    frames = int(values["NumberOfFrames"] or 1)
    size = int(dataset.Rows), int(dataset.Columns)
    return SourceHeader(dataset, size, frames, _number(values["InstanceNumber"]), date, time, may_show_text)


def _without_unknown_letters(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values; texts beyond ASCII are not valid where no known character set is stated.

    Their letters would be guessed, and the patient filed by another name.
    """
    from pydicom.charset import python_encoding

    stated = values["SpecificCharacterSet"] or ""
    sets = [stated] if isinstance(stated, str) else [str(each) for each in stated]
    is_known = any(sets) and all(not each or each in python_encoding for each in sets)
    if is_known:
        return dict(values)
    texts = (*_PATIENT, *_TEXTS)
    return {
        key: "\ufffd" if key in texts and not str(value or "").isascii() else value for key, value in values.items()
    }


def _required(path: Path, keyword: str, value: str) -> str:
    if not value:
        raise DataError(
            f"{keyword} is missing or not valid in its header (beyond ASCII it needs a SpecificCharacterSet), so "
            "that its results could not be filed with it; correct it where the file comes from",
            path,
        )
    return value


def _match(pattern: re.Pattern[str], value: Any) -> str:
    return str(value) if isinstance(value, str) and pattern.fullmatch(value) else ""


def _text(value: Any, longest: int) -> str:
    """Return a text as it is, empty for anything else: several values, letters not printed or not decoded, too many."""
    text = str(value) if isinstance(value, str) or type(value).__name__ == "PersonName" else ""
    is_whole = text.isprintable() and not {"\\", "\ufffd"} & set(text)
    return text if is_whole and len(text) <= longest else ""


def _moment(values: Mapping[str, Any]) -> tuple[str, str]:
    """Return the first date that the source states, with its time."""
    for moment in _MOMENTS:
        date = _match(_DATE, values[f"{moment}Date"])
        if date:
            return date, _match(_TIME, values[f"{moment}Time"]) or UNKNOWN_TIME
    return UNKNOWN_DATE, UNKNOWN_TIME


def _number(value: Any) -> int:
    """Return the number of the instance in its series, 1 where it is not stated."""
    try:
        number = int(value)
    except (TypeError, ValueError):
        return 1
    return number if 1 <= number < 10_000 else 1
