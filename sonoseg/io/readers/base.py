"""The contract of an image reader."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Protocol

from sonoseg.errors import DataError
from sonoseg.io.image_ref import ImageHeader, ImageRecord, ImageRef
from sonoseg.io.limits import ReadLimits


class ImageReader(Protocol):
    """Reads the files of one family of formats.

    All `read_` methods raise DataError, whose message begins with the path and gives the remedy, for a file that is
    missing, damaged, beyond the limits, or of a kind that is not supported. The limits are checked before pixels are
    decoded. Errors of the machine, such as MemoryError, are never turned into DataError (`opening.decoding`): they say
    nothing about the file. A reader holds no state between calls, and several threads may use it at once.
    """

    @property
    def suffixes(self) -> tuple[str, ...]:
        """Suffixes of file names, in lower case with their dot, by which a folder's images are listed."""
        ...

    def accepts(self, start: bytes) -> bool:
        """Return whether a file that begins with `start` (up to `START_BYTES` bytes) is of this family."""
        ...

    def read_header(self, path: Path, limits: ReadLimits) -> ImageHeader:
        """Return size, number of frames, spacing and patient without decoding pixels.

        Raises DataError also for more than `limits.max_frames` frames; these are not counted any further.
        """
        ...

    def read_image(self, image: ImageRef, limits: ReadLimits, data: bytes | None = None) -> ImageRecord:
        """Decode one image to `(H, W)` uint8 grey in the orientation of display.

        data: the file's bytes; where they are given, pixels, spacing and patient are those of `data`, so that a digest
        of these bytes belongs to the pixels also when the file is replaced meanwhile. A reader whose library decodes
        paths only reads `image.path`, and raises DataError when `io.file_state.file_state` differs before and after
        or the size is not that of `data`.
        Raises DataError also when the file has several frames and `image` names none, or has no such frame.
        """
        ...

    def read_frames(
        self, images: Sequence[ImageRef], limits: ReadLimits, data: bytes | None = None
    ) -> Iterator[ImageRecord | DataError]:
        """Yield each of some images of one file, in the order of their frames, decoded as `read_image` does.

        images: at least one. The file is opened once. An image that cannot be decoded is yielded as its DataError.
        Raises DataError as `read_image` does for the file.
        """
        ...

    def read_loop(self, image: ImageRef, limits: ReadLimits) -> Iterator[ImageRecord | DataError]:
        """Yield each frame of a file in order, decoded as `read_image` does; one is in memory at a time.

        image: file and region; its frame is ignored. A frame that cannot be decoded is yielded as its DataError, and
        those after it follow where the format allows it. Raises DataError as `read_image` does for the file.
        """
        ...


def each_by_itself(
    images: Iterable[ImageRef], read: Callable[[ImageRef], ImageRecord]
) -> Iterator[ImageRecord | DataError]:
    """Yield what `read` returns for each image, or the DataError that it raises; for files that are read by frame."""
    for image in images:
        try:
            record = read(image)
        except DataError as error:
            yield error
        else:
            yield record


def only_record(records: Iterable[ImageRecord | DataError]) -> ImageRecord:
    """Return the one record that a reader yields for one image. Raises its DataError."""
    (record,) = records
    if isinstance(record, DataError):
        raise record
    return record
