"""Formation of a B-mode image: scatterers, beam, shadow, attenuation, envelope, log compression.

The image is formed as in a scanner, so speckle is interference and shadow is missing energy; nothing is drawn on it
afterwards. The echo signal is kept as its complex baseband (the RF line mixed down by the carrier
frequency). Its magnitude is the envelope of the RF line, and the carrier itself need not be sampled.

Sources: Wagner et al. 1983, "Statistics of speckle in ultrasound B-scans" (Rayleigh envelope, mean/std = 1.91);
Bamber & Dickinson 1980, "Ultrasonic B-scanning: a computer simulation" (scatterers convolved with a pulse).

Arrays are (rows, columns) = (depth, lateral) on the pixel grid of the image; pixel (0, 0) lies at depth 0 mm.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.signal import lfilter

Array = NDArray[np.float32]
ComplexArray = NDArray[np.complex64]
Curve = NDArray[np.floating[Any]]

_BONE_SLAB_MM = 1.5  # a surface blocks over this depth below itself: its own roughness still echoes
_LATE_MM = 4.0  # depth over which multiply scattered echoes trail off
_WIDTH_LEVELS = 5  # lateral blurs computed per image; rows between two levels blend them


@dataclass(frozen=True)
class Transducer:
    """Settings of the scanner. Lengths in mm, levels in dB; 0 dB is the echo level that is displayed white."""

    pulse_sigma_mm: float = 0.2
    focus_mm: float = 30.0
    beam_sigma_mm: float = 0.45  # lateral standard deviation at the focus
    beam_growth: float = 0.018  # added standard deviation per mm away from the focus, in quadrature
    steering_deg: tuple[float, ...] = (-7.0, 0.0, 7.0)  # one look per angle, averaged: spatial compounding
    tgc_db_per_cm: float = 5.0
    gain_db: float = 0.0
    noise_db: float = -78.0  # receiver noise before time-gain compensation
    clutter_db: float = -24.0  # level of multiply scattered echoes, which arrive late and haze what lies deeper
    dynamic_range_db: float = 60.0
    gamma: float = 1.5  # grey map: above 1 darkens the mid-tones
    despeckle: float = 0.08  # grey difference (of 1) below which neighbours are averaged; 0 switches it off
    display_sigma_px: float = 0.7  # interpolation of the scan converter


@dataclass(frozen=True)
class Surface:
    """A thin reflector crossed once by every beam it meets: bone, fascia, dura, a septum.

    first: leftmost column; depth_mm, strength_db: (n,) for columns first..first+n-1, strength as displayed where the
    surface is flat, wider than the beam and not shadowed; thickness_mm: standard deviation across it; block_db: two-way
    loss below it; lobe_deg: angular width of the mirror reflex; ring_mm: spacing of reverberations, 0 for none.
    """

    first: int
    depth_mm: Curve
    strength_db: Curve
    thickness_mm: float = 0.25
    block_db: float = 0.0
    lobe_deg: float = 20.0
    ring_mm: float = 0.0


@dataclass
class Medium:
    """The scanned tissue. echo_db, loss_db_per_mm (two-way): float32 (H, W); spacing (row_mm, col_mm)."""

    echo_db: Array
    loss_db_per_mm: Array
    spacing: tuple[float, float]
    surfaces: list[Surface] = field(default_factory=list)


def beam_sigma_mm(depth_mm: Curve, probe: Transducer) -> Curve:
    """Lateral standard deviation of the beam in mm at each depth: a Gaussian beam, narrowest at the focus."""
    return np.asarray(np.hypot(probe.beam_sigma_mm, probe.beam_growth * (depth_mm - probe.focus_mm)))


def _gaussian(sigma_px: float, energy: bool) -> Array:
    """Odd 1-D Gaussian kernel; sum of squares 1 if energy (keeps the level of white noise), else sum 1."""
    radius = max(1, int(np.ceil(3.0 * sigma_px)))
    x = np.arange(-radius, radius + 1)
    kernel = np.exp(-0.5 * (x / max(sigma_px, 1e-3)) ** 2)
    norm = np.sqrt(np.sum(kernel**2)) if energy else np.sum(kernel)
    return (kernel / norm).astype(np.float32)


def blur_lateral(image: Array, sigma_px: Curve, energy: bool = False) -> Array:
    """Blur each row laterally by its own width.

    image: float32 (H, W) or (H, W, 2); sigma_px: (H,), > 0. A few widths are computed and each row blends the two
    nearest ones, so the cost does not depend on the number of rows. energy: see _gaussian.
    """
    levels = np.geomspace(sigma_px.min(), max(sigma_px.max(), sigma_px.min() * 1.001), _WIDTH_LEVELS)
    position = np.interp(sigma_px, levels, np.arange(_WIDTH_LEVELS))
    out = np.zeros_like(image)
    identity = np.ones(1, np.float32)
    for level, sigma in enumerate(levels):
        weight = np.maximum(0.0, 1.0 - np.abs(position - level)).astype(np.float32)
        rows = np.flatnonzero(weight)
        if rows.size == 0:
            continue
        part = slice(rows[0], rows[-1] + 1)
        blurred = cv2.sepFilter2D(image[part], cv2.CV_32F, _gaussian(float(sigma), energy), identity)
        out[part] += weight[part].reshape(-1, *[1] * (image.ndim - 1)) * blurred
    return out


def apply_psf(echoes: ComplexArray, spacing: tuple[float, float], probe: Transducer) -> ComplexArray:
    """Convolve the echo field (H, W) with the point-spread function: pulse in depth, beam width laterally.

    White complex noise of unit variance comes out with unit variance at every depth.
    """
    row_mm, col_mm = spacing
    pair = np.ascontiguousarray(echoes, np.complex64).view(np.float32).reshape(*echoes.shape, 2)
    pulse = _gaussian(probe.pulse_sigma_mm / row_mm, energy=True)
    pair = cv2.sepFilter2D(pair, cv2.CV_32F, np.ones(1, np.float32), pulse)
    depth_mm = np.arange(echoes.shape[0]) * row_mm
    pair = blur_lateral(pair, beam_sigma_mm(depth_mm, probe) / col_mm, energy=True)
    return np.ascontiguousarray(pair).view(np.complex64)[..., 0]


def _shear(image: Array, pixels_per_row: float, border: int = cv2.BORDER_REPLICATE) -> Array:
    """Shift row r of a (H, W) image to the right by r * pixels_per_row."""
    matrix = np.array([[1.0, pixels_per_row, 0.0], [0.0, 1.0, 0.0]])
    return cv2.warpAffine(image, matrix, image.shape[::-1], flags=cv2.INTER_LINEAR, borderMode=border)


def two_way_loss_db(
    loss_db_per_mm: Array, spacing: tuple[float, float], steering_deg: float, probe: Transducer
) -> Array:
    """Loss in dB collected by an echo from each pixel, (H, W), along beams steered by steering_deg.

    The beam has width, so the edge of a shadow is soft: transmitted amplitude, not loss, is averaged over the beam.
    """
    row_mm, col_mm = spacing
    slope = np.tan(np.radians(steering_deg)) * row_mm / col_mm
    along_beam = _shear(loss_db_per_mm, -slope)
    total = np.cumsum(along_beam, axis=0, dtype=np.float32) * np.float32(row_mm)
    total = _shear(total, slope)
    depth_mm = np.arange(total.shape[0]) * row_mm
    amplitude = blur_lateral(from_db(-total), (beam_sigma_mm(depth_mm, probe) + 0.2 + 0.012 * depth_mm) / col_mm)
    return -to_db(amplitude)


def from_db(level_db: Array) -> Array:
    """Amplitude of a level in dB (20 log10); -inf gives 0."""
    return np.exp(level_db * np.float32(np.log(10.0) / 20.0))


def to_db(amplitude: Array) -> Array:
    """Level in dB of an amplitude; 0 gives -200 dB instead of -inf."""
    return np.float32(20.0) * np.log10(np.maximum(amplitude, np.float32(1e-10)))


def blocking_db_per_mm(surface: Surface, shape: tuple[int, int], spacing: tuple[float, float]) -> Array:
    """Two-way loss (H, W) that a surface adds just below itself; zeros where it does not block."""
    loss = np.zeros(shape, np.float32)
    columns = slice(surface.first, surface.first + surface.depth_mm.size)
    below = np.arange(shape[0])[:, None] * spacing[0] - surface.depth_mm[None]
    present = np.clip((surface.strength_db - surface.strength_db.max(initial=-300.0)) / 20.0 + 1.0, 0.0, 1.0)
    inside = (below >= 0) & (below < _BONE_SLAB_MM)
    loss[:, columns] = inside * present * (surface.block_db / _BONE_SLAB_MM)
    return loss


def specular_echoes(
    surfaces: Sequence[Surface],
    arriving_db: Array,
    spacing: tuple[float, float],
    steering_deg: float,
    probe: Transducer,
    rng: np.random.Generator,
) -> ComplexArray:
    """Return the echo field (H, W) of all surfaces for one steering angle.

    arriving_db: two-way loss (H, W). A surface is smooth over a beam width but rough over a wavelength, hence a slowly
    wandering phase; it answers most strongly where it lies square to the beam.
    """
    height, width = arriving_db.shape
    row_mm, col_mm = spacing
    echoes = np.zeros((height, width), np.complex64)
    for surface in surfaces:
        n = surface.depth_mm.size
        wander = _smooth_walk(n, 2.5 / col_mm, rng)
        if n < 2:
            continue
        columns = np.arange(surface.first, surface.first + n)
        row = np.clip(((surface.depth_mm - 0.6) / row_mm).astype(int), 0, height - 1)
        slope_deg = np.degrees(np.arctan(np.gradient(surface.depth_mm, col_mm))) - 0.5 * steering_deg
        level = surface.strength_db - arriving_db[row, columns]
        level = level - 8.7 * np.minimum((slope_deg / surface.lobe_deg) ** 2, 4.0)
        level = level - _coherent_gain_db(surface, spacing, probe)
        signal = (10.0 ** (level / 20.0) * np.exp(1j * wander)).astype(np.complex64)
        for bounce in range(3 if surface.ring_mm > 0 else 1):
            depth = surface.depth_mm + bounce * surface.ring_mm
            reach = 3.0 * surface.thickness_mm
            top = max(0, int((depth.min() - reach) / row_mm))
            bottom = min(height, int((depth.max() + reach) / row_mm) + 2)
            z = np.arange(top, bottom)[:, None] * row_mm
            profile = np.exp(-0.5 * ((z - depth[None]) / surface.thickness_mm) ** 2).astype(np.float32)
            echoes[top:bottom, columns[0] : columns[-1] + 1] += profile * signal * np.float32(0.08**bounce)
    return echoes


def _coherent_gain_db(surface: Surface, spacing: tuple[float, float], probe: Transducer) -> Curve:
    """(n,) dB by which apply_psf raises a flat coherent surface above white noise of the same amplitude."""
    pulse = probe.pulse_sigma_mm / spacing[0]
    beam = beam_sigma_mm(surface.depth_mm, probe) / spacing[1]
    thickness = surface.thickness_mm / spacing[0]
    axial = np.sqrt(2.0 * np.sqrt(np.pi) * pulse) * thickness / np.hypot(thickness, pulse)
    return 20.0 * np.log10(axial * np.sqrt(2.0 * np.sqrt(np.pi) * beam))


def _late_energy(energy: Array, spacing: tuple[float, float]) -> Array:
    """Energy (H, W) of multiply scattered echoes: each echo's energy, trailing off exponentially below it."""
    height, width = energy.shape
    coarse = cv2.resize(energy, (max(1, width // 4), max(1, height // 4)), interpolation=cv2.INTER_AREA)
    decay = np.exp(-height * spacing[0] / coarse.shape[0] / _LATE_MM)
    trailing = lfilter([1.0 - decay], [1.0, -decay], coarse, axis=0).astype(np.float32)
    sigma = max(0.5, 3.0 / (width * spacing[1] / coarse.shape[1]))
    trailing = cv2.sepFilter2D(trailing, cv2.CV_32F, _gaussian(sigma, energy=False), np.ones(1, np.float32))
    return np.maximum(cv2.resize(trailing, (width, height), interpolation=cv2.INTER_LINEAR), 0.0)


def _smooth_walk(n: int, step_px: float, rng: np.random.Generator) -> Curve:
    """(n,) phase in radians that wanders by about one radian every step_px columns."""
    knots = rng.normal(0.0, 1.0, int(n / step_px) + 3)
    return np.interp(np.arange(n) / step_px, np.arange(knots.size), knots)


def _white(shape: tuple[int, int], rng: np.random.Generator) -> ComplexArray:
    """Complex white noise of unit variance: many unresolved scatterers per pixel."""
    pair = rng.standard_normal((*shape, 2), dtype=np.float32) * np.float32(np.sqrt(0.5))
    return pair.view(np.complex64)[..., 0]


def envelope(medium: Medium, probe: Transducer, rng: np.random.Generator) -> Array:
    """Envelope (H, W) after time-gain compensation, averaged over the looks; 1.0 is the 0 dB level."""
    shape, row_mm = medium.echo_db.shape, medium.spacing[0]
    loss = medium.loss_db_per_mm.copy()
    for surface in medium.surfaces:
        if surface.block_db > 0:
            np.maximum(loss, blocking_db_per_mm(surface, shape, medium.spacing), out=loss)
    depth_mm = np.arange(shape[0], dtype=np.float32)[:, None] * np.float32(row_mm)
    tgc = from_db(np.float32(probe.tgc_db_per_cm / 10.0) * depth_mm)
    receive = _gaussian(probe.pulse_sigma_mm / row_mm, energy=True)
    mean = np.zeros(shape, np.float32)
    for angle in probe.steering_deg:
        arriving = two_way_loss_db(loss, medium.spacing, angle, probe)
        amplitude = from_db(medium.echo_db - arriving)
        mirrored = specular_echoes(medium.surfaces, arriving, medium.spacing, angle, probe, rng)
        late = _late_energy(amplitude**2 + np.abs(mirrored) ** 2, medium.spacing)
        amplitude = np.sqrt(amplitude**2 + late * np.float32(10.0 ** (probe.clutter_db / 10.0)))
        echoes = amplitude * _white(shape, rng) + mirrored
        signal = apply_psf(echoes, medium.spacing, probe)
        # Receiver noise is band-limited in time like the pulse, but each beam has its own.
        noise = _white(shape, rng).view(np.float32).reshape(*shape, 2)
        noise = cv2.sepFilter2D(noise, cv2.CV_32F, _gaussian(0.8, energy=True), receive)
        signal += np.float32(10.0 ** (probe.noise_db / 20.0)) * np.ascontiguousarray(noise).view(np.complex64)[..., 0]
        mean += np.abs(signal)
    return mean * tgc / np.float32(len(probe.steering_deg))


def display(env: Array, probe: Transducer) -> NDArray[np.uint8]:
    """Log-compress an envelope (H, W) to the dynamic range, apply the grey map, return uint8 (H, W)."""
    level = (to_db(env) + np.float32(probe.gain_db)) / np.float32(probe.dynamic_range_db) + np.float32(1.0)
    grey = np.clip(level, 0.0, 1.0) ** np.float32(probe.gamma)
    if probe.despeckle > 0:
        grey = cv2.bilateralFilter(grey, 5, probe.despeckle, 1.5)
    if probe.display_sigma_px > 0:
        kernel = _gaussian(probe.display_sigma_px, energy=False)
        grey = cv2.sepFilter2D(grey, cv2.CV_32F, kernel, kernel)
    return np.clip(np.rint(grey * 255.0), 0, 255).astype(np.uint8)


def form_image(medium: Medium, probe: Transducer, rng: np.random.Generator) -> NDArray[np.uint8]:
    """The B-mode image, uint8 (H, W), of a medium seen by a probe."""
    return display(envelope(medium, probe, rng), probe)
