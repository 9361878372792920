"""Masks of the frames of a file with several: a mask for single frames, or a file with a mask for each frame."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from sonoseg.annotations.base import AnnotatedImage, MaskFile
from sonoseg.annotations.frames import ImageFiles, frame_count, split_frame
from sonoseg.io.faults import Fault, error

ByName = Mapping[str | None, Mapping[str, Sequence[Path]]]
"""Structure -> the name that a mask shares with its image -> masks."""

Problem = Callable[[str, Mapping[str | None, Sequence[Path]]], str | None]
"""Returns what is wrong with the masks of an image of this name; None where there is one for each structure."""


@dataclass(frozen=True)
class FrameMasks:
    """The masks of a folder, to be paired with the frames of a file.

    problem: see `Problem`; where an image without a mask shows no structure, none is missing. values, outlined: see
    `MaskFile` and `AnnotatedImage`. keep_empty: a mask without a structure states that its frame shows none.
    """

    data: Path
    masks: ByName
    problem: Problem
    values: tuple[tuple[int | str, str | None], ...] = ()
    outlined: bool = False
    keep_empty: bool = False

    @cached_property
    def numbered(self) -> dict[str, dict[str, int]]:
        """Name of a file -> shared name of the masks of its single frames -> number of the frame, from 1."""
        numbered: dict[str, dict[str, int]] = {}
        for key in {key for by_name in self.masks.values() for key in by_name}:
            found = split_frame(key)
            if found:
                numbered.setdefault(found[0], {})[key] = found[1]
        return numbered

    def read(self, identity: str, name: str, files: ImageFiles) -> tuple[list[AnnotatedImage], list[Fault]]:
        """Return the annotated frames of a file, of this id and shared name, and the faults of its masks.

        Neither, where there is no mask. Frames without one are left out, and pages of a mask without a structure unless
        `keep_empty`.
        """
        where = files.image_of[identity].relative_to(self.data).as_posix()
        numbered = self.numbered.get(name, {})
        whole = {structure: by_name.get(name, ()) for structure, by_name in self.masks.items()}
        if any(whole.values()):
            problem = self.problem(name, whole) or self._pages_problem(whole, files.frames_of[identity])
            if problem is None and numbered:
                problem = "has a mask for the whole file and masks for single frames; keep one kind"
            if problem:
                return [], [error(where, problem, "no_mask", identity)]
            return list(self._of_pages(identity, whole, files)), []
        items: list[AnnotatedImage] = []
        faults = []
        for key, number in sorted(numbered.items(), key=lambda entry: (entry[1], entry[0])):
            of_key = {structure: by_name.get(key, ()) for structure, by_name in self.masks.items()}
            item, problem = self._of_frame(identity, key, number, of_key, files)
            if item and item.id in {other.id for other in items}:
                problem = f"a second mask of frame {number}; keep one"
            if problem:
                mask = next(path for paths in of_key.values() for path in paths)
                faults.append(error(mask.relative_to(self.data).as_posix(), problem, "no_mask", identity))
            elif item:
                items.append(item)
        return items, faults

    def _of_frame(
        self,
        identity: str,
        key: str,
        number: int,
        masks: Mapping[str | None, Sequence[Path]],
        files: ImageFiles,
    ) -> tuple[AnnotatedImage | None, str | None]:
        count = files.frames_of[identity]
        if not 1 <= number <= count:
            file = files.image_of[identity].name
            return None, f"a mask of frame {number} of {file}, which has {count} frames, 1 to {count}; correct the name"
        problem = self.problem(key, masks)
        if problem:
            return None, problem
        id, image = files.frame_ref(identity, number - 1)
        found = tuple(MaskFile(path, structure, self.values) for structure, paths in masks.items() for path in paths)
        return AnnotatedImage(id, image, found, self.outlined), None

    def _pages_problem(self, masks: Mapping[str | None, Sequence[Path]], frames: int) -> str | None:
        for path in (path for paths in masks.values() for path in paths):
            pages = frame_count(path)
            if pages != frames:
                has = "1 page" if pages == 1 else f"{pages} pages"
                return (
                    f"has {frames} frames, and its mask {path.name} has {has}; expected a page for each frame, or "
                    "masks of single frames with the number in the name, such as _frame0001"
                )
        return None

    def _of_pages(
        self, identity: str, masks: Mapping[str | None, Sequence[Path]], files: ImageFiles
    ) -> Iterator[AnnotatedImage]:
        for page, (id, image) in enumerate(files.frames(identity)):
            files_of = [(path, structure) for structure, paths in masks.items() for path in paths]
            found = tuple(MaskFile(path, structure, self.values, page) for path, structure in files_of)
            yield AnnotatedImage(id, image, found, self.outlined, drop_empty=not self.keep_empty)
