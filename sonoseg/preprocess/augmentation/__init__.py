"""Augmentation: parameters are drawn in one function and applied in another, offline in stage 2 and online in training.

First the geometric steps, which change image and mask alike, then the intensity steps, which change the image alone.
"""

import hashlib
import zlib
from dataclasses import dataclass, field

import numpy as np
from numpy.random import Generator, SeedSequence

from sonoseg.preprocess.augmentation.foreground_zoom import ForegroundZoomStep
from sonoseg.preprocess.augmentation.geometric import GeometricParameters, draw_geometric, sample, sampling_map
from sonoseg.preprocess.augmentation.intensity import STEPS, IntensityStep
from sonoseg.schema.images import Augmentation
from sonoseg.types import Pixels


@dataclass(frozen=True)
class AugmentationParameters:
    """The parameters of an augmented copy. intensity: the intensity steps by their names, in the order of `STEPS`."""

    geometric: GeometricParameters = field(default_factory=GeometricParameters)
    foreground_zoom: ForegroundZoomStep | None = None
    intensity: dict[str, IntensityStep] = field(default_factory=dict)

    def describe(self) -> str:
        """Return the names of the steps, such as `flip_horizontal+elastic`; `identity` when there are none.

        `foreground_zoom` is named where it was drawn, also when the mask turns out to have no small structure.
        """
        zoom = ["foreground_zoom"] if self.foreground_zoom else []
        return "+".join([*self.geometric.steps(), *zoom, *self.intensity]) or "identity"


def draw_parameters(settings: Augmentation, rng: Generator) -> AugmentationParameters:
    """Draw the parameters of a copy.

    `rng` gives the numbers of the geometric steps and of gamma, in the order of the first versions, so that their
    copies stay the same. Each other step has a generator that depends on its name: the settings of a step, or a new
    step, do not change the numbers of the others.
    """
    *chances, gamma_chance = rng.random(6)
    geometric = draw_geometric(settings, chances, rng)
    (family,) = rng.bit_generator.seed_seq.spawn(1)  # type: ignore[attr-defined]  # consumes no number of `rng`
    zoom, zoom_rng = settings.foreground_zoom, _generator_of("foreground_zoom", family)
    foreground_zoom = ForegroundZoomStep.draw(zoom, zoom_rng) if zoom and zoom_rng.random() < zoom.probability else None
    intensity = {}
    for name, step in STEPS.items():
        section = getattr(settings, name)
        if section is None:
            continue
        own = rng if name == "gamma" else _generator_of(name, family)
        chance = gamma_chance if name == "gamma" else own.random()
        if chance < section.probability:
            intensity[name] = step.draw(section, own)
    return AugmentationParameters(geometric, foreground_zoom, intensity)


def apply(parameters: AugmentationParameters, image: Pixels, mask: Pixels) -> tuple[Pixels, Pixels]:
    """Return the augmented (image, mask), both `(H, W)` uint8. Pixels from outside the image are 0 in both.

    The same parameters, image and mask give the same bytes; neither input is changed.
    """
    across, down = sampling_map(parameters.geometric, image.shape)
    if parameters.foreground_zoom:
        across, down = parameters.foreground_zoom.apply(across, down, mask)
    image, mask = sample(image, mask, across, down)
    for step in parameters.intensity.values():
        image = step.apply(image)
    return image, mask


def copy_generator(source: str, seed: int, copy: int, *epoch: int) -> Generator:
    """Return the generator of one copy of one image: it depends on these arguments alone, not on other images."""
    digest = hashlib.sha256(source.encode()).digest()
    return np.random.default_rng([seed, int.from_bytes(digest[:8], "big"), copy, *epoch])


def _generator_of(step: str, family: SeedSequence) -> Generator:
    """Return the generator of a step, independent of those of the other steps of the family."""
    key = (*family.spawn_key, zlib.crc32(step.encode()))
    return np.random.default_rng(SeedSequence(family.entropy, spawn_key=key))
