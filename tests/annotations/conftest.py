"""Shared by the tests of annotation tools: a folder of images whose annotation file is written and read."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sonoseg.annotations import FORMATS, AnnotatedImage
from sonoseg.io.faults import Fault
from sonoseg.sizes import Size
from tests.annotations.two_structures import STRUCTURES

ReadFile = Callable[[Any, str, str | bytes], tuple[list[AnnotatedImage], list[Fault]]]


@pytest.fixture
def images_of(tmp_path: Path, write_picture: Callable[..., Path]) -> Callable[..., ReadFile]:
    """Return a function that writes images of a size, and gives one that writes an annotation file and reads it.

    The latter takes the section of the format, the file's name in the data folder `tmp_path`, and its contents.
    """

    def prepare(size: Size, *names: str) -> ReadFile:
        for name in names:
            write_picture(tmp_path / "images" / name, size=size)

        def read(section: Any, file: str, content: str | bytes) -> tuple[list[AnnotatedImage], list[Fault]]:
            (tmp_path / file).write_bytes(content if isinstance(content, bytes) else content.encode())
            return FORMATS[section.format].read(tmp_path, section, STRUCTURES)

        return read

    return prepare
