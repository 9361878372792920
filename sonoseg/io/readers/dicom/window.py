"""Grey levels of stored values of more than 8 bits."""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

WINDOW_KEYWORDS = ("WindowCenter", "WindowWidth", "VOILUTFunction", "RescaleSlope", "RescaleIntercept")


def grey_levels(dataset: Any) -> NDArray[np.uint8]:
    """Return the grey level of each stored value, `(2**BitsStored,)`.

    More than 8 bits of one grey component are seen through the first window of the header, as viewers show them
    (PS3.3 C.11.2.1.2, computed by pydicom). Without a valid window, and for colours, levels are in proportion to the
    values. 8 bits are as they are stored.
    """
    most = (1 << dataset.BitsStored) - 1
    stored = np.arange(most + 1, dtype=np.uint32)
    if dataset.BitsStored > 8 and str(dataset.PhotometricInterpretation).startswith("MONOCHROME"):
        shares = _through_window(stored, dataset)
        if shares is not None:
            return np.rint(255 * shares).astype(np.uint8)
    return ((stored * 255 + most // 2) // most).astype(np.uint8)


def _through_window(stored: NDArray[np.uint32], dataset: Any) -> NDArray[np.float64] | None:
    """Return the brightness of stored values, from 0 to 1; None without a valid window."""
    from pydicom.pixels import apply_rescale, apply_windowing

    if dataset.get("WindowCenter") in (None, "") or dataset.get("WindowWidth") in (None, ""):
        return None
    try:
        ends = apply_rescale(np.array([stored[0], stored[-1]]), dataset)
        shown = (apply_windowing(apply_rescale(stored, dataset), dataset) - ends[0]) / (float(ends[1]) - ends[0])
    except (ArithmeticError, AttributeError, IndexError, TypeError, ValueError):
        return None
    return shown if math.isfinite(shown.sum()) and shown.min() >= 0 and shown.max() <= 1 else None
