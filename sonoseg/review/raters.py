"""How far several raters agree with each other, and each of them with the model: Dice, distances, measurements."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING, Any

import numpy as np

from sonoseg.annotations.shapes_of_masks import union
from sonoseg.errors import DataError
from sonoseg.geometry.shapes import Shape
from sonoseg.postprocess.measure import measure
from sonoseg.review.session import NotFound, Review
from sonoseg.review.shapes import stored
from sonoseg.review.sources import View
from sonoseg.review.store import Entry
from sonoseg.schema.quantity import prefer_mm
from sonoseg.sizes import Size, Spacing

if TYPE_CHECKING:
    from sonoseg.evaluation.metrics import Agreement

MODEL = "model"
FEWEST = 3
"""Images from which measurements of a pair are plotted."""


@dataclass(frozen=True)
class Reading:
    """What one rater, or the model, says about an image: shapes, and values by key of a measurement."""

    shapes: list[Shape]
    values: dict[str, float | None]


@dataclass(frozen=True)
class Compared:
    """An image that at least two raters have decided about; readings: by rater, the model's included."""

    patient: str
    size: Size
    spacing: Spacing | None
    readings: dict[str, Reading]


def agreement_page(review: Review) -> str | None:
    """Return the page of agreement, HTML text that needs no other file; None without two raters of one image.

    Each rater counts with the newest decision about an image that accepts or corrects it.
    """
    from sonoseg.reporting.charts import CHART_WIDTH_PX
    from sonoseg.reporting.pages import render

    review.store.refresh()
    if review.rater.blind:
        return None
    compared = list(_compared(review))
    raters = sorted({name for one in compared for name in one.readings} - {MODEL})
    if len(raters) < 2:
        return None
    pairs = [_pair(review, compared, *names) for names in [*combinations(raters, 2), *((MODEL, one) for one in raters)]]
    entries = review.store.all_entries()
    return render(
        "raters.html.j2",
        title=review.task.title,
        raters=raters,
        images=len(compared),
        blind={name: all(entry.get("blind") for entry in entries if entry["reviewer"] == name) for name in raters},
        chart_width=CHART_WIDTH_PX,
        pairs=[pair for pair in pairs if pair["images"]],
    )


def _compared(review: Review) -> Iterator[Compared]:
    by_name = {item.name: item for item in review.items()}
    for (name, frame), usable in sorted(review.store.by_rater().items()):
        if len(usable) >= 2 and name in by_name:
            try:
                view = review.view(by_name[name].id, frame)
                yield _of_view(review, view, usable)
            except (NotFound, DataError, OSError):
                continue  # the image is not there any more


def _of_view(review: Review, view: View, entries: Mapping[str, Entry]) -> Compared:
    frame, task = review.frame(view), review.task
    left, top = (frame.region.left, frame.region.top) if frame.region else (0, 0)

    def reading(shapes: list[Shape]) -> Reading:
        own = [shape.moved(-left, -top) for shape in shapes]
        found = measure(own, frame.own, view.spacing, task.structures, task.measurements)
        return Reading(shapes, {key: one.value for key, one in found.items()})

    readings = {name: reading(stored(entry["after"]["shapes"])) for name, entry in entries.items()}
    readings[MODEL] = reading(view.prediction.shapes)
    return Compared(view.item.patient or view.item.name, frame.size, view.spacing, readings)


def _pair(review: Review, compared: list[Compared], first: str, second: str) -> dict[str, Any]:
    """Return the agreement of two as values for the template: by structure, and by measurement."""
    both = [one for one in compared if first in one.readings and second in one.readings]
    return {
        "names": (first, second),
        "images": len(both),
        "structures": [_structure(review, both, name, (first, second)) for name in review.task.class_names],
        "measurements": list(_measurements(review, both, first, second)),
    }


def _structure(review: Review, both: list[Compared], name: str, names: tuple[str, str]) -> dict[str, Any]:
    from sonoseg.evaluation.intervals import mean_with_interval
    from sonoseg.evaluation.metrics import agreement

    thickness = review.task.structure(name).thickness_px
    found: list[tuple[Compared, Agreement]] = []
    for one in both:
        masks = [
            union([shape for shape in one.readings[who].shapes if shape.structure == name], one.size, thickness)
            for who in names
        ]
        if any(mask.any() for mask in masks):
            found.append((one, agreement(masks[1], masks[0], one.spacing)))
    seen = [(one, each) for one, each in found if not each.missed and not each.false_alarm]
    in_mm = all(one.spacing for one, _ in seen)
    patients = [one.patient for one, _ in found]
    return {
        "name": name,
        "n": len(found),
        "one_only": len(found) - len(seen),
        "dice": mean_with_interval([each.dice for _, each in found], patients, (0.0, 1.0)) if found else None,
        "hd95": float(np.mean([each.hd95 for _, each in seen])) if seen and in_mm else None,
    }


def _measurements(review: Review, both: list[Compared], first: str, second: str) -> Iterator[dict[str, Any]]:
    from sonoseg.evaluation.intervals import bland_altman
    from sonoseg.reporting import charts
    from sonoseg.reporting.pages import figure_uri

    quantities = review.task.quantities
    pairs = {
        one.key: [each for each in both if None not in (_value(each, first, one.key), _value(each, second, one.key))]
        for one in quantities
    }
    for quantity in prefer_mm(one for one in quantities if pairs[one.key]):
        images = pairs[quantity.key]
        references = [float(_value(each, first, quantity.key) or 0.0) for each in images]
        values = [float(_value(each, second, quantity.key) or 0.0) for each in images]
        errors = [value - reference for value, reference in zip(values, references, strict=True)]
        limits = bland_altman(errors, [each.patient for each in images])
        row = {"title": quantity.title, "symbol": quantity.symbol, "n": len(images), **limits, "plot": ""}
        row["mean_difference"] = float(np.mean(np.abs(errors)))
        if len(images) >= FEWEST:
            lines = limits["bias"]["mean"], limits["limits_of_agreement"]
            figure = charts.bland_altman(quantity.title, quantity.symbol, values, references, *lines)
            of_both = f"mean of both ({quantity.symbol})"
            difference = f"{second} \N{MINUS SIGN} {first} ({quantity.symbol})".replace("$", r"\$")
            figure.axes[0].set(xlabel=of_both, ylabel=difference)
            row["plot"] = figure_uri(figure)
        yield row


def _value(one: Compared, name: str, key: str) -> float | None:
    return one.readings[name].values.get(key)
