"""Transverse view of the lumbar spine: what lies where, how strongly it echoes, and what is annotated.

A view between two spinous processes shows, from the skin down: subcutaneous fat, the deep fascia, erector spinae and
multifidus on both sides, the interspinous ligament in the middle, the posterior complex (ligamentum flavum and dura:
EPI), the dark thecal sac, and the anterior complex with the vertebral body (VTB), flanked by the articular processes.
On a spinous process everything in the middle lies in its shadow.
Source: Chin et al. 2011, "Ultrasonography of the adult thoracic and lumbar spine for central neuraxial blockade".
"""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sonoseg.phantom.acoustics import Medium, form_image
from sonoseg.phantom.anatomy import Patient, View
from sonoseg.phantom.spine_medium import SpineMedium
from sonoseg.phantom.tissue import Frame

Annotation = list[list[Any]]  # [[name, "line" | "rect", [[x, y], [x, y]]], ...], pixels


@dataclass(frozen=True)
class Scene:
    """A finished image and its truth. skin_row, in pixels, is where the midline meets the skin."""

    image: NDArray[np.uint8]
    annotation: Annotation
    skin_row: float
    skin_to_epi_mm: float | None
    medium: Medium


def annotate(frame: Frame, patient: Patient, view: View) -> Annotation:
    """Lines and rectangles of what the view shows, in whole pixels: MID, VTB, EPI in that order."""
    deep = view.epi_mm + view.canal_mm
    out: Annotation = []
    if "MID" in view.labels:
        out.append(["MID", "line", [frame.pixel(0.0, patient.fat_mm + 3.0), frame.pixel(0.0, deep + 3.0)]])
    if "VTB" in view.labels:
        half = view.vtb_half_mm
        corners = [frame.pixel(u, v) for u in (-half, half) for v in (deep - 0.5, deep + view.vtb_height_mm)]
        xs, ys = zip(*corners, strict=True)
        out.append(["VTB", "rect", [[min(xs), min(ys)], [max(xs), max(ys)]]])
    if "EPI" in view.labels:
        half = view.epi_half_mm
        out.append(["EPI", "line", [frame.pixel(-half, view.epi_mm), frame.pixel(half, view.epi_mm)]])
    return out


def make_scene(patient: Patient, view: View, rng: np.random.Generator) -> Scene:
    """The image of a view, its annotation and its true depth. rng decides texture only, not where things lie."""
    builder = SpineMedium(patient, view, rng)
    medium = builder.build()
    probe = replace(patient.probe, gain_db=patient.probe.gain_db + view.gain_db)
    return Scene(
        image=form_image(medium, probe, rng),
        annotation=annotate(builder.frame, patient, view),
        skin_row=patient.gel_mm / patient.device.row_mm,
        skin_to_epi_mm=view.epi_mm if {"MID", "EPI"} <= set(view.labels) else None,
        medium=medium,
    )
