"""Annotation format `cvat`: one XML file of CVAT, in its format `CVAT for images 1.1`.

Coordinates count from the corner of the first pixel, those of `Shape` from its centre: half a pixel is subtracted when
reading, and added when writing. Masks consist of whole pixels.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import ClassVar
from xml.etree import ElementTree

import numpy as np

from sonoseg.annotations import drawn
from sonoseg.annotations.base import AnnotatedImage, Annotation
from sonoseg.annotations.cvat.file import HALF_PIXEL, CvatFile, parse
from sonoseg.annotations.labelled import ImageFinder, Labels, annotated_images, read_annotation_file
from sonoseg.geometry import SHAPE_KINDS
from sonoseg.geometry.bitmap import Bitmap
from sonoseg.geometry.shapes import Shape
from sonoseg.io.faults import Fault
from sonoseg.io.files import write_bytes
from sonoseg.schema.annotation_formats import Cvat
from sonoseg.schema.annotations import Structure
from sonoseg.sizes import Size
from sonoseg.types import Mask, Points

_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""Characters that XML 1.0 cannot contain."""


class CvatFormat:
    written_as: ClassVar[Mapping[str, str]] = {}
    states_empty: ClassVar[bool] = False
    mixed_kinds: ClassVar[bool] = True

    def read(
        self, data: Path, section: Cvat, structures: Sequence[Structure]
    ) -> tuple[list[AnnotatedImage], list[Fault]]:
        """Read polygons, polylines, boxes, ellipses and masks; tags and attributes are counted, see `AnnotatedImage`.

        An image without any shape may show none, or nobody has annotated it: `section.without_annotation` decides.
        Faults: an image that is not there or occurs twice, points, cuboids and skeletons, which cover no area, and a
        shape that cannot be drawn. Raises DataError when the folder or the file is missing, and for a file that is not
        CVAT for images: not XML, with a document type (no entity is ever expanded), or with the tracks of a video.
        """
        finder = ImageFinder(data, section)
        file = CvatFile(section.file, finder, Labels(section, structures))
        parse(read_annotation_file(data, section.file), file, data / section.file)
        items, faults = annotated_images(file.entries, finder, section, data, file.without_shapes)
        return items, [*finder.faults, *file.faults, *file.labels.faults(section.file), *faults]

    def write(self, data: Path, section: Cvat, annotations: Iterable[Annotation], sync: bool = True) -> None:
        """Write the file: rectangles as boxes, regions as polygons, lines as polylines, bitmaps as masks.

        Coordinates are written in hundredths of a pixel. A bitmap without a pixel inside its image is left out. Raises
        ValueError for an annotation without a size, and for a name that XML cannot contain.
        """
        labels, used = Labels(section, ()), set()
        images = []
        for number, item in enumerate(annotations):
            element = _image_element(number, item, labels)
            used |= {shape.attrib["label"] for shape in element}
            images.append(_text(element))
        head = _text(_meta_element(len(images), sorted(used)))
        lines = ['<?xml version="1.0" encoding="utf-8"?>', "<annotations>", "<version>1.1</version>", head]
        write_bytes(data / section.file, "\n".join([*lines, *images, "</annotations>", ""]).encode("utf-8"), sync)

    def image_files(self, section: Cvat, image: str) -> list[str]:
        return []

    def shared_files(self, section: Cvat) -> list[str]:
        return [section.file]

    def folders(self, section: Cvat) -> list[str]:
        return [section.images]

    def is_annotation(self, path: Path, section: Cvat) -> bool:
        return False


def _text(element: ElementTree.Element) -> str:
    ElementTree.indent(element)
    return ElementTree.tostring(element, encoding="unicode")


def _meta_element(images: int, labels: Sequence[str]) -> ElementTree.Element:
    """Return what CVAT and other programs look up in a file: the labels, which fit tools of any kind."""
    meta = ElementTree.Element("meta")
    task = ElementTree.SubElement(meta, "task")
    ElementTree.SubElement(task, "size").text = str(images)
    ElementTree.SubElement(task, "mode").text = "annotation"
    names = ElementTree.SubElement(task, "labels")
    for name in labels:
        label = ElementTree.SubElement(names, "label")
        ElementTree.SubElement(label, "name").text = name
        ElementTree.SubElement(label, "type").text = "any"
        ElementTree.SubElement(label, "attributes")
    return meta


def _image_element(number: int, item: Annotation, labels: Labels) -> ElementTree.Element:
    if item.size is None:
        raise ValueError(f"{item.image}: has no size, which this format stores")
    if _NOT_XML.search(item.image):
        raise ValueError(f"{item.image!r}: a character of its name cannot be written to XML; rename the image")
    height, width = item.size
    values = {"id": str(number), "name": item.image, "width": str(width), "height": str(height)}
    element = ElementTree.Element("image", values)
    for shape in item.shapes:
        found = _mask_values(shape, item.size) if isinstance(shape, Bitmap) else _shape_values(shape)
        if found is None:
            continue
        tag, values = found
        label = labels.label_of(shape.structure)
        if _NOT_XML.search(label):
            raise ValueError(f"{item.image}: the label {label!r} cannot be written to XML; correct annotations.labels")
        common = {"label": label, "source": "manual", "occluded": "0", "z_order": "0"}
        ElementTree.SubElement(element, tag, {**common, **values})
    return element


def _shape_values(shape: Shape) -> tuple[str, dict[str, str]]:
    """Return name and attributes of the element of a shape."""
    if shape.kind == "ellipse":
        centre, radii, angle = drawn.ellipse_values(shape.points)
        values = dict(zip(("cx", "cy"), centre + HALF_PIXEL, strict=True)) | dict(zip(("rx", "ry"), radii, strict=True))
        # More digits than of coordinates, so that the ends of long axes are exact to hundredths, too.
        return "ellipse", {name: f"{value:.4f}" for name, value in values.items()} | {"rotation": f"{angle % 360:.6f}"}
    points = np.array(SHAPE_KINDS[shape.kind].write_points(shape.points)) + HALF_PIXEL
    if shape.kind == "rectangle":
        centre, sides, angle = drawn.box_values(points)
        corners = [*(centre - np.array(sides) / 2), *(centre + np.array(sides) / 2)]
        values = dict(zip(("xtl", "ytl", "xbr", "ybr"), map(_hundredths, corners), strict=True))
        return "box", {**values, "rotation": f"{angle % 360:.6f}"} if shape.is_turned else values
    return {"line": "polyline", "region": "polygon"}[shape.kind], {"points": _point_list(points)}


def _point_list(points: Points) -> str:
    return ";".join(f"{_hundredths(x)},{_hundredths(y)}" for x, y in points)


def _hundredths(value: float) -> str:
    return f"{value:.2f}"


def _mask_values(bitmap: Bitmap, size: Size) -> tuple[str, dict[str, str]] | None:
    """Return name and attributes of the element of a bitmap; None when it has no pixel inside its image."""
    (rows, columns), mask = bitmap.draw(size)
    if not mask.any():
        return None
    height, width = mask.shape
    box = {"left": columns.start, "top": rows.start, "width": width, "height": height}
    values = {name: str(value) for name, value in box.items()}
    return "mask", {"rle": ", ".join(map(str, run_lengths(mask))), **values}


def run_lengths(mask: Mask) -> list[int]:
    """Return the lengths of the runs of a mask `(h, w)` bool with a pixel, row by row; the first is of zeros."""
    flat = mask.ravel()
    borders = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    lengths: list[int] = np.diff([0, *borders, flat.size]).tolist()
    return [0, *lengths] if flat[0] else lengths
