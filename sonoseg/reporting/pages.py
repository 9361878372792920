"""HTML pages: each is a single self-contained file without scripts and without network access.

A page is a template in `templates/` that extends `base.html.j2` and fills its blocks `title`, `heading` and
`content`. `macros.html.j2` contains the macros that pages share. The page's content security policy allows neither
scripts nor requests, and all values are escaped, so that a file name cannot become markup.
"""

import base64
import io
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from jinja2 import Environment
    from matplotlib.figure import Figure

TEMPLATES = Path(__file__).with_name("templates")

JPEG_QUALITY = 85

DPI = 160
"""Resolution of charts: above that of a screen, for paper and dense displays."""


def render(template: str, **values: Any) -> str:
    """Return the HTML text of `template`, a file of `sonoseg/reporting/templates`, filled with `values`.

    Equal values give equal text. Every value is escaped. Raises jinja2.UndefinedError for a value that the template
    uses and that is missing, jinja2.TemplateNotFound for an unknown template.
    """
    return _environment().get_template(template).render(**values)


def picture_uri(pixels: NDArray[np.uint8], kind: Literal["png", "jpeg"] = "png") -> str:
    """Return `(H, W)` grey or `(H, W, 3)` RGB uint8 as a `data:` URI; JPEG is small and lossy, PNG exact.

    Raises ValueError for another shape or type, and for a picture without pixels.
    """
    if pixels.dtype != np.uint8 or pixels.size == 0 or not (pixels.ndim == 2 or pixels.shape[2:] == (3,)):
        raise ValueError(f"a picture of {pixels.dtype} {pixels.shape}; expected uint8 (H, W) or (H, W, 3), not empty")
    if pixels.ndim == 3:
        pixels = cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR)
    if kind == "png":
        _, data = cv2.imencode(".png", pixels, [cv2.IMWRITE_PNG_COMPRESSION, 6])
    else:
        _, data = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY, cv2.IMWRITE_JPEG_OPTIMIZE, 1])
    return _uri(f"image/{kind}", data.tobytes())


def new_figure(width_px: int, height_px: int) -> "Figure":
    """Return an empty matplotlib figure that fills `width_px` x `height_px` of a page, in the style of the pages.

    It belongs to no window and no global list, so it need not be closed. Text is 9 pt, the size of a caption.
    """
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    with rc_context({"font.size": 9}):
        return Figure(figsize=(width_px / 96, height_px / 96), layout="constrained", facecolor="white", dpi=DPI)


def figure_uri(figure: "Figure") -> str:
    """Return a matplotlib figure as a `data:` URI (PNG), and clear it; equal figures give equal bytes."""
    from matplotlib import rc_context
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    stream = io.BytesIO()
    canvas = FigureCanvasAgg(figure)
    with rc_context({"font.size": 9, "axes.spines.top": False, "axes.spines.right": False}):
        canvas.print_png(stream, metadata={"Software": None})
    figure.clear()
    return _uri("image/png", stream.getvalue())


def number(value: float | None, digits: int = 0) -> str:
    """Return a formatted number: thousands separated, `digits` decimals, a dash for None and NaN."""
    if value is None or value != value:
        return "\u2013"
    return f"{value:,.{digits}f}".replace(",", "\u202f")


def percent(fraction: float | None, digits: int = 0) -> str:
    """Return a fraction 0 to 1 as percent; a dash for None."""
    return number(None if fraction is None else 100 * fraction, digits) + ("" if fraction is None else "\u202f%")


@cache
def _environment() -> "Environment":
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {"number": number, "percent": percent}
    return environment


def _uri(kind: str, data: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(data).decode('ascii')}"
