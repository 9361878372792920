"""Colours of pixels that are indices into a palette (PALETTE COLOR)."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

TABLE_KEYWORDS = [
    f"{kind}{colour}PaletteColorLookupTable{part}"
    for colour in ("Red", "Green", "Blue")
    for kind, part in (("", "Descriptor"), ("", "Data"), ("Segmented", "Data"))
]
"""Keywords of the Palette Colour Lookup Table module (DICOM PS3.3, C.7.6.3), with tables plain or segmented."""


def palette_to_rgb(indices: NDArray[Any], dataset: Any) -> NDArray[np.uint8]:
    """Return the colours `(H, W, 3)` uint8 of palette indices `(H, W)`.

    dataset: with the tables, after `swap_tables`. Entries of 16 bits are scaled to 8 by their high byte, unless none is
    above 255. Raises ValueError, AttributeError or KeyError for tables that are missing or contradict their descriptor.
    """
    from pydicom.pixels import apply_color_lut

    colours = apply_color_lut(indices, dataset)[..., :3]
    if colours.dtype == np.uint8:
        return colours
    return (colours >> 8 if colours.max(initial=0) > 255 else colours).astype(np.uint8)


def swap_tables(dataset: Any) -> None:
    """Change plain tables of 16 bits in a big-endian data set to the byte order that pydicom takes them to have.

    Segmented tables stay: pydicom heeds their byte order.
    """
    for keyword in TABLE_KEYWORDS:
        if keyword.endswith("Data") and not keyword.startswith("Segmented") and keyword in dataset:
            data, entries = dataset[keyword].value, dataset.RedPaletteColorLookupTableDescriptor[0] or 2**16
            if len(data) >= 2 * entries:
                dataset[keyword].value = np.frombuffer(data, ">u2").astype("<u2").tobytes()
