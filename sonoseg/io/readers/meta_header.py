"""The text of a MetaImage header, and the file of the values, which may be another one."""

import re
from pathlib import Path

from sonoseg.errors import DataError

MOST_HEADER = 1 << 16
"""Bytes of a header, at most."""
META_START = re.compile(rb"\s*(?:ObjectType|ObjectSubType|NDims|Comment|Name|ID|TransformType)\s*=")
META_SUFFIXES = (".mha", ".mhd")
_VALUES = "ElementDataFile"


def meta_fields(start: bytes) -> tuple[dict[str, str], int]:
    """Return the fields of a header, up to `ElementDataFile`, and the number of its bytes."""
    fields: dict[str, str] = {}
    end = 0
    while _VALUES not in fields and b"\n" in start[end:]:
        line_end = start.index(b"\n", end)
        key, _, value = start[end:line_end].partition(b"=")
        fields[key.strip().decode("latin-1")] = value.strip().decode("utf-8", errors="replace")
        end = line_end + 1
    return fields, end


def separate_values(start: bytes, path: Path) -> tuple[Path | None, int]:
    """Return the file of the values beside a file, and the number of bytes of the header that names it.

    start: the first `MOST_HEADER` bytes of the file at `path`. None and 0 for a file that contains its values itself,
    as all files but some MetaImage headers do. Raises DataError for a list of files, a name with a folder, which may
    lead anywhere, and a file that is missing.
    """
    if not META_START.match(start):
        return None, 0
    fields, end = meta_fields(start)
    name = fields.get(_VALUES, "LOCAL")
    if name.upper() == "LOCAL":
        return None, 0
    if name.upper().startswith("LIST") or "%" in name:
        raise DataError("its pixels are in several files; save it as one .mha file", path)
    if "/" in name or "\\" in name or not name.isprintable() or not (path.parent / name).is_file():
        raise DataError(f"its pixels are in {name[:80]!a}, which is not beside it; put both files in one folder", path)
    return path.parent / name, end
