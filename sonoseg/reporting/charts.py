"""The figures of an evaluation: Bland-Altman plots, the distribution of Dice, outlines on images.

Colours are of Okabe and Ito's palette, which is safe for colour-blind readers.
Matplotlib is imported when a chart is drawn.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from numpy.typing import NDArray

from sonoseg.io.masks import rgb
from sonoseg.reporting.pages import new_figure
from sonoseg.types import Pixels

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

REFERENCE_COLOR = "#56b4e9"
PREDICTION_COLOR = "#e69f00"
POINT_COLOR = "#0072b2"
LINE_COLOR = "#d55e00"

CHART_WIDTH_PX = 520
CHART_HEIGHT_PX = 340

FONT: Any = {"font.size": 10}

_SUBPIXEL_BITS = 4
_TINT = 0.4


def bland_altman(
    title: str,
    unit: str,
    predictions: Sequence[float],
    references: Sequence[float],
    bias: float,
    limits: Sequence[float | None],
) -> "Figure":
    """Draw prediction minus reference against the mean of the two, with the bias and the 95 % limits of agreement.

    Bland and Altman 1986. All values are in `unit`, which may be empty; `limits` are the lower and the upper limit,
    not drawn when they are None.
    """
    from matplotlib import rc_context

    predicted, reference = np.asarray(predictions, dtype=float), np.asarray(references, dtype=float)
    errors = predicted - reference
    low, high = limits
    in_unit = f" ({unit})" if unit else ""
    lines = {"bias": bias}
    if low is not None and high is not None:
        lines = {"+1.96 SD": high, "bias": bias, "\N{MINUS SIGN}1.96 SD": low}
    with rc_context(FONT):
        figure = new_figure(CHART_WIDTH_PX, CHART_HEIGHT_PX)
        axes = _axes(figure)
        axes.axhline(0, color="0.75", linewidth=0.8, zorder=0)
        axes.plot(
            (predicted + reference) / 2, errors, "o", color=POINT_COLOR, alpha=0.6, markersize=4.5, markeredgewidth=0
        )
        for name, value in lines.items():
            width, style = (1.4, "-") if name == "bias" else (1.2, "--")
            axes.axhline(value, color=LINE_COLOR, linewidth=width, linestyle=style)
        axes.set_title(f"{title}, n = {len(errors)}", loc="left", fontweight="bold")
        axes.set(
            xlabel=f"mean of prediction and reference{in_unit}", ylabel=f"prediction \N{MINUS SIGN} reference{in_unit}"
        )
        axes.margins(y=0.12)
        _label_lines(axes, lines, unit)
    return figure


def _label_lines(axes: "Axes", lines: dict[str, float], unit: str) -> None:
    """Write name and value of horizontal lines, highest first, beside the axes without overlap."""
    bottom, top = axes.get_ylim()
    axes.set_ylim(bottom, top)
    apart = 0.13 * (top - bottom)
    names, values = list(lines), list(lines.values())
    middle = values[len(values) // 2]
    places = [middle]
    if len(values) > 1:
        places = [max(values[0], middle + apart), middle, min(values[-1], middle - apart)]
    digits = 2 if max(map(abs, values)) < 100 else 1
    for name, value, place in zip(names, values, places, strict=True):
        text = f"{name}\n{value:+.{digits}f} {unit}".replace("-", "\N{MINUS SIGN}").rstrip()
        where = axes.get_yaxis_transform()  # x in parts of the axes, y in data
        axes.text(1.02, place, text, transform=where, va="center", fontsize=9, color=LINE_COLOR)


def dice_distribution(dice: dict[str, Sequence[float]]) -> "Figure":
    """Draw each class's Dice per image: a box (quartiles; whiskers to 1.5 times their distance) and every value.

    `dice` is class -> one or more values from 0 to 1.
    """
    from matplotlib import rc_context

    draw = np.random.default_rng(0)
    with rc_context(FONT):
        figure = new_figure(720, 90 + 62 * len(dice))
        axes = _axes(figure)
        places = range(len(dice), 0, -1)
        for place, values in zip(places, dice.values(), strict=True):
            heights = place + draw.uniform(-0.22, 0.22, len(values))
            axes.plot(values, heights, "o", color=POINT_COLOR, alpha=0.35, markersize=3.5, markeredgewidth=0)
            line = {"color": "black", "linewidth": 1.1}
            axes.boxplot(
                list(values),
                positions=[place],
                orientation="horizontal",
                widths=0.55,
                showfliers=False,
                boxprops=line,
                whiskerprops=line,
                capprops=line,
                medianprops={"color": LINE_COLOR, "linewidth": 2},
            )
        axes.set_yticks(list(places), list(dice))
        axes.set(xlabel="Dice", ylim=(0.4, len(dice) + 0.6))
        axes.set_xlim(right=1.005)
        axes.grid(axis="x", alpha=0.3)
    return figure


def risk_coverage(
    coverage: Sequence[float], quality: Sequence[float], oracle: Sequence[float], random: float
) -> "Figure":
    """Draw the mean of 1 - Dice of the results that are kept against their share of all images, worst left out first.

    quality: left out by expected Dice; oracle: by their Dice itself; random: the mean of all, in whatever order.
    """
    from matplotlib import rc_context

    with rc_context(FONT):
        figure = new_figure(CHART_WIDTH_PX, CHART_HEIGHT_PX)
        axes = _axes(figure)
        share = 100 * np.asarray(coverage)
        axes.axhline(random, color="0.5", linewidth=1.2, linestyle=":", label="random order")
        axes.plot(share, oracle, color=REFERENCE_COLOR, linewidth=1.6, linestyle="--", label="by Dice (oracle)")
        axes.plot(share, quality, color=LINE_COLOR, linewidth=2, label="by expected Dice")
        axes.set_title("Risk and coverage", loc="left", fontweight="bold")
        axes.set(xlabel="images kept (%)", ylabel="mean of 1 \N{MINUS SIGN} Dice of those", xlim=(0, 100))
        axes.set_ylim(bottom=0)
        axes.legend(frameon=False)
    return figure


def outlines(image: Pixels, reference: Pixels, prediction: Pixels, width: int) -> tuple[Pixels, NDArray[np.uint8]]:
    """Return the image `(h, width)` uint8, and `(h, width, 3)` with the outlines of both label maps drawn on it.

    All three are `(H, W)` uint8. Where they differ, the pixel is tinted with the colour of the map that has a class
    there; where the outlines coincide, the prediction's lies on top.
    """
    scale = width / image.shape[1]
    size = (width, max(1, round(image.shape[0] * scale)))
    small = cv2.resize(image, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
    drawn = np.repeat(small[..., None], 3, axis=2)
    small_prediction, small_reference = (
        cv2.resize(labels, size, interpolation=cv2.INTER_NEAREST) for labels in (prediction, reference)
    )
    for labels, color in ((small_reference, REFERENCE_COLOR), (small_prediction, PREDICTION_COLOR)):
        differs = (small_prediction != small_reference) & (labels > 0)
        drawn[differs] = np.rint((1 - _TINT) * drawn[differs] + _TINT * np.array(rgb(color))).astype(np.uint8)
    for labels, color in ((reference, REFERENCE_COLOR), (prediction, PREDICTION_COLOR)):
        for index in np.unique(labels[labels > 0]):
            contours, _ = cv2.findContours((labels == index).astype(np.uint8), cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
            # A pixel centre x of the image lies at (x + 1/2) * scale - 1/2 of the small one.
            lines = [np.rint(((line + 0.5) * scale - 0.5) * 2**_SUBPIXEL_BITS).astype(np.int32) for line in contours]
            cv2.polylines(drawn, lines, True, rgb(color), 2, cv2.LINE_AA, _SUBPIXEL_BITS)
    return small, drawn


def _axes(figure: "Figure") -> "Axes":
    axes = figure.add_subplot()
    axes.spines[["top", "right"]].set_visible(False)
    return axes
