"""Reading of files that people give, or may have replaced: regular files of a limited size, text, and JSON."""

import errno
import json
import os
import stat
from contextlib import suppress
from io import BufferedReader
from pathlib import Path
from typing import Any

from sonoseg.errors import DataError

MAX_TEXT_BYTES = 1 << 28
"""Largest table or annotation file that is read."""
MAX_JSON_PARTS = 20_000_000
"""Lists and objects of JSON text, at most: as many points as the largest file holds. Of "[]" it could hold four times
as many, which would take 6 GB of memory."""


def open_regular(path: Path | str, follow_link: bool = True) -> BufferedReader:
    """Open a regular file for reading its bytes.

    Raises OSError for anything else: a folder, a device or a pipe, which may never end, and a link unless
    `follow_link`.
    """
    # Without O_NONBLOCK the opening of a pipe waits for ever.
    flags = os.O_RDONLY | getattr(os, "O_BINARY", 0) | getattr(os, "O_NONBLOCK", 0)
    if not follow_link:
        if os.path.islink(path):  # also where O_NOFOLLOW does not exist
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), str(path))
        flags |= getattr(os, "O_NOFOLLOW", 0)
    handle = os.open(path, flags)
    mode = os.fstat(handle).st_mode
    if not stat.S_ISREG(mode):
        os.close(handle)
        raise OSError(errno.EISDIR if stat.S_ISDIR(mode) else errno.EINVAL, "not a regular file", str(path))
    return os.fdopen(handle, "rb")


def read_regular(path: Path, max_bytes: int, follow_link: bool = False) -> bytes:
    """Return the bytes of a regular file.

    Raises OSError as `open_regular` does, and for a file of more than `max_bytes`, of which nothing is read.
    """
    with open_regular(path, follow_link) as stream:
        size = os.fstat(stream.fileno()).st_size
        if size > max_bytes:
            raise OSError(errno.EFBIG, f"{size} bytes, at most {max_bytes} are read", str(path))
        return stream.read(max_bytes)


def read_text_file(path: Path) -> bytes:
    """Return the bytes of a table or an annotation file.

    Raises DataError for a folder, a device or a pipe, which may never end, and for a file of more than
    `MAX_TEXT_BYTES`; OSError otherwise.
    """
    try:
        return read_regular(path, MAX_TEXT_BYTES, follow_link=True)
    except OSError as error:
        if error.errno not in (errno.EISDIR, errno.EINVAL, errno.EFBIG, errno.ENXIO):  # the last: a socket
            raise
        raise DataError(f"{error.strerror}; expected text of at most {MAX_TEXT_BYTES >> 20} MiB", path) from None


def parse_json(data: str | bytes) -> Any:
    """Return the value of JSON text in UTF-8.

    Raises ValueError for text that is not JSON, and for what other files could not contain: too deep a nesting, more
    than `MAX_JSON_PARTS` lists and objects, numbers of thousands of digits, NaN and infinity, and halves of surrogate
    pairs.
    """
    text = data.encode("utf-8", "surrogatepass") if isinstance(data, str) else data
    if text.count(b"[") + text.count(b"{") > MAX_JSON_PARTS:
        raise ValueError(f"it has more than {MAX_JSON_PARTS} lists and objects")
    try:
        value = json.loads(data)
        json.dumps(value, ensure_ascii=False, allow_nan=False).encode("utf-8")
    except RecursionError:
        raise ValueError("its JSON is nested too deeply") from None
    return value


def read_own_object(path: Path) -> dict[str, Any]:
    """Return the JSON object of a file that SonoSeg has written; empty when it is missing, damaged, or none."""
    with suppress(OSError, ValueError, RecursionError):
        value = json.loads(path.read_bytes())
        return value if isinstance(value, dict) else {}
    return {}
