"""Opening image files: errors of the file become DataError, those of the machine (memory, open files) do not."""

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from errno import EINVAL, EISDIR
from pathlib import Path
from typing import BinaryIO

from sonoseg.errors import DataError, SonoSegError, is_machine_error
from sonoseg.io.file_state import FileState, state_of
from sonoseg.io.limits import ReadLimits
from sonoseg.io.reading import open_regular


@contextmanager
def opened(path: Path) -> Iterator[BinaryIO]:
    """Open a regular file for reading.

    Raises DataError when it is missing, may not be read, or is a folder, a device or a pipe; machine errors as such.
    """
    try:
        with open_regular(path) as stream:
            yield stream
    except SonoSegError:
        raise
    except FileNotFoundError:
        raise DataError("no such file; check the path", path) from None
    except OSError as error:
        if is_machine_error(error):
            raise
        remedy = "give an image file" if error.errno in (EISDIR, EINVAL) else "check its permissions"
        raise DataError(f"cannot be read ({error.strerror}); {remedy}", path) from error


def read_file(path: Path, limits: ReadLimits) -> bytes:
    """Return the bytes of an image file, of which a digest and the pixels can be computed alike.

    Raises DataError as `opened` does, and for a file of more than `limits.max_bytes`.
    """
    with opened(path) as stream:
        check_length(stream, path, limits)
        return stream.read()


def digest_of_file(path: Path, limits: ReadLimits) -> tuple[str, FileState]:
    """Return the SHA-256 of an image file and its state before that, without keeping its bytes in memory.

    Raises DataError as `read_file` does.
    """
    with opened(path) as stream:
        check_length(stream, path, limits)
        state = state_of(os.fstat(stream.fileno()))
        return hashlib.file_digest(stream, "sha256").hexdigest(), state  # type: ignore[arg-type]


def check_length(stream: BinaryIO, path: Path, limits: ReadLimits) -> None:
    """Raise DataError for a file of more than `limits.max_bytes`; the stream is at its beginning afterwards."""
    size = stream.seek(0, os.SEEK_END)
    if size > limits.max_bytes:
        raise DataError(f"{size} bytes; at most {limits.max_bytes} are read, split the file or compress it", path)
    stream.seek(0)


@contextmanager
def decoding(image: object, fault: str = "the file is damaged or cut short ({error}); replace it") -> Iterator[None]:
    """Turn any error of a decoder into a DataError with `fault`: decoders raise errors of many types for a bad file.

    Machine errors, and those that are SonoSeg's already, pass unchanged. image: what the message begins with.
    """
    try:
        yield
    except SonoSegError:
        raise
    except Exception as error:
        if is_machine_error(error):
            raise
        raise DataError(fault.format(error=error), image) from error
