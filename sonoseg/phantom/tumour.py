"""Fetal ultrasound with a tumour, in the layout of image and mask folders.

A mass with a rough, lobulated border lies in textured fetal tissue beside fluid. Most masses echo less than the tissue
around them, the others more; some are cystic and brighten what lies behind them, others take the sound away from it.

<out>/images/case_001.png
<out>/masks/case_001_mask.png   0 and 255
<out>/metadata.csv              image,patient,row_mm,col_mm
"""

from dataclasses import dataclass, replace

import numpy as np

from sonoseg.phantom.acoustics import Transducer, form_image
from sonoseg.phantom.canvas import ArrayCanvas
from sonoseg.phantom.layout import Kind, Settings, Simulated, generators, numbered, streams
from sonoseg.phantom.outline import Outline, draw_waves
from sonoseg.phantom.scan import CurvedArray, draw_probe, draw_sector
from sonoseg.phantom.tissue import step
from sonoseg.schema.annotation_formats import MaskFolder

SIZES = ((512, 384), (576, 432), (480, 384), (544, 400), (448, 352), (512, 416))  # width, height
_HYPOECHOIC_SHARE = 0.65  # of the masses
_LEAST_CONTRAST_DB = 9.0  # least difference of a mass from the tissue around it


@dataclass(frozen=True)
class Fetus:
    """A patient, with one image. Levels in dB; mass_loss: a factor on the loss of soft tissue."""

    name: str
    array: CurvedArray
    probe: Transducer
    tissue_db: float
    mass: Outline
    mass_db: float
    mass_loss: float
    cysts: int
    fluid: Outline

    @property
    def is_dark(self) -> bool:
        """Whether the mass echoes less than the tissue around it."""
        return self.mass_db < self.tissue_db


def draw_fetus(name: str, rng: np.random.Generator, size_scale: float = 1.0) -> Fetus:
    """A patient whose mass lies well inside the field, with fluid next to it."""
    width, height = SIZES[int(rng.integers(len(SIZES)))]
    pixel_mm = float(rng.uniform(0.2, 0.34))
    size = (round(height * size_scale), round(width * size_scale))
    array = draw_sector(size, pixel_mm / size_scale, rng)
    width_mm, height_mm = width * pixel_mm, height * pixel_mm
    tissue = float(rng.uniform(-39.0, -34.0))
    a = height_mm * float(rng.uniform(0.15, 0.26))
    b = a * float(rng.uniform(0.62, 0.95))
    x, z = width_mm * float(rng.uniform(0.38, 0.62)), height_mm * float(rng.uniform(0.4, 0.58))
    lobes = draw_waves(range(2, 6), 0.08, rng, 0.5) + draw_waves(range(6, 15), 0.025, rng, 0.5)
    is_dark = rng.random() < _HYPOECHOIC_SHARE
    contrast = float(rng.uniform(_LEAST_CONTRAST_DB, 17.0))
    around = float(rng.uniform(0.0, 2 * np.pi))
    away = a * float(rng.uniform(1.5, 2.0))
    fluid = Outline(
        x + away * np.cos(around),
        z + 0.8 * away * np.sin(around),
        a * float(rng.uniform(0.7, 1.5)),
        a * float(rng.uniform(0.4, 0.9)),
        float(rng.uniform(-40.0, 40.0)),
        draw_waves(range(2, 7), 0.08, rng),
    )
    return Fetus(
        name=name,
        array=array,
        probe=replace(draw_probe(array.depth_mm, rng), gain_db=float(rng.uniform(-3.0, 4.0))),
        tissue_db=tissue,
        mass=Outline(x, z, a, b, float(rng.uniform(-50.0, 50.0)), lobes),
        mass_db=tissue - contrast if is_dark else tissue + min(contrast, 13.0),
        mass_loss=float(rng.choice([0.3, 1.7])) if is_dark else float(rng.uniform(1.8, 2.8)),
        cysts=int(rng.integers(0, 5)),
        fluid=fluid,
    )


class TumourMedium(ArrayCanvas):
    """Collects what one image shows; every method adds one structure."""

    def __init__(self, fetus: Fetus, rng: np.random.Generator) -> None:
        super().__init__(fetus.array, rng, fetus.tissue_db)
        self.fetus = fetus
        self.inside = np.asarray(fetus.mass.inside_mm(self.x, self.z), np.float32)

    def tissue(self) -> None:
        """The maternal abdominal wall, the body of the fetus in patches of unlike echo, and connective tissue."""
        rng, unit, fetus = self.rng, self.unit_mm, self.fetus
        width_mm = fetus.array.size[1] * fetus.array.pixel_mm
        self.echo = self.texture(fetus.tissue_db, 3.5, 0.9, 2.5) + 2.0 * self.noise(9 * unit, 14 * unit)
        wall = (0.12 + 0.03 * self.noise(30 * unit, 25 * unit)) * fetus.array.depth_mm
        self.fill(wall - self.depth, self.texture(fetus.tissue_db + 5.0, 3.0, 0.6, 7.0))
        for _ in range(60):
            half = rng.uniform(1.0, 6.0) * unit
            at = self.line(-half, half)
            x = rng.uniform(0.0, width_mm) + at
            z = rng.uniform(0.0, fetus.array.depth_mm) + rng.normal(0.0, 0.3) * at
            self.reflect(x, z, rng.normal(-32.0, 5.0), taper_mm=half, thickness_mm=0.35 * unit, lobe_deg=30.0)

    def fluid_pocket(self) -> None:
        """A pocket of fluid: no echo, no loss, a bright far wall."""
        inside = np.asarray(self.fetus.fluid.inside_mm(self.x, self.z), np.float32)
        self.cover(inside)
        self.fill(inside, -74.0, loss=0.1)
        self.rim(inside, -30.0, -18.0, thickness_mm=0.4 * self.unit_mm, lobe_deg=40.0)

    def bones(self) -> None:
        """Three or four ribs in a row: short bright arcs with a shadow below each."""
        rng, unit, mass = self.rng, self.unit_mm, self.fetus.mass
        side, count = float(rng.choice([-1.0, 1.0])), int(rng.integers(2, 5))
        half = 2.2 * unit
        for i in range(count):
            at = self.line(-half, half)
            x = mass.x + side * (mass.a * 1.35 + (2.8 * i + 1.2) * half) + at
            z = mass.z + (0.15 * i - 0.4) * mass.a + 0.05 / unit * at**2
            self.reflect(x, z, -9.0, taper_mm=0.5 * half, thickness_mm=0.5 * unit, block_db=22.0, lobe_deg=40.0)

    def mass(self) -> None:
        """The tumour: uneven inside, with septa, cysts and calcifications, and a thin bright border in parts."""
        rng, unit, fetus = self.rng, self.unit_mm, self.fetus
        a, b = fetus.mass.a, fetus.mass.b
        self.cover(self.inside)
        self.fill(self.inside, self.texture(fetus.mass_db, 3.0, 1.2, 1.6), loss=fetus.mass_loss, softness=0.4)
        u, v = fetus.mass.local(self.x, self.z)
        within = step(self.inside - 0.8 * unit, 0.5 * unit)
        for _ in range(fetus.cysts):
            cyst = Outline(
                rng.uniform(-0.55, 0.55) * a, rng.uniform(-0.5, 0.5) * b, rng.uniform(0.08, 0.2) * a, 0.13 * b
            )
            weight = within * step(np.asarray(cyst.inside_mm(u, v), np.float32), 0.3 * unit)
            self.echo += (-68.0 - self.echo) * weight
        for _ in range(int(rng.poisson(5))):
            calcification = np.hypot(u - rng.uniform(-0.6, 0.6) * a, v - rng.uniform(-0.6, 0.6) * b) / (0.6 * unit)
            self.echo += (-18.0 - self.echo) * within * np.exp(-(calcification**2)).astype(np.float32)
        border = np.exp(-0.5 * (self.inside / (0.6 * unit)) ** 2) * step(self.noise(10 * unit, 10 * unit), 0.5)
        self.echo += (fetus.tissue_db + 7.0 - self.echo) * 0.7 * border.astype(np.float32)
        self.rim(self.inside, -27.0, -25.0, thickness_mm=0.35 * unit, lobe_deg=28.0)

    def build(self) -> "TumourMedium":
        """All structures, from the bulk to the details."""
        self.tissue()
        self.bones()
        self.fluid_pocket()
        self.mass()
        return self


@dataclass(frozen=True)
class TumourCase:
    """An image to be simulated: its file stem, who it shows, and the seed of its texture."""

    name: str
    fetus: Fetus
    seed: np.random.SeedSequence

    @property
    def subject(self) -> str:
        """The patient's name."""
        return self.fetus.name

    def simulate(self) -> Simulated:
        """Return the image, its mask, and the row of the table."""
        array, rng = self.fetus.array, np.random.default_rng(self.seed)
        image = array.picture(form_image(TumourMedium(self.fetus, rng).build().medium(), self.fetus.probe, rng))
        spacing = {"row_mm": f"{array.pixel_mm:.6f}", "col_mm": f"{array.pixel_mm:.6f}"}
        row = {"image": self.name, "patient": self.subject, **spacing}
        return Simulated(image, row, mask=self.fetus.mass.mask(array.size, array.pixel_mm))


def plan_tumour(settings: Settings) -> list[TumourCase]:
    """The cases of a tumour dataset: one image of each patient."""
    patients_seed, textures_seed = streams(settings.seed, 2)
    rngs, textures = generators(patients_seed, settings.images), textures_seed.spawn(settings.images)
    cases = []
    for i, (rng, texture) in enumerate(zip(rngs, textures, strict=True)):
        fetus = draw_fetus(numbered("P", i, settings.images), rng, settings.size_scale)
        cases.append(TumourCase(numbered("case_", i, settings.images), fetus, texture))
    return cases


KIND = Kind(
    plan=plan_tumour,
    annotations=MaskFolder(format="mask_folder"),
    tables={"metadata.csv": ("image", "patient", "row_mm", "col_mm")},
)
