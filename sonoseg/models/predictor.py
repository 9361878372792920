"""From an image to class probabilities, for evaluation, TensorBoard overlays and stage 4."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from sonoseg.models.engines.base import NetworkFunction
from sonoseg.preprocess.enhance import enhance
from sonoseg.preprocess.fit import Fit
from sonoseg.preprocess.intensity import normalise
from sonoseg.schema.images import Augmentation, Enhancement, Input
from sonoseg.types import Maps, Pixels

Flip = tuple[int, ...]
"""Axes of an array `(..., h, w)` that are reversed: (-1,) mirrors horizontally, (-2,) vertically."""


@dataclass(frozen=True)
class NetworkInput:
    """The network input of an image: `values` `(1, 1, h, w)` float32, and the `fit` that leads back to it."""

    values: Maps
    fit: Fit


@dataclass(frozen=True)
class Predictor:
    """A network with its preprocessing and the inverse of its fit.

    run: images `(B, 1, h, w)` float32 -> probabilities `(B, 1 + K, h, w)` float32, background first.
    flips: the network also runs on these mirror images of its input, and the mean is taken (test-time augmentation).
    """

    run: NetworkFunction
    enhancement: Enhancement
    input: Input
    flips: tuple[Flip, ...] = ()

    def __call__(self, image: Pixels) -> Maps:
        """Return class probabilities `(1 + K, H, W)` float32, background first, of a grey image `(H, W)` uint8."""
        return self.predict(self.prepare(image))

    def prepare(self, image: Pixels) -> NetworkInput:
        """Return the network's input for an image; it can be given to `predict` any number of times."""
        return prepare(image, self.enhancement, self.input)

    def predict(self, prepared: NetworkInput) -> Maps:
        """Return class probabilities `(1 + K, H, W)` float32 in the geometry of the image that was prepared."""
        return prepared.fit.invert(self._run_with_flips(prepared.values)[0])

    def _run_with_flips(self, values: Maps) -> Maps:
        """Return the mean of the probabilities of the network's input and of its flips, each mirrored back."""
        maps = self.run(values)
        if not self.flips:
            return maps
        for axes in self.flips:
            mirrored = np.ascontiguousarray(np.flip(values, axes))  # torch takes no negative strides
            maps = maps + np.flip(self.run(mirrored), axes)
        return np.divide(maps, 1 + len(self.flips), out=maps)


def trained_flips(augmentation: Augmentation) -> tuple[Flip, ...]:
    """Return the flips that training with this augmentation has shown to a network; none without augmented copies.

    Horizontal and vertical flips are drawn independently, so with both their combination is among them.
    """
    chances = {-1: augmentation.flip_horizontal, -2: augmentation.flip_vertical}
    axes = [axis for axis, chance in chances.items() if chance > 0 and augmentation.copies > 0]
    return tuple(flip for count in range(1, len(axes) + 1) for flip in combinations(axes, count))


def prepare(image: Pixels, enhancement: Enhancement, settings: Input) -> NetworkInput:
    """Return a grey image `(H, W)` uint8 enhanced, fitted to the network's size and normalised."""
    return _fit(enhance(image, enhancement), settings)


def _fit(enhanced: Pixels, settings: Input) -> NetworkInput:
    """Return an enhanced image `(H, W)` uint8 at the network's size, normalised."""
    fit = Fit.of(enhanced.shape, settings)
    return NetworkInput(normalise(fit.apply(enhanced), settings.intensity)[None, None], fit)


def predict_each(predictors: Sequence[Predictor], image: Pixels) -> Iterator[Maps]:
    """Yield the class probabilities `(1 + K, H, W)` float32 of each predictor for a grey image `(H, W)` uint8.

    Predictors with equal settings share the enhanced image and the network's input.
    """
    enhanced: dict[Enhancement, Pixels] = {}
    prepared: dict[tuple[Enhancement, Input], NetworkInput] = {}
    for predictor in predictors:
        settings = predictor.enhancement, predictor.input
        if predictor.enhancement not in enhanced:
            enhanced[predictor.enhancement] = enhance(image, predictor.enhancement)
        if settings not in prepared:
            prepared[settings] = _fit(enhanced[predictor.enhancement], predictor.input)
        yield predictor.predict(prepared[settings])


def mean_probabilities(predictors: Sequence[Predictor], image: Pixels) -> Maps:
    """Return the mean of `predict_each`, `(1 + K, H, W)` float32. Raises ValueError for no predictor."""
    total: Maps | None = None
    for maps in predict_each(predictors, image):
        total = maps if total is None else np.add(total, maps, out=total)
    if total is None:
        raise ValueError("no predictor is given; expected at least one")
    return total if len(predictors) == 1 else np.divide(total, len(predictors), out=total)


def mean_and_variance(predictors: Sequence[Predictor], image: Pixels) -> tuple[Maps, Maps]:
    """Return mean and variance (n - 1 in the denominator) over predictors, each `(1 + K, H, W)` float32.

    The variance of a single predictor is 0 everywhere. Welford's algorithm (1962) in one pass, so that memory does not
    grow with the number of predictors. Raises ValueError for no predictor.
    """
    mean: Maps | None = None
    for count, maps in enumerate(predict_each(predictors, image), start=1):
        if mean is None:
            mean, squares = maps.copy(), np.zeros_like(maps)
            continue
        difference = maps - mean
        mean += difference / count
        squares += difference * (maps - mean)
    if mean is None:
        raise ValueError("no predictor is given; expected at least one")
    return mean, np.divide(squares, max(1, len(predictors) - 1), out=squares)
