"""Annotation formats. A new one is a function with the signature `Reader` and a line here."""

from sonoseg.annotations.base import Annotated, Reader
from sonoseg.annotations.mask_folder import read_mask_folder
from sonoseg.annotations.shapes_json import read_shapes_json

READERS: dict[str, Reader] = {"shapes_json": read_shapes_json, "mask_folder": read_mask_folder}

__all__ = ["READERS", "Annotated", "Reader"]
