"""Reuse of results that an earlier run has written from the same inputs.

The record `<name>.json` is the last file that is written for an image. It contains what the results were made from and
the digests of the files, so an interrupted run continues where it stopped, and only new images are processed.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from sonoseg.errors import is_machine_error
from sonoseg.inference.segmenter import Segmenter
from sonoseg.inference.sources import Source
from sonoseg.io.files import sha256_of
from sonoseg.runs.versions import versions

RESULT_FORMAT = 4
"""To be raised with every change of the code that changes a result file, so that earlier results are not reused."""


@dataclass(frozen=True)
class OptionalFiles:
    """Which result files a run writes besides the usual ones.

    heatmap: heat map and probabilities. full_masks: a mask per class, with the pixels that another class covers.
    """

    heatmap: bool = False
    full_masks: bool = False


NO_OPTIONAL_FILES = OptionalFiles()


def run_fingerprint(segmenter: Segmenter, optional: OptionalFiles) -> str:
    """Return 64 hexadecimal digits that identify what decides the results of an image, apart from the image itself.

    That is: models with their tasks, engines with the digests of what they run, device, test-time augmentation, which
    optional files are written, the versions of SonoSeg and of the packages it uses, and `RESULT_FORMAT`. Masks that are
    raw by choice are in the tasks, see `Segmenter.task`. Empty when a model comes from no file and so has no digest.
    """
    members = segmenter.members
    if not all(member.sha256 for member in members):
        return ""
    settings = {
        "models": segmenter.sha256,
        "tasks": [member.task.without_codes().model_dump(mode="json") for member in members],
        "engines": [(member.engine.name, member.engine.version, member.engine.sha256) for member in members],
        "device": segmenter.device,
        "tta": segmenter.tta,
        **asdict(optional),
        "versions": versions(),
        "result_format": RESULT_FORMAT,
    }
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()


@dataclass(frozen=True)
class ResultInputs:
    """What the results of one image are made from: equal inputs give equal results.

    image_sha256: of the image file. run_fingerprint: see `run_fingerprint`.
    """

    source: Source
    image_sha256: str
    run_fingerprint: str

    def to_json(self) -> dict[str, Any]:
        """Return the entry `made_from` of an image's record."""
        return {
            "image_sha256": self.image_sha256,
            "name": self.source.name,
            "frame": self.source.image.frame_number,
            "region": self.source.image.region_number,
            "spacing_from": self.source.spacing_from,
            "run_fingerprint": self.run_fingerprint,
        }


@dataclass(frozen=True)
class ReusableResult:
    """Results of an earlier run: the facts of the image (`results.describe`), and the SHA-256 of each file."""

    facts: dict[str, Any]
    digests: dict[Path, str]


def build_record(facts: Mapping[str, Any], inputs: ResultInputs, pictures: Mapping[str, bytes]) -> dict[str, Any]:
    """Return the record of an image: its facts, its inputs, the SHA-256 of each picture and of the record itself."""
    return signed_record(facts, inputs, {name: hashlib.sha256(data).hexdigest() for name, data in pictures.items()})


def signed_record(facts: Mapping[str, Any], inputs: ResultInputs, digests: Mapping[str, str]) -> dict[str, Any]:
    """Return the record as `build_record` does; digests: name of a file -> its SHA-256."""
    record = {**facts, "made_from": inputs.to_json(), "files": dict(digests)}
    return {**record, "sha256": _digest(record)}


def read_reusable(record: Path, inputs: ResultInputs, pictures: Sequence[str]) -> ReusableResult | None:
    """Return an image's results when they are complete, unchanged and made from `inputs`; else None.

    record: path of the JSON file. pictures: the names of the files beside it; the record has to list exactly these.
    Raises OSError for an error of the machine.
    """
    if not inputs.run_fingerprint:
        return None
    source, folder = inputs.source, record.parent
    try:
        data = record.read_bytes()
        facts = json.loads(data)
        spacing = source.spacing and {"row": source.spacing[0], "col": source.spacing[1]}
        if facts.pop("sha256") != _digest(facts):
            return None
        if facts["made_from"] != inputs.to_json() or facts["spacing_mm"] != spacing:
            return None
        files = facts["files"]
        if files.keys() != set(pictures) or any(sha256_of(folder / name) != files[name] for name in pictures):
            return None
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        if is_machine_error(error):
            raise
        return None  # missing or damaged: processed again
    digests = {folder / name: files[name] for name in pictures}
    return ReusableResult(facts, {**digests, record: hashlib.sha256(data).hexdigest()})


def recorded_files(folder: Path, records: Iterable[str]) -> list[str]:
    """Return those of the records of images that are valid, of any version, and the result files that they name."""
    found = []
    for record in records:
        path = folder / record
        with suppress(OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
            facts = json.loads(path.read_bytes()) if path.is_file() else {}
            if facts.pop("sha256") == _digest(facts):
                found += [record, *(name for name in facts["files"] if name.startswith(f"{path.stem}_"))]
    return found


def _digest(record: Mapping[str, Any]) -> str:
    """Return the SHA-256 of a record without its entry `sha256`."""
    return hashlib.sha256(json.dumps(record, sort_keys=True).encode()).hexdigest()
