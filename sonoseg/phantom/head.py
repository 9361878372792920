"""Transverse view of a fetal head, in the layout of HC18 (van den Heuvel et al. 2018, doi 10.5281/zenodo.1322001).

The skull is an ellipse of two bright arcs that fade where they run along the beam; inside lie weakly echoing brain, the
falx, the cavum septi pellucidi, the thalami and a lateral ventricle with its plexus; around it amniotic fluid, placenta
and the maternal tissue.

<out>/training_set/010_HC.png, 010_2HC.png       images; the number is the subject
<out>/training_set/010_HC_Annotation.png         the annotated ellipse as a thin outline, 255 on 0
<out>/training_set_pixel_size_and_HC.csv         filename,pixel size(mm),head circumference (mm)
"""

from dataclasses import dataclass, replace

import numpy as np

from sonoseg.geometry.points import Ellipse
from sonoseg.phantom.acoustics import Array, Transducer, form_image
from sonoseg.phantom.canvas import ArrayCanvas
from sonoseg.phantom.layout import Kind, Settings, Simulated, generators, numbered, streams
from sonoseg.phantom.outline import Outline, draw_waves
from sonoseg.phantom.scan import CurvedArray, draw_probe, draw_sector
from sonoseg.phantom.tissue import step, wavy
from sonoseg.schema.annotation_formats import MaskFolder

WIDTH, HEIGHT = 800, 540
OUTLINE_WIDTH_PX = 2.77  # width of HC18's drawn outline, the median over its training set
MIN_OUTLINE_WIDTH_PX = 1.1  # a thinner line would fall apart into dots
_CUT_SHARE = 0.04  # of the images show a head that runs over the border


@dataclass(frozen=True)
class Fetus:
    """A fetus. hc_mm: head circumference; index: its short over its long axis; levels in dB."""

    name: str
    hc_mm: float
    index: float
    tissue_db: float
    placenta_db: float
    brain_db: float
    skull_db: float
    fluid: float  # how much amniotic fluid surrounds the head, as a share of its radius
    placenta_side: int  # -1 left, 1 right

    @property
    def half_axes(self) -> tuple[float, float]:
        """Half the long and the short axis in mm."""
        a = self.hc_mm / Ellipse(0.0, 0.0, 2.0, 2.0 * self.index, 0.0).circumference
        return a, a * self.index


@dataclass(frozen=True)
class HeadView:
    """A view of a fetus: the field, the probe, and where the outer border of the skull lies."""

    array: CurvedArray
    probe: Transducer
    skull: Outline
    facing: int  # 1: the forehead is at the far end of the long axis, -1: at its near end

    @property
    def circumference_mm(self) -> float:
        """Of the annotated ellipse."""
        return Ellipse(0.0, 0.0, 2 * self.skull.a, 2 * self.skull.b, 0.0).circumference


def draw_fetus(name: str, rng: np.random.Generator) -> Fetus:
    """A fetus between about 11 and 40 weeks, most of them in the second trimester, as in HC18."""
    return Fetus(
        name=name,
        hc_mm=float(rng.triangular(55.0, 165.0, 345.0)),
        index=float(rng.uniform(0.73, 0.85)),
        tissue_db=float(rng.uniform(-40.0, -34.0)),
        placenta_db=float(rng.uniform(-33.0, -27.0)),
        brain_db=float(rng.uniform(-47.0, -42.0)),
        skull_db=float(rng.uniform(-9.0, -3.0)),
        fluid=float(rng.uniform(0.05, 0.6)),
        placenta_side=int(rng.choice([-1, 1])),
    )


def draw_view(fetus: Fetus, rng: np.random.Generator, size_scale: float = 1.0) -> HeadView:
    """A view in which the head fills a usual part of the picture; a few are cut by its border."""
    a, b = fetus.half_axes
    fills = float(rng.uniform(0.5, 0.8)) * (0.75 if fetus.hc_mm < 110.0 else 1.0)
    tilt = float(np.clip(rng.normal(0.0, 16.0), -40.0, 40.0))
    skull = Outline(0.0, 0.0, a, b, tilt)
    wide, high = skull.reach()
    pixel_mm = max(2 * b / (fills * HEIGHT), 2 * wide / (0.9 * WIDTH), 2 * high / (0.9 * HEIGHT))
    width_mm, height_mm = WIDTH * pixel_mm, HEIGHT * pixel_mm
    # Room between the head and the border, used up to nine tenths; more than all of it cuts the head.
    room_x, room_z = 0.5 * width_mm - wide, 0.5 * height_mm - high
    shift_x = float(np.clip(rng.normal(0.0, 0.35), -0.8, 0.8)) * min(room_x, 0.35 * wide)
    shift_z = float(rng.uniform(-0.5, 0.9)) * room_z
    cut, side = rng.random() < _CUT_SHARE, float(rng.choice([-1.0, 1.0]))
    over = float(rng.uniform(0.03, 0.12)) * high
    if cut:
        shift_z = side * (room_z + over)
    size = (round(HEIGHT * size_scale), round(WIDTH * size_scale))
    array = draw_sector(size, pixel_mm / size_scale, rng)
    return HeadView(
        array=array,
        probe=replace(draw_probe(array.depth_mm, rng), gain_db=float(rng.uniform(-4.0, 4.0))),
        skull=replace(skull, x=0.5 * width_mm + shift_x, z=0.5 * height_mm + shift_z),
        facing=int(rng.choice([-1, 1])),
    )


class HeadMedium(ArrayCanvas):
    """Collects what one view of a head shows; every method adds one structure."""

    def __init__(self, fetus: Fetus, view: HeadView, rng: np.random.Generator) -> None:
        super().__init__(view.array, rng, fetus.tissue_db)
        self.fetus, self.view = fetus, view
        self.skull = view.skull
        self.u, self.v = self.skull.local(self.x, self.z)
        self.u *= view.facing
        self.inside = np.asarray(self.skull.inside_mm(self.x, self.z), np.float32)
        self.bone_mm = 0.045 * self.skull.b + 0.25 * self.unit_mm

    def maternal_tissue(self) -> None:
        """The maternal tissue in layers, the abdominal wall near the probe, and the placenta on one side."""
        rng, unit = self.rng, self.unit_mm
        self.echo = self.texture(self.fetus.tissue_db, 3.0, 0.8, 4.0) + 3.0 * self.noise(2.5 * unit, 30 * unit)
        wall = self.array.depth_mm * rng.uniform(0.06, 0.14)
        inside = wall - self.depth + 0.8 * unit * self.noise(4 * unit, 20 * unit)
        self.fill(inside, self.texture(-30.0, 3.0, 0.7, 6.0))
        for share in (*rng.uniform(0.2, 0.95, 4), 1.0):
            layer = wall * share + wavy(self.lateral, 0.4 * unit, 8 * unit, rng)
            self.layer(layer, rng.uniform(-26.0, -16.0), thickness_mm=0.35 * unit, lobe_deg=30.0)
        a = self.skull.a
        side = self.fetus.placenta_side
        placenta = Outline(self.skull.x + side * 1.7 * a, self.skull.z + rng.uniform(-0.6, 0.6) * a, 1.1 * a, 0.9 * a)
        placenta = replace(placenta, waves=draw_waves(range(2, 7), 0.08, rng))
        self.fill(placenta.inside_mm(self.x, self.z), self.texture(self.fetus.placenta_db, 2.5, 0.8, 1.2), loss=0.9)

    def fluid(self) -> None:
        """Amniotic fluid: hardly an echo and no loss, more of it on one side of the head."""
        rng, a, b = self.rng, self.skull.a, self.skull.b
        more = self.fetus.fluid
        pocket = Outline(
            self.skull.x + float(rng.choice([-1.0, 1.0])) * rng.uniform(0.5, 1.5) * more * a,
            self.skull.z + rng.uniform(-1.2, 0.4) * more * a,
            a * (0.92 + 0.7 * more),
            b * (0.92 + 0.6 * more),
            self.skull.angle_deg + rng.uniform(-20.0, 20.0),
            draw_waves(range(2, 9), 0.06, rng, 0.7),
        )
        inside = np.asarray(pocket.inside_mm(self.x, self.z), np.float32)
        self.cover(inside)
        self.fill(inside, -72.0 + 3.0 * self.noise(2.0 * self.unit_mm, 4.0 * self.unit_mm), loss=0.15)
        self.rim(inside, -34.0, -24.0, thickness_mm=0.5 * self.unit_mm, lobe_deg=35.0)

    def brain(self) -> None:
        """Weak speckle, brighter thalami, dark ventricle with its bright plexus, and a darker zone below the bone."""
        rng, a, b, unit = self.rng, self.skull.a, self.skull.b, self.unit_mm
        level = self.fetus.brain_db
        self.cover(self.inside)
        self.fill(self.inside, self.texture(level, 2.5, 1.0, 2.0), loss=0.75)
        self.echo -= 5.0 * step(self.inside, 0.3 * unit) * step(0.22 * b - self.inside, 0.1 * b)
        for side in (-1.0, 1.0):
            thalamus = self._part(0.02 * a, side * 0.16 * b, 0.2 * a, 0.13 * b, side * 12.0)
            self.fill(thalamus, level - 5.0, softness=1.2)
            ventricle = self._part(-0.42 * a, side * 0.36 * b, 0.3 * a, 0.13 * b, side * rng.uniform(4.0, 16.0))
            self.fill(ventricle, -66.0, loss=0.4, softness=0.6)
            # Before mid-pregnancy the plexus fills the ventricle; the near one is hidden by reverberations.
            is_early = self.fetus.hc_mm < 130.0
            plexus_scale = rng.uniform(0.85, 1.1) if is_early else rng.uniform(0.4, 0.75)
            plexus = self._part(
                -0.45 * a, side * 0.37 * b, 0.24 * a * plexus_scale, 0.11 * b * plexus_scale + 0.03 * b, side * 10.0
            )
            self.fill(plexus, self.texture(level + (14.0 if side > 0 else 7.0), 2.0, 0.7, 1.0), softness=0.6)
        self.rim(self._part(-0.42 * a, 0.36 * b, 0.3 * a, 0.13 * b, 10.0), -28.0, -22.0, thickness_mm=0.3 * unit)

    def midline(self) -> None:
        """The falx from front to back, interrupted by the cavum: a dark box between two short lines."""
        rng, a, b, unit = self.rng, self.skull.a, self.skull.b, self.unit_mm
        start, stop = 0.36 * a, 0.56 * a
        bow = rng.uniform(-0.03, 0.03) * b
        falx = self._band(bow * (1.0 - (self.u / a) ** 2), -0.84 * a, 0.86 * a, 0.4 * unit)
        falx *= 1.0 - 0.9 * step(self.u - start, 0.02 * a) * step(stop - self.u, 0.02 * a)
        falx *= np.clip(0.75 + 0.4 * self.noise(40 * unit, 5 * unit), 0.2, 1.0)
        self.echo += (-24.0 - self.echo) * falx
        half = 0.075 * b
        cavum = (
            step(self.u - start, 0.3 * unit) * step(stop - self.u, 0.3 * unit) * step(half - np.abs(self.v), 0.2 * unit)
        )
        self.echo += (-68.0 - self.echo) * cavum
        for side in (-1.0, 1.0):
            wall = self._band(np.float32(side * half), start, stop, 0.35 * unit)
            self.echo += (-17.0 - self.echo) * wall
        for _ in range(int(rng.poisson(7))):
            at, v = rng.uniform(-0.7, 0.6) * a, rng.uniform(0.2, 0.75) * b * float(rng.choice([-1.0, 1.0]))
            streak = self._band(v + 0.1 * (self.u - at), at - 0.08 * a, at + 0.08 * a, 0.35 * unit)
            self.echo += (rng.uniform(-36.0, -24.0) - self.echo) * streak

    def bone(self) -> None:
        """The skull inside the annotated ellipse: a bright band, brightest where it lies square to the beam."""
        rng, unit, thick = self.rng, self.unit_mm, self.bone_mm
        across_z = np.abs(np.gradient(self.inside, axis=0)) / self.spacing[0]
        facing_beam = np.clip(across_z / np.maximum(across_z.max(), 1e-3), 0.0, 1.0)
        within = step(self.inside - 0.1 * thick, 0.15 * thick) * step(thick - self.inside, 0.2 * thick)
        level = self.fetus.skull_db - 6.0 - 30.0 * (1.0 - facing_beam) ** 1.3 + 3.0 * self.noise(3 * unit, 6 * unit)
        # Sutures and fontanelles: here and there the bone is thin.
        level -= 10.0 * step(np.abs(self.noise(25 * unit, 18 * unit)) - 1.6, 0.15)
        self.echo += (level - self.echo) * within
        self.loss += within * np.float32(rng.uniform(4.0, 8.0) / thick)
        self.rim(
            self.inside - 0.45 * thick,
            self.fetus.skull_db,
            self.fetus.skull_db,
            thickness_mm=0.3 * thick,
            lobe_deg=36.0,
            taper_mm=0.1 * self.skull.a,
        )

    def build(self) -> "HeadMedium":
        """All structures, from the bulk to the details."""
        self.maternal_tissue()
        self.fluid()
        self.brain()
        self.midline()
        self.bone()
        return self

    def _part(self, u: float, v: float, a: float, b: float, angle_deg: float) -> Array:
        """Distance (H, W) inside an ellipse given in the head's own coordinates."""
        return np.asarray(Outline(u, v, a, b, angle_deg).inside_mm(self.u, self.v), np.float32)

    def _band(self, v: Array | np.float32, start: float, stop: float, sigma: float) -> Array:
        """Weight (H, W) of a thin line along the long axis at v, between start and stop, mm."""
        line = np.exp(-0.5 * ((self.v - v) / sigma) ** 2)
        soft = 2.0 * sigma
        return np.asarray(line * step(self.u - start, soft) * step(stop - self.u, soft), np.float32)


@dataclass(frozen=True)
class HeadCase:
    """An image to be simulated: its file stem, who and what it shows, and the seed of its texture."""

    name: str
    fetus: Fetus
    view: HeadView
    seed: np.random.SeedSequence

    @property
    def subject(self) -> str:
        """The number before the underscore."""
        return self.fetus.name

    def simulate(self) -> Simulated:
        """Return the image, its outline, and the row of the table."""
        view, rng = self.view, np.random.default_rng(self.seed)
        size, pixel_mm = view.array.size, view.array.pixel_mm
        image = view.array.picture(form_image(HeadMedium(self.fetus, view, rng).build().medium(), view.probe, rng))
        width_px = max(OUTLINE_WIDTH_PX * size[1] / WIDTH, MIN_OUTLINE_WIDTH_PX)
        row = {
            "filename": f"{self.name}.png",
            "pixel size(mm)": f"{pixel_mm:.8f}",
            "head circumference (mm)": f"{view.circumference_mm:.2f}",
        }
        return Simulated(image, row, mask=view.skull.outline_mask(size, pixel_mm, width_px))


def plan_head(settings: Settings) -> list[HeadCase]:
    """The cases of a head dataset; about one subject in six was imaged more than once."""
    plan_seed, subjects_seed, views_seed, textures_seed = streams(settings.seed, 4)
    rng = np.random.default_rng(plan_seed)
    owners: list[tuple[int, int]] = []  # subject, number of its image
    while len(owners) < settings.images:
        subject = owners[-1][0] + 1 if owners else 0
        owners += [(subject, i) for i in range(int(rng.choice([1, 2, 3], p=[0.84, 0.1, 0.06])))]
    owners = owners[: settings.images]
    subjects = owners[-1][0] + 1
    fetuses = [
        draw_fetus(numbered("", i, settings.images), rng) for i, rng in enumerate(generators(subjects_seed, subjects))
    ]
    cases = []
    view_rngs, textures = generators(views_seed, settings.images), textures_seed.spawn(settings.images)
    for (subject, i), view_rng, texture in zip(owners, view_rngs, textures, strict=True):
        fetus = fetuses[subject]
        name = f"{fetus.name}_{i + 1 if i else ''}HC"
        cases.append(HeadCase(name, fetus, draw_view(fetus, view_rng, settings.size_scale), texture))
    return cases


KIND = Kind(
    plan=plan_head,
    annotations=MaskFolder(
        format="mask_folder", images="training_set", masks="training_set", mask_suffix="_Annotation", fill_outlines=True
    ),
    tables={"training_set_pixel_size_and_HC.csv": ("filename", "pixel size(mm)", "head circumference (mm)")},
)
