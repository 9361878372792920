"""Transverse view of the lumbar spine: what lies where, how strongly it echoes, and what is annotated.

A view between two spinous processes shows, from the skin down: subcutaneous fat, the deep fascia, erector spinae and
multifidus on both sides, the interspinous ligament in the middle, the posterior complex (ligamentum flavum and dura:
EPI), the dark thecal sac, and the anterior complex with the vertebral body (VTB), flanked by the articular processes.
On a spinous process everything in the middle lies in its shadow.
Source: Chin et al. 2011, "Ultrasonography of the adult thoracic and lumbar spine for central neuraxial blockade".

<out>/images/Image_001.png
<out>/annotations.json  {"Image_001": [["MID", "line", [[x, y], [x, y]]], ...], ...}
<out>/metadata.csv      image,patient,row_mm,col_mm,skin_to_epi_mm,skin_row_px
"""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from sonoseg.geometry.shapes import KindName, Shape
from sonoseg.phantom.acoustics import Medium, form_image
from sonoseg.phantom.layout import Kind, Settings, Simulated, generators, numbered, streams
from sonoseg.phantom.spine.anatomy import Patient, View, draw_patient, draw_view, share_patients, share_views
from sonoseg.phantom.spine.artefacts import ARTEFACTS, draw_artefact
from sonoseg.phantom.spine.medium import SpineMedium
from sonoseg.phantom.tissue import Frame
from sonoseg.schema.annotation_formats import ShapesJson

_MORE_GEL_MM = 4.0
"""Gel above the skin in which an artefact has room, beyond that of the patient."""


@dataclass(frozen=True)
class Scene:
    """A finished image and its truth. skin_row, in pixels, is where the midline meets the skin."""

    image: NDArray[np.uint8]
    annotation: tuple[Shape, ...]
    skin_row: float
    skin_to_epi_mm: float | None
    medium: Medium


def annotate(frame: Frame, patient: Patient, view: View) -> tuple[Shape, ...]:
    """Lines and rectangles of what the view shows, in whole pixels: MID, VTB, EPI in that order."""
    deep = view.epi_mm + view.canal_mm
    shapes = []
    if "MID" in view.labels:
        shapes.append(_shape("MID", "line", frame.pixel(0.0, patient.fat_mm + 3.0), frame.pixel(0.0, deep + 3.0)))
    if "VTB" in view.labels:
        half = view.vtb_half_mm
        corners = [frame.pixel(u, v) for u in (-half, half) for v in (deep - 0.5, deep + view.vtb_height_mm)]
        xs, ys = zip(*corners, strict=True)
        shapes.append(_shape("VTB", "rectangle", [min(xs), min(ys)], [max(xs), max(ys)]))
    if "EPI" in view.labels:
        half = view.epi_half_mm
        shapes.append(_shape("EPI", "line", frame.pixel(-half, view.epi_mm), frame.pixel(half, view.epi_mm)))
    return tuple(shapes)


def _shape(structure: str, kind: KindName, *points: list[int]) -> Shape:
    return Shape(structure, kind, np.array(points, dtype=np.float64))


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


@dataclass(frozen=True)
class SpineCase:
    """An image to be simulated: its file stem, who and what it shows, and the seed of its texture.

    artefact: what begins at its first row, a key of `ARTEFACTS`; empty for none.
    """

    name: str
    patient: Patient
    view: View
    seed: np.random.SeedSequence
    artefact: str = ""

    @property
    def subject(self) -> str:
        """The patient's name."""
        return self.patient.name

    def make(self) -> Scene:
        """The image and its truth; the same at every call."""
        rng = np.random.default_rng(self.seed)
        if not self.artefact:
            return make_scene(self.patient, self.view, rng)
        scene = make_scene(replace(self.patient, gel_mm=self.patient.gel_mm + _MORE_GEL_MM), self.view, rng)
        return replace(scene, image=draw_artefact(self.artefact, scene.image, scene.skin_row, rng))

    def simulate(self) -> Simulated:
        """Return the image, its annotation, and the true depth."""
        scene, device = self.make(), self.patient.device
        depth = scene.skin_to_epi_mm
        row = {
            "image": self.name,
            "patient": self.subject,
            "row_mm": device.row_mm,
            "col_mm": device.col_mm,
            "skin_to_epi_mm": None if depth is None else f"{depth:.3f}",
            "skin_row_px": f"{scene.skin_row:.2f}" if "MID" in self.view.labels else None,
        }
        return Simulated(scene.image, row, scene.annotation)


def plan_spine(settings: Settings) -> list[SpineCase]:
    """The cases of a spine dataset, patient by patient."""
    plan_seed, patients_seed, views_seed, textures_seed = streams(settings.seed, 4)
    rng = np.random.default_rng(plan_seed)
    owners = share_patients(settings.images, rng)
    kinds = share_views(settings.images, rng)
    patients = [
        draw_patient(f"P{i + 1:02d}", patient_rng, settings.size_scale)
        for i, patient_rng in enumerate(generators(patients_seed, owners[-1] + 1))
    ]
    view_rngs, textures = generators(views_seed, settings.images), textures_seed.spawn(settings.images)
    cases = []
    for i, (view_rng, texture_seed) in enumerate(zip(view_rngs, textures, strict=True)):
        patient = patients[owners[i]]
        view = draw_view(kinds[i], patient, view_rng)
        artefact = ("", *ARTEFACTS)[i % (1 + len(ARTEFACTS))] if settings.artefacts else ""
        cases.append(SpineCase(numbered("Image_", i, settings.images), patient, view, texture_seed, artefact))
    return cases


KIND = Kind(
    plan=plan_spine,
    annotations=ShapesJson(format="shapes_json"),
    tables={"metadata.csv": ("image", "patient", "row_mm", "col_mm", "skin_to_epi_mm", "skin_row_px")},
    smallest=0.3,
)
