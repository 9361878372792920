"""Bytes of the text files that people give: tables and annotations."""

import stat
from pathlib import Path

from sonoseg.errors import DataError

MAX_BYTES = 1 << 28


def read_text_file(path: Path) -> bytes:
    """Return the bytes of a file.

    Raises FileNotFoundError or NotADirectoryError when there is none, DataError for a folder, a device or a pipe, which
    may never end, and for a file of more than `MAX_BYTES`.
    """
    about = path.stat()
    if not stat.S_ISREG(about.st_mode) or about.st_size > MAX_BYTES:
        found = f"a file of {about.st_size >> 20} MiB" if stat.S_ISREG(about.st_mode) else "no regular file"
        raise DataError(f"found {found}; expected text of at most {MAX_BYTES >> 20} MiB", path)
    return path.read_bytes()
