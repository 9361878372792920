"""The table of a shard: its columns, its metadata, and how it is written and read back."""

import hashlib
import io
import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sonoseg.archive.libraries import arrow_library, parquet_library
from sonoseg.archive.process import Outcome
from sonoseg.archive.rows import ArchiveRun, counts_of
from sonoseg.archive.shards import Shard
from sonoseg.errors import DataError, is_machine_error, printable
from sonoseg.inference.results import DISCLAIMER
from sonoseg.inference.segmenter import Segmenter
from sonoseg.io.files import write_bytes
from sonoseg.runs.integrity import list_bytes
from sonoseg.runs.versions import versions

ARCHIVE_FORMAT = 1
"""To be raised with every change of the columns or of the metadata, so that earlier shards are not reused."""
OVERLAYS_LIST = "stage4.sha256"
_METADATA = b"sonoseg"
_COMPRESSION = "zstd"


@dataclass(frozen=True)
class Written:
    """A shard that was written: its identity, the SHA-256 of its table, and its counts (`process.counts_of`)."""

    identity: str
    sha256: str
    counts: dict[str, int]


def schema_of(segmenter: Segmenter) -> Any:
    """Return the columns of a table as a `pyarrow.Schema`; a value that is missing is null."""
    arrow = arrow_library()
    text, number, whole = arrow.string(), arrow.float64(), arrow.int32()
    columns = {"image": text, "frame": whole, "region": whole, "kind": text, "name": text}
    columns |= {"status": text, "reason": text, "quality": number, "width": whole, "height": whole}
    columns |= {"row_mm": number, "col_mm": number, "spacing_from": text}
    for key in (quantity.key for quantity in segmenter.task.quantities):
        ends = (f"{key}_low", f"{key}_high") if key in segmenter.interval_keys else ()
        columns |= dict.fromkeys((key, *ends, f"{key}_spread"), number)
    columns |= {f"confidence_{name}": number for name in segmenter.task.class_names}
    columns |= {"frames": whole, "time_s": number, "chosen": arrow.bool_()}
    columns |= {f"mask_{name}": text for name in segmenter.task.class_names}
    columns |= dict.fromkeys(("shapes", "details", "image_sha256", "overlay", "overlay_sha256"), text)
    return arrow.schema(list(columns.items()))


def write_shard(shard: Shard, outcome: Outcome, run: ArchiveRun) -> Written:
    """Write the table of a shard atomically, after the list of its overlays; equal rows give equal bytes.

    outcome: of all its files. Raises OSError.
    """
    arrow, parquet = arrow_library(), parquet_library()
    rows = [row for index in range(len(shard.units)) for row in outcome.rows[index]]
    overlays = {Path(row["overlay"]).name: row["overlay_sha256"] for row in rows if row.get("overlay")}
    _remove_others(run.folder / shard.overlays, overlays)
    if overlays:
        write_bytes(run.folder / shard.overlays / OVERLAYS_LIST, list_bytes(overlays))
    counts = {
        "files": len(shard.units),
        "without_image": sum(not found for found in outcome.rows.values()),
        **counts_of(rows),
    }
    about = json.dumps(_about(shard, outcome, run, counts), sort_keys=True)
    schema = schema_of(run.segmenter).with_metadata({_METADATA: about.encode()})
    stream = io.BytesIO()
    parquet.write_table(arrow.Table.from_pylist(rows, schema), stream, compression=_COMPRESSION)
    data = stream.getvalue()
    write_bytes(run.folder / shard.file, data)
    return Written(shard.identity, hashlib.sha256(data).hexdigest(), counts)


def _remove_others(folder: Path, overlays: Mapping[str, str]) -> None:
    """Remove the overlays of a shard that no row names: those of a loop that failed after some of its frames."""
    for path in folder.glob("*_overlay.png"):
        if path.name not in overlays:
            path.unlink(missing_ok=True)
    if not overlays:
        with suppress(OSError):  # there is none, or somebody has put a file there
            folder.rmdir()


def _about(shard: Shard, outcome: Outcome, run: ArchiveRun, counts: Mapping[str, int]) -> dict[str, Any]:
    task = run.segmenter.task
    inputs = [[*listed, outcome.digests.get(index)] for index, listed in enumerate(_listed(shard))]
    return {
        "format": ARCHIVE_FORMAT,
        "task": task.name,
        "model_sha256": run.segmenter.sha256,
        "threshold": run.segmenter.threshold,
        "structures": [[structure.name, structure.color] for structure in task.structures],
        "run_fingerprint": run.fingerprint,
        "versions": versions(),
        "counts": dict(counts),
        "inputs": inputs,
        "notice": DISCLAIMER,
    }


def _listed(shard: Shard) -> list[list[Any]]:
    """Return name, size in bytes and modification time in ns of each file of a shard, as its table has them."""
    return [[printable(unit.name), unit.size, unit.mtime_ns] for unit in shard.units]


def is_of_shard(about: dict[str, Any], shard: Shard, fingerprint: str) -> bool:
    """Return whether the metadata of a table is that of a shard, and not of another table that has its name."""
    try:
        files = [entry[:3] for entry in about["inputs"]]
        return bool(files == _listed(shard) and about["run_fingerprint"] == fingerprint)
    except (KeyError, TypeError):
        return False


def read_about(path: Path) -> dict[str, Any]:
    """Return the metadata of a shard's table, without reading its rows. Raises DataError, and errors of the machine."""
    parquet = parquet_library()
    try:
        about: dict[str, Any] = json.loads(parquet.read_metadata(path).metadata[_METADATA])
        if about["format"] != ARCHIVE_FORMAT:
            raise DataError(f"format {about['format']}; expected {ARCHIVE_FORMAT}, of this version of SonoSeg", path)
        return about
    except (OSError, ValueError, KeyError, TypeError) as error:
        if isinstance(error, DataError) or is_machine_error(error):
            raise
        raise DataError("not the table of a shard, or damaged; run stage 4 again", path) from error


def read_rows(path: Path, columns: list[str] | None = None) -> list[dict[str, Any]]:
    """Return the rows of a shard's table. Raises DataError as `read_about` does."""
    try:
        rows: list[dict[str, Any]] = parquet_library().read_table(path, columns=columns, partitioning=None).to_pylist()
    except (OSError, ValueError) as error:
        if is_machine_error(error):
            raise
        raise DataError("not the table of a shard, or damaged; run stage 4 again", path) from error
    return rows
