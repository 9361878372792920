"""Where the beams of a probe run, and how their echoes become a picture: linear and curved arrays."""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from sonoseg.phantom.acoustics import Array, Curve, Transducer
from sonoseg.phantom.outline import pixel_grid

LOSS_DB = 28.0  # two-way loss of soft tissue over the whole depth: deeper fields are scanned at lower frequencies


@dataclass(frozen=True)
class LinearArray:
    """Parallel beams straight down: one per column of the picture. size: (rows, columns) of the picture."""

    size: tuple[int, int]
    pixel_mm: float

    @property
    def depth_mm(self) -> float:
        """Depth of the field."""
        return self.size[0] * self.pixel_mm

    @property
    def beams(self) -> tuple[int, int]:
        """Shape of an image in beam coordinates: (depths, beams)."""
        return self.size

    def grid(self) -> tuple[Array, Array]:
        """x and z in mm, each float32 (depths, beams), of every sample in beam coordinates."""
        x, z = pixel_grid(self.size, self.pixel_mm)
        return x.astype(np.float32), z.astype(np.float32)

    def to_beam(self, x: Curve, z: Curve) -> tuple[Curve, Curve]:
        """Lateral position and depth in mm, in beam coordinates, of points (x, z) of the picture."""
        return x, z

    def picture(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """The picture, uint8 `size`, of an image in beam coordinates."""
        return image


@dataclass(frozen=True)
class CurvedArray:
    """Beams that fan out from a curved face: the picture is a sector on black.

    axis_mm: x of the middle beam; face_mm: z of the face there, negative when the picture begins below it; radius_mm:
    of the face; half_deg: the outermost beam from the middle one; depth_mm: of the field, from the face.
    """

    size: tuple[int, int]
    pixel_mm: float
    axis_mm: float
    face_mm: float
    radius_mm: float
    half_deg: float
    depth_mm: float

    @property
    def beams(self) -> tuple[int, int]:
        """Shape of an image in beam coordinates; its samples are as far apart as pixels at half the depth."""
        arc_mm = 2.0 * np.radians(self.half_deg) * self._middle_mm
        return max(8, round(self.depth_mm / self.pixel_mm)), max(8, round(arc_mm / self.pixel_mm))

    @property
    def _middle_mm(self) -> float:
        return self.radius_mm + 0.5 * self.depth_mm

    def grid(self) -> tuple[Array, Array]:
        """x and z in mm, each float32 (depths, beams), of every sample in beam coordinates."""
        depths, beams = self.beams
        radius = self.radius_mm + np.arange(depths, dtype=np.float32)[:, None] * np.float32(self.pixel_mm)
        angle = np.arange(beams, dtype=np.float32)[None] * np.float32(self.pixel_mm / self._middle_mm)
        angle -= np.float32(np.radians(self.half_deg))
        x = np.float32(self.axis_mm) + radius * np.sin(angle)
        z = np.float32(self.face_mm - self.radius_mm) + radius * np.cos(angle)
        return x, z

    def to_beam(self, x: Curve, z: Curve) -> tuple[Curve, Curve]:
        """Lateral position and depth in mm, in beam coordinates, of points (x, z) of the picture."""
        dx, dz = x - self.axis_mm, z - self.face_mm + self.radius_mm
        lateral = (np.arctan2(dx, dz) + np.radians(self.half_deg)) * self._middle_mm
        return lateral, np.hypot(dx, dz) - self.radius_mm

    def picture(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Scan conversion: the picture, uint8 `size`, of an image in beam coordinates; black outside the sector."""
        lateral, depth = self.to_beam(*pixel_grid(self.size, self.pixel_mm))
        columns, rows = (lateral / self.pixel_mm).astype(np.float32), (depth / self.pixel_mm).astype(np.float32)
        out = cv2.remap(image, columns, rows, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT, borderValue=0)
        return np.asarray(out, np.uint8)


def draw_sector(size: tuple[int, int], pixel_mm: float, rng: np.random.Generator) -> CurvedArray:
    """A sector that fills most of a picture of this size, as a sonographer would set it."""
    height_mm, width_mm = size[0] * pixel_mm, size[1] * pixel_mm
    face = float(rng.uniform(-0.28, 0.02))
    return CurvedArray(
        size=size,
        pixel_mm=pixel_mm,
        axis_mm=width_mm * float(rng.uniform(0.47, 0.53)),
        face_mm=face * height_mm,
        radius_mm=height_mm * float(rng.uniform(0.5, 0.8)),
        half_deg=float(rng.uniform(33.0, 41.0)),
        depth_mm=height_mm * (float(rng.uniform(0.99, 1.12)) - face),
    )


def draw_probe(depth_mm: float, rng: np.random.Generator) -> Transducer:
    """A scanner's settings for a field of depth_mm: pulse and beam grow with the depth, the gain makes up for loss."""
    angles = int(rng.integers(3, 5))
    return Transducer(
        pulse_sigma_mm=depth_mm * float(rng.uniform(0.0018, 0.0028)),
        focus_mm=depth_mm * float(rng.uniform(0.4, 0.6)),
        beam_sigma_mm=depth_mm * float(rng.uniform(0.0045, 0.0065)),
        beam_growth=float(rng.uniform(0.012, 0.02)),
        steering_deg=tuple(float(a) for a in np.linspace(-5.0, 5.0, angles)),
        tgc_db_per_cm=10.0 * LOSS_DB / depth_mm * float(rng.uniform(0.92, 1.05)),
        noise_db=float(rng.uniform(-95.0, -84.0)),
        clutter_db=float(rng.uniform(-22.0, -16.0)),
        dynamic_range_db=float(rng.uniform(56.0, 64.0)),
        gamma=float(rng.uniform(1.3, 1.7)),
        despeckle=float(rng.uniform(0.06, 0.14)),
        display_sigma_px=float(rng.uniform(0.5, 0.75)),
    )
