"""Draw patients and views at random: plain numbers here, no pixels. `spine.py` turns them into images."""

from dataclasses import dataclass

import numpy as np

from sonoseg.phantom.acoustics import Transducer


@dataclass(frozen=True)
class Device:
    """Image grid of a scanner preset: width and height in pixels, pixel size in mm."""

    width: int
    height: int
    row_mm: float
    col_mm: float

    def scaled(self, factor: float) -> "Device":
        """The same field of view with factor times as many pixels each way."""
        if factor == 1.0:
            return self
        width, height = round(self.width * factor), round(self.height * factor)
        return Device(width, height, self.row_mm * self.height / height, self.col_mm * self.width / width)


DEVICES = (
    Device(625, 443, 0.18, 0.18),
    Device(640, 480, 0.17, 0.17),
    Device(560, 420, 0.20, 0.20),
    Device(704, 528, 0.15, 0.16),
    Device(600, 450, 0.19, 0.22),
    Device(512, 384, 0.22, 0.22),
    Device(400, 300, 0.30, 0.28),
)

# What a view shows, and its share of the images. A posterior or anterior complex without any sign of the midline does
# not occur in a transverse view that is centred well enough to show it, so that combination is left out.
VIEWS: dict[str, tuple[tuple[str, ...], float]] = {
    "interspinous": (("MID", "EPI", "VTB"), 0.70),
    "spinous": (("MID",), 0.10),
    "posterior_only": (("MID", "EPI"), 0.06),
    "anterior_only": (("MID", "VTB"), 0.04),
    "paramedian": ((), 0.10),
}


@dataclass(frozen=True)
class Patient:
    """A patient on a scanner. Lengths in mm along the midline unless stated otherwise."""

    name: str
    device: Device
    probe: Transducer
    gel_mm: float
    fat_mm: float  # skin to deep fascia
    epi_mm: float  # skin to posterior complex, typical for this person
    canal_mm: float  # posterior to anterior complex
    facet_mm: float  # lateral distance of the articular processes from the midline
    muscle_db: float
    fat_db: float
    streakiness: float  # how much connective tissue runs through the muscle, about 1


@dataclass(frozen=True)
class View:
    """One image of a patient. offset_mm: midline from the image centre at the skin; tilt_deg: right-down positive."""

    kind: str
    tilt_deg: float
    offset_mm: float
    epi_mm: float
    canal_mm: float
    gain_db: float
    central_shadow_db: float  # two-way loss of a spinous process that is partly in the beam; 0 for a clear window
    midline_db: float  # contrast of the midline raphe to the ligament around it, either sign
    epi_db: float
    vtb_db: float
    epi_half_mm: float
    vtb_half_mm: float
    vtb_height_mm: float
    side: int  # -1 or 1: where a paramedian view's midline lies outside the image centre

    @property
    def labels(self) -> tuple[str, ...]:
        """Names of the structures that this view shows."""
        return VIEWS[self.kind][0]


def draw_probe(depth_mm: float, rng: np.random.Generator) -> Transducer:
    """A scanner's settings for an image of depth_mm."""
    angles = int(rng.integers(3, 6))
    return Transducer(
        pulse_sigma_mm=float(rng.uniform(0.09, 0.15)),
        focus_mm=depth_mm * float(rng.uniform(0.35, 0.55)),
        beam_sigma_mm=float(rng.uniform(0.3, 0.45)),
        beam_growth=float(rng.uniform(0.01, 0.018)),
        steering_deg=tuple(float(a) for a in np.linspace(-8.0, 8.0, angles)),
        tgc_db_per_cm=float(rng.uniform(4.0, 4.8)),
        noise_db=float(rng.uniform(-99.0, -88.0)),
        clutter_db=float(rng.uniform(-19.0, -14.0)),
        dynamic_range_db=float(rng.uniform(56.0, 64.0)),
        gamma=float(rng.uniform(1.35, 1.75)),
        despeckle=float(rng.uniform(0.06, 0.14)),
        display_sigma_px=float(rng.uniform(0.5, 0.75)),
    )


def draw_patient(name: str, rng: np.random.Generator, size_scale: float = 1.0) -> Patient:
    """A person whose spine fits into the depth of the device they are scanned with.

    size_scale: factor on the device's width and height in pixels; the field of view in mm stays as it is.
    """
    device = DEVICES[int(rng.integers(len(DEVICES)))].scaled(size_scale)
    depth_mm = device.height * device.row_mm
    canal_mm = float(rng.uniform(13.0, 17.5))
    epi_mm = float(np.clip(depth_mm * rng.uniform(0.44, 0.56), 26.0, 62.0))
    return Patient(
        name=name,
        device=device,
        probe=draw_probe(depth_mm, rng),
        gel_mm=float(rng.uniform(0.8, 3.0)),
        fat_mm=float(epi_mm * rng.uniform(0.10, 0.30)),
        epi_mm=min(epi_mm, depth_mm - canal_mm - 17.0),
        canal_mm=canal_mm,
        facet_mm=float(rng.uniform(13.0, 18.0)),
        muscle_db=float(rng.uniform(-45.0, -39.0)),
        fat_db=float(rng.uniform(-39.0, -32.0)),
        streakiness=float(rng.uniform(0.6, 1.5)),
    )


def draw_view(kind: str, patient: Patient, rng: np.random.Generator) -> View:
    """A view of the given kind; the numbers that its kind does not use are drawn all the same, so that a view's
    other numbers do not depend on its kind."""
    width_mm = patient.device.width * patient.device.col_mm
    shadowed = rng.random() < 0.35
    return View(
        kind=kind,
        tilt_deg=float(np.clip(rng.normal(0.0, 3.5), -8.0, 8.0)),
        offset_mm=float(np.clip(rng.normal(0.0, 0.05), -0.12, 0.12)) * width_mm,
        epi_mm=patient.epi_mm + float(rng.uniform(-2.0, 2.0)),
        canal_mm=patient.canal_mm + float(rng.uniform(-1.0, 1.0)),
        gain_db=float(rng.uniform(-3.0, 3.0)),
        central_shadow_db=float(rng.uniform(4.0, 13.0)) if shadowed else 0.0,
        midline_db=float(rng.choice([-1.0, 1.0]) * rng.uniform(4.0, 8.0)),
        epi_db=float(rng.uniform(-24.0, -9.0)),
        vtb_db=float(rng.uniform(-21.0, -10.0)),
        epi_half_mm=float(rng.uniform(6.5, 10.0)),
        vtb_half_mm=float(rng.uniform(10.0, 14.5)),
        vtb_height_mm=float(rng.uniform(5.0, 8.5)),
        side=int(rng.choice([-1, 1])),
    )


def share_views(images: int, rng: np.random.Generator) -> list[str]:
    """Kinds of `images` views in random order, in proportion to the shares (largest remainders)."""
    exact = {kind: share * images for kind, (_, share) in VIEWS.items()}
    count = {kind: int(value) for kind, value in exact.items()}
    by_remainder = sorted(exact, key=lambda kind: count[kind] - exact[kind])
    for kind in by_remainder[: images - sum(count.values())]:
        count[kind] += 1
    kinds = [kind for kind, n in count.items() for _ in range(n)]
    return [kinds[i] for i in rng.permutation(images)]


def share_patients(images: int, rng: np.random.Generator) -> list[int]:
    """Patient index of each image: 3 to 6 consecutive images per patient (the last one may have fewer)."""
    owner: list[int] = []
    patient = 0
    while len(owner) < images:
        owner += [patient] * int(rng.choice([3, 4, 5, 6], p=[0.35, 0.3, 0.2, 0.15]))
        patient += 1
    return owner[:images]
