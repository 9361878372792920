"""Opening image files: errors of the file become DataError, those of the machine (memory, open files) do not."""

import hashlib
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from errno import EINVAL, EISDIR
from pathlib import Path
from typing import BinaryIO

from sonoseg.errors import DataError, SonoSegError, is_machine_error
from sonoseg.io.file_state import FileState, state_now, state_of
from sonoseg.io.limits import ReadLimits
from sonoseg.io.readers.meta_header import META_SUFFIXES, MOST_HEADER, separate_values
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

    A MetaImage header whose values are in another file is followed by the bytes of that file. Raises DataError as
    `opened` does, and for a file of more than `limits.max_bytes`.
    """
    with opened(path) as stream:
        check_length(stream, path, limits)
        data = stream.read()
    file, length = separate_values(data[:MOST_HEADER], path)
    if file is None:
        return data
    with opened(file) as stream:
        check_length(stream, file, limits)
        return data[:length] + stream.read()


def digest_of_file(path: Path, limits: ReadLimits) -> tuple[str, dict[Path, FileState]]:
    """Return the SHA-256 of `read_file`, without keeping the bytes in memory, and the state before of each file read.

    Raises DataError as `read_file` does.
    """
    with opened(path) as stream:
        check_length(stream, path, limits)
        states = {path: state_of(os.fstat(stream.fileno()))}
        file, length = separate_values(stream.read(MOST_HEADER), path)
        stream.seek(0)
        if file is None:
            return hashlib.file_digest(stream, "sha256").hexdigest(), states  # type: ignore[arg-type]
        digest = hashlib.sha256(stream.read(length))
    with opened(file) as stream:
        check_length(stream, file, limits)
        states[file] = state_of(os.fstat(stream.fileno()))
        hashlib.file_digest(stream, lambda: digest)  # type: ignore[arg-type]
    return digest.hexdigest(), states


def is_unchanged(states: Mapping[Path, FileState]) -> bool:
    """Return whether all these files are still in these states. Raises OSError, but not for a file that is missing."""
    return all(state_now(path) == state for path, state in states.items())


def files_of(path: Path) -> list[Path]:
    """Return the files that an image consists of: `path`, and that of the values where a MetaImage header names one.

    It is left out while it is missing, or the header cannot be read. Only files with a suffix of MetaImage are opened.
    Raises machine errors alone.
    """
    if path.suffix.lower() not in META_SUFFIXES:
        return [path]
    try:
        with opened(path) as stream:
            values, _ = separate_values(stream.read(MOST_HEADER), path)
    except DataError:
        return [path]
    return [path] if values is None else [path, values]


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
