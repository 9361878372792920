"""Construction of a medium: structures are added in order, from the bulk to the details."""

from dataclasses import replace

import numpy as np

from sonoseg.phantom.acoustics import Array, Curve, Medium, Surface
from sonoseg.phantom.outline import Mm
from sonoseg.phantom.scan import LOSS_DB, CurvedArray, LinearArray
from sonoseg.phantom.tissue import blend, smooth_noise, step, surface_through, wavy


class Canvas:
    """Echogenicity and loss maps, float32 (H, W), and the reflectors of one image."""

    def __init__(
        self,
        size: tuple[int, int],
        spacing: tuple[float, float],
        rng: np.random.Generator,
        echo_db: float,
        loss_db_per_mm: float,
    ) -> None:
        self.size, self.spacing, self.rng = size, spacing, rng
        self.surfaces: list[Surface] = []
        self.echo = np.full(size, echo_db, np.float32)
        self.loss = np.full(size, loss_db_per_mm, np.float32)

    def noise(self, depth_mm: float, lateral_mm: float) -> Array:
        """Smooth random field (H, W) with grain of the given size."""
        return smooth_noise(self.size, self.spacing, (depth_mm, lateral_mm), self.rng)

    def line(self, start: float, stop: float) -> Curve:
        """Positions from start to stop, mm, a point every quarter millimetre."""
        return np.linspace(start, stop, max(4, int((stop - start) * 4)))

    def medium(self) -> Medium:
        """Return the medium with all structures added so far."""
        return Medium(self.echo.astype(np.float32), self.loss.astype(np.float32), self.spacing, self.surfaces)


class ArrayCanvas(Canvas):
    """A canvas in the beam coordinates of an array.

    x, z: float32 (H, W), where each sample lies in the picture, mm; depth: float32 (H, 1) and lateral: (W,), where it
    lies along its beam and across the beams, mm; unit_mm: a sixtieth of the depth, about 1 mm in a
    usual field. Textures and thicknesses are given in units, because deeper fields are scanned with longer waves.
    """

    def __init__(self, array: LinearArray | CurvedArray, rng: np.random.Generator, echo_db: float) -> None:
        spacing = (array.pixel_mm, array.pixel_mm)
        super().__init__(array.beams, spacing, rng, echo_db, LOSS_DB / array.depth_mm)
        self.array = array
        self.unit_mm = array.depth_mm / 60.0
        self.x, self.z = array.grid()
        self.depth = np.arange(self.size[0], dtype=np.float32)[:, None] * np.float32(array.pixel_mm)
        self.lateral = np.arange(self.size[1]) * array.pixel_mm

    def texture(self, level_db: float, spread_db: float, depth: float, lateral: float) -> Array:
        """Uneven echogenicity (H, W) around level_db: grains of the given size in units and of five times that size."""
        fine, coarse = (self.noise(depth * n * self.unit_mm, lateral * n * self.unit_mm) for n in (1.0, 5.0))
        return np.float32(level_db) + np.float32(0.8 * spread_db) * fine + np.float32(0.6 * spread_db) * coarse

    def fill(self, inside_mm: Mm, level_db: Array | float, loss: float | None = None, softness: float = 0.3) -> None:
        """Replace what lies inside; loss: a factor on that of soft tissue, or None to leave it; softness in units."""
        weight = step(np.asarray(inside_mm, np.float32), softness * self.unit_mm)
        self.echo = blend(self.echo, level_db, weight)
        if loss is not None:
            self.loss = blend(self.loss, loss * LOSS_DB / self.array.depth_mm, weight)

    def cover(self, inside_mm: Mm) -> None:
        """Take away the parts of the reflectors drawn so far that lie inside, (H, W), > 0: something else is there."""
        for i, surface in enumerate(self.surfaces):
            columns = np.arange(surface.first, surface.first + surface.depth_mm.size)
            rows = np.clip(np.rint(surface.depth_mm / self.spacing[0]).astype(int), 0, self.size[0] - 1)
            hidden = np.where(inside_mm[rows, columns] > 0, 120.0, 0.0)
            self.surfaces[i] = replace(surface, strength_db=surface.strength_db - hidden)

    def reflect(self, x: Curve, z: Curve, strength_db: Curve | float, **options: float) -> None:
        """Add a reflector through points (x, z) of the picture, mm, (n,); options: see surface_through, in mm.

        Beams meet it once: of a line that folds back, points are taken in the order of their beams.
        """
        lateral, depth = self.array.to_beam(x, z)
        order = np.argsort(lateral, kind="stable")
        level = np.broadcast_to(np.asarray(strength_db, float), lateral.shape)[order]
        self._add(lateral[order], depth[order], level, **options)

    def layer(self, depth_mm: Curve, strength_db: Curve | float, **options: float) -> None:
        """Add a reflector across all beams at depth_mm (W,) along each of them; options as for reflect."""
        level = np.broadcast_to(np.asarray(strength_db, float), self.lateral.shape)
        self._add(self.lateral, depth_mm, level, **options)

    def rim(self, inside_mm: Mm, near_db: float, far_db: float, **options: float) -> None:
        """Reflectors along the near and far side of a region, as far as the field shows them; options as for reflect.

        inside_mm: (H, W), positive inside. Nothing is added for a region outside the field.
        """
        inside = inside_mm > 0
        columns = np.flatnonzero(inside.any(axis=0))
        if columns.size < 3:
            return
        height = self.size[0]
        for level, rows, outward in (
            (near_db, inside.argmax(axis=0)[columns], -1),
            (far_db, height - 1 - inside[::-1].argmax(axis=0)[columns], 1),
        ):
            beyond = np.clip(rows + outward, 0, height - 1)
            here, there = inside_mm[rows, columns], inside_mm[beyond, columns]
            share = here / np.maximum(here - there, 1e-6)
            strength = np.where(rows == beyond, -120.0, level)  # the border itself lies outside the field
            depth = (rows + outward * np.clip(share, 0.0, 1.0)) * self.spacing[0]
            self._add(columns * self.spacing[1], depth, strength, **options)

    def _add(self, lateral: Curve, depth: Curve, strength: Curve, **options: float) -> None:
        # Collagen and cortex are uneven: their strength varies over a millimetre or two.
        uneven = np.minimum(wavy(lateral, 2.5, 2.0 * self.unit_mm, self.rng), 3.0)
        surface = surface_through(lateral, depth, strength + uneven, (self.size[1], self.spacing[1]), **options)
        if surface is not None:
            self.surfaces.append(surface)
