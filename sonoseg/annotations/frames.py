"""Image files by the names that annotations give them, and the frames of files with several.

A frame is called as SonoSeg calls it: `loop_frame0007`, or `loop_0007`, is the seventh frame of `loop.dcm`, with or
without the extension of a picture. CVAT calls the frames of a video `frame_000006`, counted from 0, and exports these
names in all formats; they mean the one file with several frames.
"""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from sonoseg.errors import DataError
from sonoseg.io.image_ref import ImageRef, stem_of
from sonoseg.io.readers import count_frames

_FRAME = re.compile(r"(.+)_(?:frame)?([0-9]{1,9})", re.DOTALL)
_OF_CVAT = re.compile(r"frame_([0-9]{6,9})")


class FrameProblem(ValueError):
    """A name means a file with several frames, `path` where it is known, and no frame of it."""

    def __init__(self, reason: str, path: Path | None = None):
        super().__init__(reason)
        self.path = path


def frame_count(path: Path) -> int:
    """Return the number of frames of a file; 1 for one that cannot be read, which is found when it is decoded."""
    try:
        return count_frames(path)
    except DataError:
        return 1


def split_frame(name: str) -> tuple[str, int] | None:
    """Return the name of the file and the number of the frame, counted from 1, in the name of a frame; else None."""
    match = _FRAME.fullmatch(name)
    return (match.group(1), int(match.group(2))) if match else None


class ImageFiles:
    """The image files of a data folder.

    image_of: id of a file -> its path. frames_of: id -> number of frames, for files with several.
    """

    def __init__(self, image_of: Mapping[str, Path]):
        """The headers of the files are read."""
        self.image_of = image_of
        self.frames_of = {name: count for name, path in image_of.items() if (count := frame_count(path)) > 1}
        self._named = {name: name for name in image_of}
        self._named |= {stem_of(path): name for name, path in image_of.items()}
        self._named |= {path.name: name for name, path in image_of.items()}

    def frame_ref(self, identity: str, frame: int) -> tuple[str, ImageRef]:
        """Return id and reference of a frame, from 0, of the file with this id."""
        return f"{identity}_frame{frame + 1:04d}", ImageRef(self.image_of[identity], frame)

    def frames(self, identity: str) -> Iterator[tuple[str, ImageRef]]:
        """Yield id and reference of each frame of a file."""
        return (self.frame_ref(identity, frame) for frame in range(self.frames_of[identity]))

    def find(self, name: str, source: str = "") -> tuple[str, ImageRef] | None:
        """Return id and reference of the image of this name, with or without an extension; None when there is none.

        source: name of the file that names without one, such as `frame_000006`, belong to; empty when it is unknown.
        Raises FrameProblem, with the reason, for a file with several frames without the number of one that it has.
        """
        identity = self._named.get(name)
        if identity is not None and identity not in self.frames_of:
            return identity, ImageRef(self.image_of[identity])
        identity = identity or self._named.get(Path(name).stem)
        if identity in self.frames_of:
            identity = str(identity)
            raise FrameProblem(
                f"{self.image_of[identity].name} has {self.frames_of[identity]} frames; expected the number of one in "
                f"the name, such as {identity}_frame0001 for the first",
                self.image_of[identity],
            )
        if not self.frames_of:
            return None
        for spelling in dict.fromkeys((name, Path(name).stem)):
            found = split_frame(spelling)
            identity = self._named.get(found[0]) if found else None
            if found and identity in self.frames_of:
                return self._numbered(str(identity), found[1], 1)
        match = _OF_CVAT.fullmatch(Path(name).stem)
        return self._numbered(self._video(source), int(match.group(1)), 0) if match else None

    def _video(self, source: str) -> str:
        """Return the id of the file that the names of CVAT mean."""
        named = self._named.get(source)
        if named in self.frames_of:
            return str(named)
        if len(self.frames_of) > 1:
            raise FrameProblem(
                f"the name is that of a frame of any video, and {len(self.frames_of)} files have several frames; call "
                f"it {next(iter(self.frames_of))}_frame0001 and so on"
            )
        return next(iter(self.frames_of))

    def _numbered(self, identity: str, number: int, first: int) -> tuple[str, ImageRef]:
        count = self.frames_of[identity]
        if not first <= number < first + count:
            raise FrameProblem(
                f"frame {number} of {self.image_of[identity].name}, which has {count} frames, {first} to "
                f"{first + count - 1}; correct the number, or put the file there that was annotated",
                self.image_of[identity],
            )
        return self.frame_ref(identity, number - first)
