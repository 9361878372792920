"""What a transverse view of the spine is made of: echogenicity, loss and reflectors, structure by structure."""

from typing import Any

import numpy as np

from sonoseg.phantom.acoustics import Curve, Medium, Surface
from sonoseg.phantom.canvas import Canvas
from sonoseg.phantom.spine.anatomy import Patient, View
from sonoseg.phantom.tissue import Frame, blend, step, wavy


class SpineMedium(Canvas):
    """Collects the echogenicity map and the surfaces of one view; every method adds one structure."""

    def __init__(self, patient: Patient, view: View, rng: np.random.Generator) -> None:
        device = patient.device
        size, spacing = (device.height, device.width), (device.row_mm, device.col_mm)
        super().__init__(size, spacing, rng, echo_db=patient.muscle_db, loss_db_per_mm=0.52)
        self.patient, self.view = patient, view
        width_mm = device.width * device.col_mm
        x0 = 0.5 * (device.width - 1) * device.col_mm + view.offset_mm
        if view.kind == "paramedian":
            x0 += view.side * rng.uniform(0.42, 0.55) * width_mm
        self.half_mm = width_mm + 25.0
        self.bow_mm = float(rng.uniform(-1.5, 1.5))
        self.skin_wave_mm = wavy(np.arange(self.size[1]) * self.spacing[1], 0.15, 9.0, rng)
        self.frame = Frame(x0, patient.gel_mm, view.tilt_deg, self.size, self.spacing)
        self.u, self.v = self.frame.to_body()
        self.has_process = view.kind == "spinous"
        self.bulge_mm = float(rng.uniform(0.8, 3.0))
        self.facet_top_mm = view.epi_mm - float(rng.uniform(3.0, 7.0))
        self.side_drop_mm = rng.uniform(5.0, 11.0, 2)
        self.facet_wave = rng.uniform(-1.5, 1.5, 4)

    def add(self, u: Curve, v: Curve, strength_db: Curve | float, **options: float) -> None:
        """Add a reflector if any of it lies inside the image."""
        # Collagen and cortex are uneven: strength and height vary over a millimetre or two.
        uneven_db = np.minimum(wavy(u, 3.0, 1.8, self.rng), 3.0)
        surface = self.frame.surface(u, v + wavy(u, 0.1, 1.3, self.rng), strength_db + uneven_db, **options)
        if surface is not None:
            self.surfaces.append(surface)

    def fascia(self, u: Curve | float) -> Any:
        """Depth v of the deep fascia: a bulge over each muscle, a dip over the midline."""
        away = (np.sqrt(u**2 + 49.0) - 27.0) / 27.0
        return self.patient.fat_mm + 1.8 * np.exp(-((u / 8.0) ** 2)) + self.bulge_mm * np.minimum(away**2, 1.5)

    def bone(self, u: Curve | float) -> Any:
        """Depth v of the bone beside the canal: articular process, then down and out to the transverse process."""
        a = np.abs(u)
        side = np.where(u < 0, self.side_drop_mm[0], self.side_drop_mm[1])
        bump = np.where(u < 0, self.facet_wave[0], self.facet_wave[1])
        inner = self.patient.facet_mm - 6.0
        fall = 1.0 / (1.0 + np.exp(-(a - self.patient.facet_mm - 6.0 - bump) / 3.5))
        top = self.facet_top_mm + 0.2 * (a - inner - 3.0) ** 2 * (a < inner + 3.0)
        return top + side * fall - 1.5 * np.clip((a - 38.0) / 15.0, 0.0, 2.0)

    def lamina(self, u: Curve | float) -> Any:
        """Depth v of the lamina in a spinous view: highest next to the process, falling off to both sides."""
        a = np.abs(u)
        side = np.where(u < 0, self.side_drop_mm[0], self.side_drop_mm[1])
        return self.facet_top_mm - 3.0 + (side + 5.0) * (1.0 - np.exp(-np.maximum(a - 4.0, 0.0) / 12.0))

    def floor(self, u: Curve | float) -> Any:
        """Depth v where the muscle ends on bone."""
        return self.lamina(u) if self.has_process else self.bone(u)

    def muscle(self) -> None:
        """Muscle bulk with fibre texture, darker in the upper belly, and the fat between the two bellies."""
        depth = self.v / self.view.epi_mm
        self.echo += 13.0 * np.clip(depth - 0.4, -0.2, 0.5) + 1.8 * self.noise(0.5, 3.0) + 2.8 * self.noise(5.0, 9.0)
        self.echo += 2.4 * self.noise(1.2, 5.0)
        # Behind the muscles hardly any sound is left: whatever lies there is reached through bone and its gaps only.
        self.loss += 0.9 * step(self.v - self.floor(self.u) - 2.0, 1.5) * step(np.abs(self.u) - 12.0, 2.0)

    def septa(self) -> None:
        """Connective tissue in the muscle: a few long bright bands, more short streaks, along the fibres."""
        rng, much = self.rng, self.patient.streakiness
        reach = max(abs(float(self.u.min())), abs(float(self.u.max())))
        area = reach / 55.0
        groups = ((7, 7.0, 18.0, -17.0, 4.0, 0.35), (26, 2.5, 8.0, -25.0, 5.0, 0.25), (30, 1.5, 5.0, -31.0, 4.0, 0.2))
        for side in (-1.0, 1.0):
            lean = rng.uniform(2.0, 11.0)
            for count, low, high, level, spread, thickness in groups:
                for _ in range(int(rng.poisson(count * much * area))):
                    length = rng.uniform(low, high)
                    centre = side * rng.uniform(7.0, reach)
                    top, bottom = float(self.fascia(centre)), float(self.floor(centre))
                    # Fewer streaks in the upper belly than near the bone.
                    depth = top + 2.5 + (bottom - top - 4.0) * rng.beta(1.7, 1.1)
                    slope = np.tan(np.radians(side * lean + rng.normal(0.0, 7.0)))
                    u = self.line(centre - length / 2, centre + length / 2)
                    v = depth + slope * (u - centre) + rng.normal(0, 0.012) * (u - centre) ** 2
                    v += wavy(u, 0.18, 3.0, rng)
                    inside = (v > self.fascia(u) + 0.8) & (v < self.floor(u) - 0.8) & (np.abs(u) > 6.0)
                    strength = rng.normal(level, spread) - 40.0 * ~inside
                    self.add(u, v, strength, taper_mm=length / 2.5, thickness_mm=thickness, lobe_deg=24.0)
            self.intermuscular(side)

    def intermuscular(self, side: float) -> None:
        """The bright oblique plane between multifidus and longissimus, with fat around it."""
        rng = self.rng
        a = self.line(8.0, rng.uniform(28.0, 40.0))
        start, drop = self.view.epi_mm * rng.uniform(0.42, 0.6), rng.uniform(0.1, 0.3)
        v = np.minimum(start + drop * (a - 8.0) + wavy(a, 0.9, 7.0, rng), self.floor(side * a) - 1.5)
        u = side * a
        order = np.argsort(u)
        strength = -20.0 + wavy(a, 4.0, 4.0, rng)
        self.add(u[order], v[order], strength[order], taper_mm=5.0, thickness_mm=0.4, lobe_deg=30.0)
        line = np.interp(side * self.u, a, v, left=-99.0, right=-99.0)
        self.echo += np.float32(7.0) * np.exp(-(((self.v - line) / 1.3) ** 2)).astype(np.float32)

    def fat_and_skin(self) -> None:
        """Deep fascia, subcutaneous fat with its horizontal septa, skin, and gel above it."""
        rng, patient = self.rng, self.patient
        u = self.line(-self.half_mm, self.half_mm)
        fascia = self.fascia(u) + wavy(u, 0.25, 6.0, rng)
        self.add(u, fascia, -21.0 + wavy(u, 4.0, 8.0, rng), thickness_mm=0.3, lobe_deg=25.0)
        self.add(u, fascia + rng.uniform(0.9, 1.6), -29.0 + wavy(u, 5.0, 5.0, rng), lobe_deg=25.0)
        above = step(self.fascia(self.u) - self.v + 0.4 * self.noise(3.0, 6.0), 0.3)
        texture = patient.fat_db + 2.5 * self.noise(0.7, 5.0) + 2.5 * self.noise(1.5, 12.0)
        self.echo = blend(self.echo, texture, above)
        self.loss = blend(self.loss, 0.62, above)
        for _ in range(int(rng.poisson(1.6 * patient.fat_mm + 3))):
            length, centre = rng.uniform(6.0, 30.0), rng.uniform(-self.half_mm, self.half_mm)
            u = self.line(centre - length / 2, centre + length / 2)
            v = 2.0 + (patient.fat_mm - 2.5) * rng.random() + rng.normal(0, 0.03) * (u - centre)
            v += wavy(u, 0.2, 5.0, rng)
            self.add(u, v, rng.normal(-26.0, 4.0), taper_mm=length / 3, thickness_mm=0.2, lobe_deg=30.0)

        z = np.arange(self.size[0])[:, None] * self.spacing[0] - self.skin_depth_mm()[None]
        skin = step(z, 0.08) * step(1.7 - z, 0.25)
        self.echo = blend(self.echo, -27.0 + 2.5 * self.noise(0.5, 6.0) + 2.0 * self.noise(0.8, 15.0), skin)
        gel = step(-z, 0.12)
        ringing = 4.0 * np.cos(2 * np.pi * (z + patient.gel_mm) / 0.9) * np.exp(-(z + patient.gel_mm) / 1.5)
        self.echo = blend(self.echo, -50.0 + ringing + 1.5 * self.noise(0.6, 20.0), gel)
        self.loss = blend(self.loss, 0.05, gel)
        x = np.arange(self.size[1]) * self.spacing[1]
        level = -16.0 + wavy(x, 2.2, 5.0, rng)
        lower = self.skin_depth_mm() + 1.5 + wavy(x, 0.15, 8.0, rng)
        self.surfaces.append(Surface(0, self.skin_depth_mm(), level, 0.18, lobe_deg=60.0))
        self.surfaces.append(Surface(0, lower, -24.0 + wavy(x, 4.0, 5.0, rng), 0.25, lobe_deg=40.0))

    def skin_depth_mm(self) -> Curve:
        """Depth (W,) in mm of the skin surface: flat but for slight waves; exactly gel_mm where the midline starts."""
        x = np.arange(self.size[1]) * self.spacing[1] - self.frame.x0_mm
        shape = self.bow_mm * (x / (self.size[1] * self.spacing[1])) ** 2 + self.skin_wave_mm
        return np.maximum(self.patient.gel_mm + shape - np.interp(0.0, x, self.skin_wave_mm), 0.0)

    def side_bones(self) -> None:
        """Articular and transverse processes on both sides: bright, sloped, casting shadows."""
        rng = self.rng
        for side in (-1.0, 1.0):
            inner = self.patient.facet_mm - 6.0 + rng.uniform(-1.0, 1.0)
            outer = rng.uniform(42.0, 58.0)
            a = self.line(inner, outer)
            u = np.sort(side * a)
            v = self.bone(u) + wavy(u, 0.5, 5.0, rng)
            self.reflect_bone(u, v, -6.0 + wavy(u, 5.0, 5.0, rng), taper_mm=6.0)

    def lateral_bones(self) -> None:
        """Tips of transverse processes and ribs, seen when the probe stands beside the spine."""
        rng = self.rng
        start = rng.uniform(50.0, 60.0)
        while start < self.half_mm:
            a = self.line(start, start + rng.uniform(10.0, 24.0))
            middle = 0.5 * (a[0] + a[-1])
            depth = self.view.epi_mm + rng.uniform(-6.0, 6.0)
            u = np.sort(-self.view.side * a)
            v = depth + 0.012 * (np.abs(u) - middle) ** 2 + wavy(u, 0.4, 5.0, rng)
            self.reflect_bone(u, v, -8.0 + wavy(u, 5.0, 5.0, rng), taper_mm=4.0)
            start = a[-1] + rng.uniform(5.0, 18.0)

    def reflect_bone(
        self, u: Curve, v: Curve, strength_db: Curve, block_db: float = 34.0, taper_mm: float = 2.5
    ) -> None:
        """A bone surface: a bright line, the diffuse echo of its rough cortex, reverberation, and a shadow."""
        ring = float(self.rng.uniform(1.6, 2.6)) * (self.rng.random() < 0.4)
        self.add(
            u, v, strength_db, taper_mm=taper_mm, thickness_mm=0.35, block_db=block_db, lobe_deg=20.0, ring_mm=ring
        )
        line = np.interp(self.u, u, v, left=-99.0, right=-99.0)
        depth = self.v - line
        near = step(depth + 2.6 + 1.2 * self.noise(2.0, 6.0), 1.0) * np.exp(-np.maximum(depth, 0.0) / 2.0)
        near *= step(np.minimum(self.u - u[0], u[-1] - self.u) - 0.4 * taper_mm, 0.4 * taper_mm) * (depth < 20.0)
        haze = -23.0 + 3.0 * self.noise(0.8, 4.0) + 3.0 * self.noise(3.0, 8.0)
        self.echo = blend(self.echo, haze, 0.9 * near)

    def spinous_process(self) -> None:
        """Cap of a spinous process, its shadow, and the laminae that fall away from it on both sides."""
        rng = self.rng
        half, top = rng.uniform(3.2, 5.5), float(self.fascia(0.0)) + rng.uniform(1.5, 5.0)
        u = self.line(-half, half)
        cap = top + 1.6 * (u / half) ** 2
        halo = step(half + 2.0 - np.abs(self.u), 0.8) * step(self.v - top + 2.8, 0.4) * step(top + 4.0 - self.v, 0.4)
        self.echo -= 12.0 * halo
        self.reflect_bone(u, cap, np.full(u.size, rng.uniform(-16.0, -6.0)), block_db=40.0, taper_mm=1.5)
        # The flanks of the process run almost along the beam: no echo of their own, but nothing passes through.
        flank = step(half - 0.5 + 0.06 * np.maximum(self.v - top, 0.0) - np.abs(self.u), 0.4) * step(self.v - top - 1.0)
        self.loss += 1.6 * flank
        for side in (-1.0, 1.0):
            a = self.line(half + rng.uniform(1.0, 3.0), rng.uniform(40.0, 58.0))
            u = np.sort(side * a)
            v = self.lamina(u) + wavy(u, 0.5, 6.0, rng)
            self.reflect_bone(u, v, -6.0 + wavy(u, 5.0, 6.0, rng), taper_mm=5.0)

    def interspinous_ligament(self) -> None:
        """Tissue between two spinous processes, the midline raphe in it, and a process partly in the beam."""
        view, rng = self.view, self.rng
        width = rng.uniform(4.0, 7.0)
        middle = step(width + 0.05 * self.v + 0.7 * self.noise(4.0, 4.0) - np.abs(self.u), 1.0)
        middle *= step(self.v - self.fascia(self.u) - 0.5) * step(view.epi_mm - self.v, 0.6)
        texture = self.patient.muscle_db + rng.uniform(3.0, 7.0) + 2.0 * self.noise(1.0, 3.5)
        texture += 2.0 * self.noise(4.0, 2.0)
        self.echo = blend(self.echo, texture, middle)
        raphe = np.exp(-((self.u / 1.1) ** 2)) * (0.7 + 0.3 * self.noise(5.0, 40.0))
        self.echo += np.float32(view.midline_db) * raphe * middle
        for _ in range(int(rng.poisson(9))):
            length, centre = rng.uniform(2.0, 6.0), rng.uniform(-5.0, 5.0)
            u = self.line(centre - length / 2, centre + length / 2)
            v = rng.uniform(self.patient.fat_mm + 4.0, view.epi_mm - 4.0) + rng.normal(0, 0.12) * (u - centre)
            self.add(u, v, rng.normal(-30.0, 4.0), taper_mm=length / 3, lobe_deg=30.0)
        if view.central_shadow_db > 0:
            top = self.patient.fat_mm + rng.uniform(2.5, 5.0)
            half = rng.uniform(2.0, 4.0)
            u = self.line(-half, half)
            self.add(
                u,
                top + 1.0 * (u / half) ** 2,
                rng.uniform(-26.0, -18.0),
                thickness_mm=0.35,
                block_db=view.central_shadow_db,
                lobe_deg=40.0,
            )

    def canal(self) -> None:
        """Thecal sac between the posterior complex (EPI) and the anterior complex (VTB), as far as they show."""
        view, rng = self.view, self.rng
        deep = view.epi_mm + view.canal_mm
        onset = 0.3 if "EPI" in view.labels else 3.0  # without a posterior complex the sac has no upper border
        sac = step(self.patient.facet_mm - 4.0 - np.abs(self.u), 2.0) * step(self.v - view.epi_mm - 0.3, onset)
        self.echo = blend(self.echo, -54.0 + 3.0 * self.noise(1.5, 3.0), sac)
        self.loss = blend(self.loss, 0.3, sac * step(deep - self.v))
        if "EPI" in view.labels:
            half = view.epi_half_mm
            u = self.line(-half, half)
            v = view.epi_mm + rng.uniform(-0.5, 0.9) * (u / half) ** 2
            self.add(u, v, view.epi_db + wavy(u, 2.5, 4.0, rng), taper_mm=3.5, thickness_mm=0.35, lobe_deg=30.0)
            if rng.random() < 0.6:  # ligamentum flavum and dura told apart
                weaker = rng.uniform(3.0, 8.0) - wavy(u, 3.0, 3.0, rng)
                self.add(u, v + rng.uniform(1.2, 2.0), view.epi_db - weaker, taper_mm=3.0, lobe_deg=30.0)
        if "VTB" in view.labels:
            self.vertebral_body(deep)
        else:  # behind the sac nothing comes back: the beam meets the body at an angle or is attenuated
            self.loss += 1.5 * step(self.v - view.epi_mm - 4.0) * step(16.0 - np.abs(self.u), 1.5)

    def vertebral_body(self, top: float) -> None:
        """Anterior complex: a bright ligament-and-cortex line, a thick fading response, then shadow."""
        view, rng = self.view, self.rng
        half, height = view.vtb_half_mm, view.vtb_height_mm
        u = self.line(-half, half)
        arch = top + 1.0 - rng.uniform(-0.5, 1.2) * (1.0 - (u / half) ** 2) + wavy(u, 0.25, 5.0, rng)
        self.add(u, arch, view.vtb_db + wavy(u, 3.0, 4.0, rng), taper_mm=5.0, thickness_mm=0.6, lobe_deg=35.0)
        inside = step(half - 2.0 - np.abs(self.u) + 1.5 * self.noise(3.0, 3.0), 2.0) * step(self.v - top, 0.5)
        response = view.vtb_db - 9.0 + 3.0 * self.noise(0.9, 5.0) - 12.0 * np.clip((self.v - top) / height, 0, 3) ** 2
        self.echo = blend(self.echo, response, inside)
        self.loss += 2.0 * inside * step(self.v - top - 0.7 * height)

    def build(self) -> Medium:
        """All structures, from the bulk to the surface."""
        self.muscle()
        self.septa()
        if self.view.kind == "spinous":
            self.spinous_process()
        elif self.view.kind == "paramedian":
            self.side_bones()
            self.lateral_bones()
        else:
            self.interspinous_ligament()
            self.canal()
            self.side_bones()
        self.fat_and_skin()
        return self.medium()
