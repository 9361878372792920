"""Annotation formats. A new format is a class with the interface of `AnnotationFormat` and a line in `FORMATS`."""

from sonoseg.annotations.base import AnnotatedImage, Annotation, AnnotationFormat, MaskFile
from sonoseg.annotations.coco import CocoFormat
from sonoseg.annotations.cvat.format import CvatFormat
from sonoseg.annotations.label_studio.format import LabelStudioFormat
from sonoseg.annotations.labelme import LabelMeFormat
from sonoseg.annotations.masks.format import MaskFolderFormat
from sonoseg.annotations.shapes_json import ShapesJsonFormat

FORMATS: dict[str, AnnotationFormat] = {
    "shapes_json": ShapesJsonFormat(),
    "mask_folder": MaskFolderFormat(),
    "labelme": LabelMeFormat(),
    "coco": CocoFormat(),
    "cvat": CvatFormat(),
    "label_studio": LabelStudioFormat(),
}
"""`annotations.format` of a task file -> the format."""

__all__ = ["FORMATS", "AnnotatedImage", "Annotation", "AnnotationFormat", "MaskFile"]
