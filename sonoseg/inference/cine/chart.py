"""The picture of a loop: its measurements and its quality over time."""

import io
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from sonoseg.inference.cine.summary import BY_QUALITY, Frame, Summary
from sonoseg.inference.cine.table import time_of
from sonoseg.inference.sources import Loop
from sonoseg.reporting.charts import FONT, LINE_COLOR, POINT_COLOR
from sonoseg.reporting.pages import new_figure
from sonoseg.schema.quantity import Quantity, prefer_mm

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_WIDTH_PX, _PANEL_PX, _HEAD_PX = 860, 150, 90
_MOST_PANELS = 8
"""Measurements that are drawn; the table has all of them."""
_REJECTED_COLOR = "#cc79a7"
_CHOSEN_COLOR = "#009e73"


def loop_chart(
    title: str, frames: Sequence[Frame], summary: Summary, loop: Loop, quantities: Sequence[Quantity]
) -> bytes:
    """Return a PNG: a panel per measurement that some frame has, and one of the expected Dice or the confidence.

    Lengths in pixels are left out where they are also there in millimetres.
    """
    from matplotlib import rc_context
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.ticker import MaxNLocator

    known = [quantity for quantity in quantities if any(_values(frames, quantity.key)[1])]
    drawn = prefer_mm(known)[:_MOST_PANELS]
    with rc_context(FONT):
        figure = new_figure(_WIDTH_PX, _HEAD_PX + _PANEL_PX * (len(drawn) + 1))
        panels: list[Axes] = list(np.atleast_1d(figure.subplots(len(drawn) + 1, 1, sharex=True)))
        times = np.array([_time(frame, loop) for frame in frames])
        for axes, quantity in zip(panels, drawn, strict=False):
            _draw_measurement(axes, times, frames, summary, quantity)
        _draw_score(panels[-1], times, frames, summary)
        for axes in panels:
            _mark_frames(axes, times, frames)
        panels[-1].set_xlabel("time (s)" if loop.frame_seconds else "frame")
        if not loop.frame_seconds:
            panels[-1].xaxis.set_major_locator(MaxNLocator(integer=True))
        half = _half_step(times)
        panels[-1].set_xlim(times[0] - half, times[-1] + half)
        _label(figure, title, frames, summary)
        stream = io.BytesIO()
        FigureCanvasAgg(figure).print_png(stream, metadata={"Software": None})
    return stream.getvalue()


def _time(frame: Frame, loop: Loop) -> float:
    time = time_of(frame.number, loop)
    return frame.number if time is None else time


def _values(frames: Sequence[Frame], key: str) -> tuple[Any, list[bool]]:
    """Return the values `(N,)` of a measurement, NaN where there is none or the frame is rejected, and where one is."""
    values = [frame.measurements.get(key) if frame.status != "reject" else None for frame in frames]
    known = [value is not None for value in values]
    return np.array([np.nan if value is None else value for value in values], float), known


def _draw_measurement(axes: "Axes", times: Any, frames: Sequence[Frame], summary: Summary, quantity: Quantity) -> None:
    key = quantity.key
    values, _ = _values(frames, key)
    nothing = (np.nan, np.nan)
    low, high = np.array([frame.intervals.get(key, nothing) for frame in frames], float).T
    if np.isfinite(low).any():
        axes.fill_between(times, low, high, color=POINT_COLOR, alpha=0.15, linewidth=0)
    _draw_line(axes, times, values, frames, summary)
    value = summary.measurements.get(key)
    text = quantity.title
    if value is not None:
        axes.axhline(value, color=_CHOSEN_COLOR, linewidth=1, linestyle="--")
        interval = summary.intervals.get(key)
        ends = f" ({interval[0]:.1f} to {interval[1]:.1f})" if interval else ""
        text += f": {value:.1f}{ends}{'' if quantity.unit == 'deg' else ' '}{quantity.symbol}"
    axes.set_title(text, loc="left", fontweight="bold", fontsize=10)
    axes.set_ylabel(quantity.symbol)


def _draw_score(axes: "Axes", times: Any, frames: Sequence[Frame], summary: Summary) -> None:
    """Draw what the frames were chosen by."""
    if summary.chosen_by == BY_QUALITY:
        scores = [np.nan if frame.quality is None else frame.quality for frame in frames]
    else:
        scores = [float(np.mean(list(frame.confidence.values()))) if frame.confidence else np.nan for frame in frames]
    _draw_line(axes, times, np.array(scores, float), frames, summary)
    known = [score for score in scores if np.isfinite(score)]
    axes.set_ylim(min([0.5, *known]) - 0.05, 1.02)
    axes.set_title(summary.chosen_by[:1].upper() + summary.chosen_by[1:], loc="left", fontweight="bold", fontsize=10)


def _draw_line(axes: "Axes", times: Any, values: Any, frames: Sequence[Frame], summary: Summary) -> None:
    axes.plot(times, values, "-", color=POINT_COLOR, linewidth=1.2, marker=".", markersize=2.5)
    chosen = np.isin([frame.number for frame in frames], summary.chosen)
    axes.plot(times[chosen], values[chosen], "o", color=_CHOSEN_COLOR, markersize=4.5, markeredgewidth=0)


def _mark_frames(axes: "Axes", times: Any, frames: Sequence[Frame]) -> None:
    """Shade the frames that are rejected or have failed."""
    half = _half_step(times)
    for status, color in (("reject", _REJECTED_COLOR), ("failed", LINE_COLOR)):
        for start, end in _spans([frame.status == status for frame in frames]):
            axes.axvspan(times[start] - half, times[end] + half, color=color, alpha=0.3, linewidth=0)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.25)


def _half_step(times: Any) -> float:
    return float(times[1] - times[0]) / 2 if len(times) > 1 else 0.5


def _spans(marked: Sequence[bool]) -> list[tuple[int, int]]:
    """Return the first and the last index of each run of True."""
    spans: list[tuple[int, int]] = []
    for index, is_marked in enumerate(marked):
        if is_marked and spans and spans[-1][1] == index - 1:
            spans[-1] = spans[-1][0], index
        elif is_marked:
            spans.append((index, index))
    return spans


def _label(figure: "Figure", title: str, frames: Sequence[Frame], summary: Summary) -> None:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    count = {status: sum(frame.status == status for frame in frames) for status in ("reject", "failed")}
    handles: list[Any] = [
        Line2D([], [], color=POINT_COLOR, marker=".", label="each frame"),
    ]
    if summary.chosen:
        name = f"{len(summary.chosen)} chosen frames"
        handles.append(Line2D([], [], color=_CHOSEN_COLOR, marker="o", linewidth=0, label=name))
        handles.append(Line2D([], [], color=_CHOSEN_COLOR, linestyle="--", label="value of the loop"))
    if any(frame.intervals for frame in frames):
        handles.append(Patch(color=POINT_COLOR, alpha=0.15, label="interval of each frame"))
    for status, color, name in (("reject", _REJECTED_COLOR, "rejected"), ("failed", LINE_COLOR, "failed")):
        if count[status]:
            handles.append(Patch(color=color, alpha=0.3, label=f"{count[status]} {name}"))
    figure.suptitle(f"{title}, {len(frames)} frames, {summary.status}: not for clinical use", fontsize=10)
    figure.legend(handles=handles, loc="outside lower center", ncols=3, frameon=False, fontsize=9)
