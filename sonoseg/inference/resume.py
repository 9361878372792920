"""Images that an earlier run has finished: what depends on nothing that has changed since is not made again.

Each record `<name>.json` is written last of an image's results, and says what they were made of and by, and their
digests. So a batch that was interrupted goes on where it stopped, and in a folder that grows only new images take time.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from sonoseg.inference.segmenter import Segmenter
from sonoseg.inference.sources import Source
from sonoseg.io.files import sha256_of

_SONOSEG = Path(__file__).resolve().parents[1]
_CODE = ("core/**/*.py", "infer/**/*.py", "postprocess/*.py", "preprocess/*.py", "train/networks/*.py")
"""What a result depends on besides image and model."""


@dataclass(frozen=True)
class Finished:
    """The results of an image that an earlier run has finished: its record, and the SHA-256 of each file."""

    facts: dict[str, Any]
    digests: dict[Path, str]


def fingerprint(segmenter: Segmenter, heatmap: bool) -> str:
    """Return 64 hexadecimal digits that stand for all that results of one image depend on but the image itself.

    That is: the models with their tasks, the engine and the device that run them, whether probabilities are drawn, and
    the code. Another one of these, another digest. Empty when a network comes from no file: nothing tells it apart.
    """
    if not all(one.sha256 for one in segmenter.members):
        return ""
    engines = [(one.engine.name, one.engine.version) for one in segmenter.members]
    tasks = [one.task.model_dump(mode="json") for one in segmenter.members]
    parts = [segmenter.sha256, engines, tasks, segmenter.device, heatmap, _code()]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def sealed(
    facts: Mapping[str, Any], source: Source, image_sha256: str, by: str, written: Mapping[Path, bytes]
) -> dict[str, Any]:
    """Return the record of an image: what was found, what it was made from, the digests of the files beside it, and of
    the record itself."""
    files = {path.name: hashlib.sha256(data).hexdigest() for path, data in written.items()}
    record = {**facts, "made_from": _made_from(source, image_sha256, by), "files": files}
    return {**record, "sha256": _digest(record)}


def finished(record: Path, source: Source, image_sha256: str, by: str, files: Sequence[Path]) -> Finished | None:
    """Return an image's record when its results are whole and of this image, model, spacing and code; None otherwise.

    `files` are what has to lie beside it, no more and no less. Whatever is wrong with a record, the image is segmented
    again.
    """
    try:
        data = record.read_bytes()
        found = json.loads(data)
        spacing = source.spacing and {"row": source.spacing[0], "col": source.spacing[1]}
        if found.pop("sha256") != _digest(found):
            return None
        if found["made_from"] != _made_from(source, image_sha256, by) or found["spacing_mm"] != spacing:
            return None
        listed = found["files"]
        if listed.keys() != {path.name for path in files}:
            return None
        if any(sha256_of(path) != listed[path.name] for path in files):
            return None
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    digests = {path: listed[path.name] for path in files}
    return Finished(found, {**digests, record: hashlib.sha256(data).hexdigest()})


def _made_from(source: Source, image_sha256: str, by: str) -> dict[str, Any]:
    """Return what results are made from; equal values mean equal results."""
    return {"image_sha256": image_sha256, "name": source.name, "spacing_from": source.spacing_from, "by": by}


def _digest(record: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(record, sort_keys=True).encode()).hexdigest()


@cache
def _code() -> str:
    files = sorted(file for pattern in _CODE for file in _SONOSEG.glob(pattern))
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()
