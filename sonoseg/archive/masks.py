"""Label maps as run lengths: for each structure the text of COCO's compressed run lengths, and back."""

from collections.abc import Mapping, Sequence

import numpy as np
from pycocotools import mask as coco

from sonoseg.errors import DataError
from sonoseg.sizes import Size
from sonoseg.types import Pixels


def encode_labels(labels: Pixels, class_names: Sequence[str]) -> dict[str, str]:
    """Return class name -> run lengths of its pixels in a label map `(H, W)` uint8, column by column.

    A structure without a pixel has run lengths too. `pycocotools.mask.decode({"size": [H, W], "counts": text})` gives
    its pixels as 0 and 1.
    """
    found = {}
    for value, name in enumerate(class_names, start=1):
        found[name] = coco.encode(np.asfortranarray(labels == value).view(np.uint8))["counts"].decode("ascii")
    return found


def decode_labels(counts: Mapping[str, str], class_names: Sequence[str], size: Size) -> Pixels:
    """Return the label map `(H, W)` uint8 that `encode_labels` was given; size: (height, width).

    Raises DataError when a structure is missing or two cover a pixel.
    """
    labels = np.zeros(size, np.uint8)
    for value, name in enumerate(class_names, start=1):
        text = counts.get(name)
        if text is None:
            raise DataError(f"no run lengths of {name}; restore the shard from a copy, or run stage 4 again")
        pixels = coco.decode({"size": list(size), "counts": text.encode("ascii")}).astype(bool)
        if labels[pixels].any():
            raise DataError(f"{name} covers another structure; restore the shard from a copy, or run stage 4 again")
        labels[pixels] = value
    return labels
