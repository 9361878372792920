"""The XML file of CVAT, taken element by element as the parser reads it, so that no tree of it is in memory."""

import math
import re
from collections.abc import Mapping
from dataclasses import replace
from itertools import islice
from pathlib import Path
from xml.etree.ElementTree import ParseError

import numpy as np
from defusedxml import DefusedXmlException
from defusedxml.ElementTree import DefusedXMLParser

from sonoseg.annotations import drawn
from sonoseg.annotations.labelled import (
    MAX_SHAPES,
    Entry,
    ImageFinder,
    Labels,
    check_count,
    quoted,
    too_many_shapes,
)
from sonoseg.annotations.unread import count_unread, filled_names, is_filled
from sonoseg.errors import DataError
from sonoseg.geometry.bitmap import Bitmap
from sonoseg.geometry.shape_kind import MAX_POINTS
from sonoseg.geometry.shapes import Shape
from sonoseg.io.faults import Fault, error
from sonoseg.io.limits import MAX_PIXELS
from sonoseg.schema.annotations import Structure
from sonoseg.sizes import Size

HALF_PIXEL = 0.5

MAX_DEPTH = 20
"""CVAT nests 7 elements; thousands of them would exhaust the memory."""

MAX_NAME = 1000
"""Characters of the name of a video, and more, as texts are read in pieces."""

MAX_COORDINATE = 1e6
"""Largest coordinate, in pixels, that is read; images have far fewer."""

DIGITS = 6
"""Of a pixel, after the decimal point: what subtracting half a pixel leaves behind is rounding."""

SHAPE_FIELDS: tuple[str, ...] = ("label", "points", "xtl", "ytl", "xbr", "ybr", "cx", "cy", "rx", "ry", "rotation")
SHAPE_FIELDS += ("rle", "left", "top", "width", "height", "outside", "source")
"""What the element of a shape says besides attributes."""

MAX_ATTRIBUTES = 1000
"""Attributes of a shape that are counted; each takes more memory than its text."""

EXPORT = "export the task from CVAT again, in the format 'CVAT for images 1.1'"

_WHOLE = re.compile(r"\s*[0-9]{1,9}\s*")
_WHOLE_NUMBERS = re.compile(r"\s*+[0-9]{1,9}\s*+(?:,\s*+[0-9]{1,9}\s*+)*+")
"""Possessive, as a pattern that may go back keeps a record of every number."""

Attributes = Mapping[str, str]


class CvatFile:
    """What the elements of a file say; the parser calls `start`, `data`, `end` and `close`.

    entries: id of an image -> its shapes and its size. without_shapes: ids of images without any shape, an ignored or
    a faulty one included. faults: those of labels excepted, which `labels` has.
    """

    def __init__(self, name: str, finder: ImageFinder, labels: Labels):
        """name: of the file, for messages."""
        self.labels = labels
        self.entries: dict[str, Entry] = {}
        self.without_shapes: set[str] = set()
        self.faults: list[Fault] = []
        self._name, self._finder = name, finder
        self._depth, self._is_source = 0, False
        self._image: str | None = None  # id of the image whose element is open, None when it has a fault of its own
        self._where = name
        self._shapes: list[tuple[int, Shape | Bitmap]] = []
        self._count = 0
        self._unread: dict[str, None] | None = None  # of the open shape or tag, None when it is not used
        self._attribute, self._text = "", ""

    def start(self, tag: str, attributes: Attributes) -> None:
        """Take the start of an element. Raises DataError for one that CVAT for images does not have."""
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise DataError(f"elements inside each other more than {MAX_DEPTH} times; {EXPORT}")
        if self._depth == 1 and tag != "annotations":
            raise DataError(f"the first element is {quoted(tag)}, expected 'annotations'; {EXPORT}")
        if self._depth == 2 and tag == "track":
            raise DataError(f"has tracks, as 'CVAT for video' exports; {EXPORT}")
        self._is_source = tag == "source"
        if self._depth == 2 and tag == "image":
            self._open_image(attributes)
        elif self._depth == 3 and self._image is not None:
            if tag == "tag":
                self._unread = {attributes.get("label", ""): None}
            elif self._take_shape(tag, attributes):
                self._unread = dict.fromkeys(islice(filled_names(attributes, SHAPE_FIELDS), MAX_ATTRIBUTES))
        elif self._depth == 4:
            self._attribute, self._text = attributes.get("name", ""), ""

    def data(self, text: str) -> None:
        """Take text between elements: the name of the video of which the task was made, or an attribute's value."""
        if self._is_source and len(self._finder.source) < MAX_NAME:
            self._finder.source += text.strip()
        elif self._depth == 4 and len(self._text) < MAX_NAME:
            self._text += text.strip()

    def end(self, tag: str) -> None:
        """Take the end of an element."""
        self._is_source = False
        if self._depth == 4 and tag == "attribute" and self._unread is not None:
            if is_filled(self._attribute, self._text) and len(self._unread) < MAX_ATTRIBUTES:
                self._unread[self._attribute] = None
        elif self._depth == 3 and self._image is not None and self._unread is not None:
            count_unread(self.entries[self._image].unread, self._unread, "image" if tag == "tag" else "shape")
            self._unread = None
        if self._depth == 2 and self._image is not None:
            self.entries[self._image] = replace(self.entries[self._image], shapes=tuple(self._shapes))
            if self._count == 0:
                self.without_shapes.add(self._image)
            self._image = None
        self._depth -= 1

    def close(self) -> None:
        """Take the end of the file."""

    def _open_image(self, attributes: Attributes) -> None:
        name = attributes.get("name", "")
        self._where, self._shapes, self._count = f"{self._name}, {quoted(name)}", [], 0
        image = self._finder.find(name)
        if image is None:
            if not self._finder.is_refused(name):
                message = "annotation for an image that is not in the folder of the images; put it there"
                self._add_fault(self._where, self._finder.problem(name, message), "no_image")
        elif image in self.entries:
            self._add_fault(self._where, "a second annotation of the same image; keep one", image=image)
        else:
            self._image = image
            self.entries[image] = Entry(size=self._size(attributes))

    def _size(self, attributes: Attributes) -> Size | None:
        texts = [attributes[name] for name in ("height", "width") if name in attributes]
        if not texts:
            return None
        if len(texts) < 2 or not all(_WHOLE.fullmatch(text) for text in texts):
            found = " and ".join(quoted(text) for text in texts)
            self._add_fault(self._where, f"its height and width are {found}; expected two whole numbers; {EXPORT}")
            return None
        return int(texts[0]), int(texts[1])

    def _take_shape(self, tag: str, attributes: Attributes) -> bool:
        """Take a shape, or its fault; return whether it is used."""
        index = self._count
        self._count += 1
        if index >= MAX_SHAPES:
            if index == MAX_SHAPES:
                self._add(too_many_shapes(self._where, self._image))
            return False
        label = attributes.get("label", "")
        where = f"{self._where}, shape {index}"
        if not label:
            self._add_fault(where, "has no label; give it one in CVAT, and export again", "shape", self._image)
            return False
        structure = self.labels.structure(label)
        if structure is None or attributes.get("outside") == "1":
            return False
        try:
            self._shapes += [(index, shape) for shape in _drawn(tag, attributes, structure)]
            return True
        except ValueError as problem:
            self._add_fault(where, f"{structure.name}: {problem}", "shape", self._image)
            return False

    def _add_fault(self, where: str, message: str, kind: str = "", image: str | None = None) -> None:
        self._add(error(where, message, kind, image))

    def _add(self, fault: Fault) -> None:
        self.faults.append(fault)
        check_count(self.faults, None, EXPORT)


def parse(text: bytes, file: CvatFile, path: Path) -> None:
    """Give the elements of an XML file to `file`. Raises DataError for what is not XML of CVAT; `path` is named."""
    # Without a document type there are no entities, which a short text can expand to gigabytes, or to other files.
    parser = DefusedXMLParser(target=file, forbid_dtd=True)
    try:
        parser.feed(text)
        parser.close()
    except DataError as problem:
        raise DataError(problem.reason, path) from None
    except DefusedXmlException:
        raise DataError(f"has a document type, which files of CVAT do not; {EXPORT}", path) from None
    except ParseError as problem:
        line, column = problem.position
        reason = str(problem).rsplit(":", 1)[0]
        raise DataError(f"{path}, line {line}, column {column + 1}: not XML: {reason}; {EXPORT}") from None
    except (ValueError, LookupError) as problem:  # an encoding that does not exist, or is not what it says
        raise DataError(f"not readable as XML: {problem}; {EXPORT}", path) from None


def _drawn(tag: str, attributes: Attributes, structure: Structure) -> list[Shape | Bitmap]:
    """Return the shapes of an element. Raises ValueError with the reason, without the structure's name."""
    if tag == "polygon":
        return [drawn.polygon(structure, _points(attributes))]
    if tag == "polyline":
        return [*drawn.polyline(structure, _points(attributes))]
    if tag == "box":
        left, top, right, bottom = (_pixel(attributes, name) for name in ("xtl", "ytl", "xbr", "ybr"))
        angle = _number(attributes, "rotation", 0.0)
        if angle == 0:
            return [drawn.box(structure, (left, top), (right, bottom))]
        centre = (left + right) / 2, (top + bottom) / 2
        return [drawn.rotated_box(structure, centre, (right - left, bottom - top), angle)]
    if tag == "ellipse":
        centre = _pixel(attributes, "cx"), _pixel(attributes, "cy")
        radii = _number(attributes, "rx"), _number(attributes, "ry")
        return [drawn.ellipse(structure, centre, radii, _number(attributes, "rotation", 0.0))]
    if tag == "mask":
        return [_bitmap(attributes, structure)]
    raise ValueError(f"its element is {quoted(tag)}, which covers no area; draw a polygon, a box, an ellipse or a mask")


def _number(attributes: Attributes, name: str, default: float | None = None) -> float:
    if name in attributes:
        return _read_number(attributes[name], name)
    if default is None:
        raise ValueError(f"{name} is missing; {EXPORT}")
    return default


def _read_number(text: str, name: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not abs(value) <= MAX_COORDINATE:
        raise ValueError(f"{name} is {quoted(text)}; expected a number of at most {MAX_COORDINATE:.0f}")
    return value


def _pixel(attributes: Attributes, name: str) -> float:
    return _from_corner(_number(attributes, name))


def _from_corner(value: float) -> float:
    """Return a coordinate that counts from the corner of the first pixel as one that counts from its centre."""
    return round(value - HALF_PIXEL, DIGITS)


def _points(attributes: Attributes) -> list[list[float]]:
    """Return the points of `x,y;x,y`."""
    text = attributes.get("points", "")
    count = text.count(";") + 1
    if count > MAX_POINTS:
        raise ValueError(f"{count} points; at most {MAX_POINTS} are read: simplify the outline")
    pairs = [pair.split(",", 2) for pair in text.split(";")]
    if any(len(pair) != 2 for pair in pairs):
        raise ValueError(f"points are {quoted(text)}; expected 'x,y;x,y' and so on")
    return [[_from_corner(_read_number(value, "a coordinate")) for value in pair] for pair in pairs]


def _bitmap(attributes: Attributes, structure: Structure) -> Bitmap:
    """Return the pixels of a mask: lengths of runs in its box, row by row, the first of zeros."""
    left, top, width, height = (_whole(attributes, name) for name in ("left", "top", "width", "height"))
    pixels, text = width * height, attributes.get("rle", "")
    if width < 1 or height < 1 or pixels > MAX_PIXELS:
        raise ValueError(f"a mask of {width}x{height} pixels; expected at least one and at most {MAX_PIXELS}")
    if not _WHOLE_NUMBERS.fullmatch(text):
        raise ValueError(f"its rle is {quoted(text)}; expected whole numbers, separated by commas")
    # Only the first run, of zeros, may be empty, so more numbers than that are of no mask, and take much memory.
    counts = np.fromstring(text, np.int64, sep=",") if text.count(",") <= pixels else np.zeros(0, np.int64)
    if counts.sum() != pixels:
        raise ValueError(f"the runs of its rle do not add up to its {width}x{height} pixels; {EXPORT}")
    mask = np.repeat(np.arange(len(counts)) % 2 == 1, counts).reshape(height, width)
    return Bitmap.of(structure.name, mask, left, top)


def _whole(attributes: Attributes, name: str) -> int:
    value = _number(attributes, name)
    if not value.is_integer():
        raise ValueError(f"{name} is {value:g}; expected a whole number")
    return int(value)
