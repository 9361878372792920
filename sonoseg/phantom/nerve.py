"""Transverse view of the neck with the brachial plexus, in the layout of Kaggle's Ultrasound Nerve Segmentation.

From the skin down: fat, the sternocleidomastoid muscle between two fasciae, the scalene muscles; among them the nerve,
an oval of dark fascicles in bright connective tissue, and as distractors an artery, a vein and dark nodes. In two of
five images no nerve can be seen, as in the real data.

<out>/train/1_1.tif        image: subject 1, image 1
<out>/train/1_1_mask.tif   its mask, 0 and 255; all 0 where there is no nerve
<out>/train_masks.csv      subject,img,pixels: the masks once more, as runs of pixels down the columns
"""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from sonoseg.phantom.acoustics import Array, Curve, Transducer, form_image
from sonoseg.phantom.canvas import ArrayCanvas
from sonoseg.phantom.layout import Kind, Settings, Simulated, generators, streams
from sonoseg.phantom.outline import Outline, draw_waves
from sonoseg.phantom.scan import LinearArray, draw_probe
from sonoseg.phantom.tissue import wavy
from sonoseg.schema.annotation_formats import MaskFolder

WIDTH, HEIGHT = 580, 420
EMPTY_SHARE = 0.4
_MOST_VIEWS = 120  # images of one subject in the real data
_FEWEST_SUBJECTS = 8  # unless there are fewer images: a split needs subjects to divide


@dataclass(frozen=True)
class Neck:
    """A subject on a scanner. Depths in mm from the skin; levels in dB; anatomy: seed of where the details lie."""

    name: str
    pixel_mm: float
    probe: Transducer
    fat_mm: float
    muscle_mm: float  # lower border of the sternocleidomastoid
    muscle_db: float
    nerve: Outline
    nerve_db: float
    artery: Outline
    anatomy: np.random.SeedSequence


@dataclass(frozen=True)
class NeckView:
    """One image: whether the nerve is in the plane, how far the probe has slid, by what factor it squeezes depths."""

    has_nerve: bool
    shift_mm: float
    squeeze: float
    nerve: Outline
    artery: Outline
    gain_db: float


def draw_neck(name: str, rng: np.random.Generator) -> Neck:
    """A subject: the nerve between the muscles, the artery beside and below it."""
    pixel_mm = float(rng.uniform(0.075, 0.095))
    width_mm, depth_mm = WIDTH * pixel_mm, HEIGHT * pixel_mm
    fat, muscle = depth_mm * float(rng.uniform(0.09, 0.16)), depth_mm * float(rng.uniform(0.3, 0.38))
    b = depth_mm * float(rng.uniform(0.085, 0.115))
    a = b * float(rng.uniform(1.4, 2.0))
    side = float(rng.choice([-1.0, 1.0]))
    x, z = width_mm * float(rng.uniform(0.42, 0.58)), muscle + b + depth_mm * float(rng.uniform(0.03, 0.12))
    radius = depth_mm * float(rng.uniform(0.055, 0.085))
    return Neck(
        name=name,
        pixel_mm=pixel_mm,
        probe=draw_probe(depth_mm, rng),
        fat_mm=fat,
        muscle_mm=muscle,
        muscle_db=float(rng.uniform(-46.0, -41.0)),
        nerve=Outline(x, z, a, b, -side * float(rng.uniform(-5.0, 20.0)), draw_waves(range(2, 6), 0.05, rng)),
        nerve_db=float(rng.uniform(-31.0, -25.0)),
        artery=Outline(x + side * (a + radius * float(rng.uniform(1.6, 3.0))), z + 0.8 * b, radius, 0.92 * radius),
        anatomy=np.random.SeedSequence(int(rng.integers(2**32))),
    )


def draw_view(neck: Neck, has_nerve: bool, rng: np.random.Generator) -> NeckView:
    """A view of a subject: the probe has slid and pressed a little, and further where the nerve is out of the plane."""
    shift = float(rng.normal(0.0, 1.2 if has_nerve else 2.5))
    squeeze = float(np.clip(rng.normal(1.0, 0.03), 0.92, 1.08))

    def moved(outline: Outline, jitter: float) -> Outline:
        grow = float(np.clip(rng.normal(1.0, 0.05), 0.88, 1.12))
        return Outline(
            outline.x + shift + float(rng.normal(0.0, jitter)),
            outline.z * squeeze + float(rng.normal(0.0, 0.5 * jitter)),
            outline.a * grow,
            outline.b * grow * squeeze,
            outline.angle_deg + float(rng.normal(0.0, 3.0)),
            tuple((order, height * float(rng.uniform(0.5, 1.4)), phase) for order, height, phase in outline.waves),
        )

    return NeckView(
        has_nerve=has_nerve,
        shift_mm=shift,
        squeeze=squeeze,
        nerve=moved(neck.nerve, 0.5),
        artery=moved(neck.artery, 0.4),
        gain_db=float(rng.uniform(3.0, 8.0)),
    )


class NeckMedium(ArrayCanvas):
    """Collects what one view of a neck shows; every method adds one structure.

    rng: texture, other in every view; body: where the details lie, the same in all views of a subject.
    """

    def __init__(self, neck: Neck, view: NeckView, array: LinearArray, rng: np.random.Generator) -> None:
        super().__init__(array, rng, neck.muscle_db)
        self.neck, self.view = neck, view
        self.body = np.random.default_rng(neck.anatomy)
        self.width_mm = array.size[1] * array.pixel_mm
        self.across = np.linspace(-0.2 * self.width_mm, 1.2 * self.width_mm, 300)

    def layers(self) -> None:
        """Scalene muscles, the sternocleidomastoid above them, fat and skin, with the fasciae in between."""
        neck, body, unit = self.neck, self.body, self.unit_mm
        self.echo = self.texture(neck.muscle_db + 3.0, 4.0, 0.7, 4.0)
        muscle_mm, fat_mm = neck.muscle_mm * self.view.squeeze, neck.fat_mm * self.view.squeeze
        tilt, bulge = body.uniform(-0.08, 0.08), body.uniform(1.0, 3.0) * unit
        middle = self.width_mm * body.uniform(0.35, 0.65)
        x = self.across
        lower = muscle_mm + tilt * (x - middle) - bulge * ((x - middle) / (0.5 * self.width_mm)) ** 2
        lower += wavy(x, 0.5 * unit, 8.0 * unit, body)
        upper = fat_mm + wavy(x, 0.6 * unit, 10.0 * unit, body)
        lower = np.maximum(lower, upper + 2.0 * unit)
        x = x + self.view.shift_mm
        self.fill(self._above(x, lower), self.texture(neck.muscle_db - 3.0, 4.5, 0.45, 6.0))
        self.fill(self._above(x, upper), self.texture(-35.0, 2.5, 0.8, 5.0))
        self.fill(1.6 * unit - self.z, self.texture(-24.0, 2.0, 0.5, 6.0))
        self.reflect(x, lower, -19.0 + wavy(x, 5.0, 6.0 * unit, body), thickness_mm=0.35 * unit, lobe_deg=30.0)
        self.reflect(x, upper, -21.0 + wavy(x, 5.0, 6.0 * unit, body), thickness_mm=0.3 * unit, lobe_deg=30.0)
        self.reflect(x, np.full(x.size, 1.7 * unit), -16.0, thickness_mm=0.3 * unit, lobe_deg=40.0)
        deep = self.array.depth_mm * body.uniform(0.72, 0.85) + wavy(x, unit, 12.0 * unit, body)
        self.reflect(x, deep, -26.0 + wavy(x, 7.0, 8.0 * unit, body), thickness_mm=0.5 * unit, lobe_deg=25.0)

    def streaks(self) -> None:
        """Connective tissue: long septa in the fat, short bright streaks along the fibres of the muscles."""
        body, unit = self.body, self.unit_mm
        fat = self.neck.fat_mm
        for count, low, high, top, bottom, level in (
            (14, 8.0, 25.0, 2.5 * unit, fat - unit, -25.0),
            (45, 3.0, 10.0, fat + unit, self.neck.muscle_mm - unit, -33.0),
            (80, 3.0, 14.0, self.neck.muscle_mm + unit, self.array.depth_mm, -32.0),
        ):
            for _ in range(count):
                half = 0.5 * body.uniform(low, high) * unit
                at = self.line(-half, half)
                x = self.width_mm * body.uniform(-0.1, 1.1) + self.view.shift_mm + at
                z = body.uniform(top, bottom) * self.view.squeeze + body.normal(0.0, 0.12) * at
                z = z + wavy(at, 0.2 * unit, 3.0 * unit, body)
                self.reflect(x, z, body.normal(level, 5.0), taper_mm=half, thickness_mm=0.3 * unit, lobe_deg=25.0)

    def vessels(self) -> None:
        """An artery, round, dark and with a bright wall; a flattened vein; both brighten what lies below them."""
        unit, artery = self.unit_mm, self.view.artery
        away = np.sign(artery.x - self.view.nerve.x)
        # A probe that presses on the neck closes its veins, so that few of them are seen as round.
        vein = Outline(
            artery.x + 2.4 * away * artery.a, artery.z - artery.b, 1.5 * artery.a, 0.45 * artery.b, 8.0 * away
        )
        for outline, wall in ((vein, -27.0), (artery, -15.0)):
            inside = np.asarray(outline.inside_mm(self.x, self.z), np.float32)
            self.cover(inside + 0.5 * unit)
            self.fill(inside + 0.8 * unit, -32.0)
            self.fill(inside, -75.0, loss=0.05)
            self.rim(inside, wall, wall, thickness_mm=0.4 * unit, lobe_deg=40.0)

    def node(self) -> None:
        """A lymph node: a dark oval without fascicles, not to be taken for the nerve."""
        body, artery = self.body, self.view.artery
        x = 2.0 * self.view.nerve.x - artery.x + body.uniform(-2.0, 2.0) * self.unit_mm
        node = Outline(x, artery.z + body.uniform(0.0, 2.0) * self.unit_mm, 1.1 * artery.a, 0.7 * artery.b)
        self.fill(node.inside_mm(self.x, self.z), self.texture(self.neck.muscle_db - 9.0, 2.0, 1.0, 1.5), softness=0.6)

    def plexus(self) -> None:
        """The nerve: bright connective tissue around dark fascicles, which make it look like a honeycomb."""
        unit, nerve, body = self.unit_mm, self.view.nerve, self.body
        inside = np.asarray(nerve.inside_mm(self.x, self.z), np.float32)
        self.cover(inside)
        self.fill(inside, self.texture(self.neck.nerve_db, 2.5, 0.8, 1.6), loss=0.9, softness=0.5)
        u, v = nerve.local(self.x, self.z)
        placed: list[tuple[float, float, float]] = []
        for _ in range(400):
            radius = nerve.b * body.uniform(0.18, 0.42)
            around, out = body.uniform(0.0, 2 * np.pi), np.sqrt(body.uniform(0.0, 1.0))
            at = out * np.cos(around) * (nerve.a - 1.25 * radius), out * np.sin(around) * (nerve.b - 1.25 * radius)
            if all(np.hypot(at[0] - x, at[1] - y) > radius + r + 0.06 * nerve.b for x, y, r in placed):
                placed.append((*at, radius))
        for x, y, radius in placed:
            fascicle = radius - np.hypot(u - x, v - y)
            self.fill(fascicle, self.neck.muscle_db - 5.0 + body.normal(0.0, 2.0), softness=0.5)
        self.rim(inside, self.neck.nerve_db + 4.0, self.neck.nerve_db + 2.0, thickness_mm=0.3 * unit, lobe_deg=40.0)

    def build(self) -> "NeckMedium":
        """All structures, from the bulk to the details."""
        self.layers()
        self.streaks()
        self.vessels()
        self.node()
        if self.view.has_nerve:
            self.plexus()
        return self

    def _above(self, x: Curve, z: Curve) -> Array:
        """Distance (H, W) above the line through points (x, z), mm."""
        return np.asarray(np.interp(self.x[0], x, z)[None] - self.z, np.float32)


def run_lengths(mask: NDArray[np.uint8]) -> str:
    """A mask (H, W) as Kaggle writes it: "start length start length", pixels counted from 1 down the columns.

    An empty mask gives an empty text.
    """
    flat = np.concatenate([[0], (mask.T.ravel() > 0).astype(np.int8), [0]])
    borders = np.flatnonzero(np.diff(flat)) + 1
    starts, stops = borders[::2], borders[1::2]
    return " ".join(f"{start} {stop - start}" for start, stop in zip(starts, stops, strict=True))


@dataclass(frozen=True)
class NerveCase:
    """An image to be simulated: whose it is, what it shows, and the seed of its texture."""

    neck: Neck
    number: int
    view: NeckView
    size_scale: float
    seed: np.random.SeedSequence

    @property
    def name(self) -> str:
        """subject_image, without leading zeros, as in the real data."""
        return f"{self.neck.name}_{self.number}"

    @property
    def subject(self) -> str:
        """The number before the underscore."""
        return self.neck.name

    def simulate(self) -> Simulated:
        """Return the image, its mask, and the row of the table."""
        rng = np.random.default_rng(self.seed)
        size = (round(HEIGHT * self.size_scale), round(WIDTH * self.size_scale))
        array = LinearArray(size, self.neck.pixel_mm / self.size_scale)
        medium = NeckMedium(self.neck, self.view, array, rng).build().medium()
        probe = replace(self.neck.probe, gain_db=self.view.gain_db)
        image = array.picture(form_image(medium, probe, rng))
        shown = self.view.nerve.mask(size, array.pixel_mm)
        mask = shown if self.view.has_nerve else np.zeros_like(shown)
        row = {"subject": self.subject, "img": self.number, "pixels": run_lengths(mask)}
        return Simulated(image, row, mask=mask)


def plan_nerve(settings: Settings) -> list[NerveCase]:
    """The cases of a nerve dataset: up to 120 alike views of each subject, two of five without the nerve."""
    plan_seed, subjects_seed, views_seed, textures_seed = streams(settings.seed, 4)
    images = settings.images
    per_subject = min(_MOST_VIEWS, max(1, images // _FEWEST_SUBJECTS))
    is_empty = np.random.default_rng(plan_seed).permutation(images) < round(EMPTY_SHARE * images)
    subjects = generators(subjects_seed, -(-images // per_subject))
    necks = [draw_neck(str(i + 1), rng) for i, rng in enumerate(subjects)]
    cases = []
    view_rngs, textures = generators(views_seed, images), textures_seed.spawn(images)
    for i, (view_rng, texture) in enumerate(zip(view_rngs, textures, strict=True)):
        neck = necks[i // per_subject]
        view = draw_view(neck, not is_empty[i], view_rng)
        cases.append(NerveCase(neck, i % per_subject + 1, view, settings.size_scale, texture))
    return cases


KIND = Kind(
    plan=plan_nerve,
    annotations=MaskFolder(format="mask_folder", images="train", masks="train"),
    image_suffix=".tif",
    tables={"train_masks.csv": ("subject", "img", "pixels")},
)
