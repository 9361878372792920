"""The predictor: probabilities in the image's geometry, shared preprocessing, mean and variance."""

from dataclasses import replace

import numpy as np
import pytest

from sonoseg.models.predictor import (
    Predictor,
    mean_and_variance,
    mean_probabilities,
    predict_each,
    trained_flips,
)
from sonoseg.schema.images import Augmentation, Enhancement, Input
from sonoseg.types import Maps

IMAGE = np.random.default_rng(0).integers(0, 256, (40, 60), dtype=np.uint8)


def predictor(level: float, calls: list[Maps], **settings: object) -> Predictor:
    """Return a predictor whose network gives every pixel the class probability `level`."""

    def run(values: Maps) -> Maps:
        calls.append(values)
        maps = np.full((1, 2, *values.shape[2:]), level, np.float32)
        maps[:, 0] = 1 - level
        return maps

    return Predictor(run, Enhancement.model_validate(settings), Input(size=(32, 32)))


def test_a_prepared_image_gives_the_same_probabilities_again() -> None:
    calls: list[Maps] = []
    network = predictor(0.25, calls, clahe={})
    prepared = network.prepare(IMAGE)
    first, second = network.predict(prepared), network(IMAGE)
    assert first.shape == (2, 40, 60) and np.array_equal(first, second)
    assert np.array_equal(calls[0], calls[1]) and calls[0].shape == (1, 1, 32, 32)


def test_equal_settings_share_the_network_input() -> None:
    calls: list[Maps] = []
    list(predict_each([predictor(0.2, calls), predictor(0.4, calls), predictor(0.4, calls, clahe={})], IMAGE))
    assert calls[0] is calls[1] and not np.array_equal(calls[0], calls[2])


def test_mean_and_variance_are_those_of_the_members() -> None:
    members = [predictor(level, []) for level in (0.1, 0.3, 0.8)]
    each = np.stack(list(predict_each(members, IMAGE))).astype(np.float64)
    mean, variance = mean_and_variance(members, IMAGE)
    assert mean.dtype == variance.dtype == np.float32
    np.testing.assert_allclose(mean, each.mean(axis=0), atol=1e-6)
    np.testing.assert_allclose(variance, each.var(axis=0, ddof=1), atol=1e-6)
    np.testing.assert_allclose(mean_probabilities(members, IMAGE), each.mean(axis=0), atol=1e-6)
    alone, nothing = mean_and_variance(members[:1], IMAGE)
    assert np.array_equal(alone, members[0](IMAGE)) and not nothing.any()


@pytest.mark.parametrize(
    ("settings", "flips"),
    [
        ({}, ()),
        ({"flip_horizontal": 0.5}, ((-1,),)),
        ({"flip_vertical": 0.1}, ((-2,),)),
        ({"flip_horizontal": 1.0, "flip_vertical": 0.5}, ((-1,), (-2,), (-1, -2))),
        ({"flip_horizontal": 0.5, "online": True}, ((-1,),)),
        ({"flip_horizontal": 0.5, "copies": 0}, ()),
    ],
)
def test_only_flips_of_the_training_are_averaged(settings: dict, flips: tuple) -> None:
    assert trained_flips(Augmentation(**settings)) == flips


def corner(values: Maps) -> Maps:
    """Return a network's probabilities: brightness in the upper left quarter of its input, and 0 elsewhere."""
    height, width = (side // 2 for side in values.shape[2:])
    first = np.zeros_like(values)
    first[:, :, :height, :width] = values[:, :, :height, :width]
    return np.concatenate([1 - first, first], axis=1)


def bright(values: Maps) -> Maps:
    return np.concatenate([1 - values, values], axis=1)


def of(run: object, *flips: tuple[int, ...], fit: str = "resize") -> Predictor:
    return Predictor(run, Enhancement(), Input(size=(40, 60), fit=fit), flips)  # type: ignore[arg-type]


def test_flips_give_the_symmetric_mean() -> None:
    values = IMAGE.astype(np.float32) / 255
    left, right, top, bottom = np.s_[:, :30], np.s_[:, 30:], np.s_[:20], np.s_[20:]
    plain, horizontal, vertical = (of(corner, *flips)(IMAGE)[1] for flips in ((), ((-1,),), ((-2,),)))
    assert np.allclose(plain[top][left], values[top][left]) and not plain[bottom].any() and not plain[:, 30:].any()
    # Each pixel is seen by the image's network or by its mirror image's, and counts as 0 in the other.
    assert np.allclose(horizontal[top], values[top] / 2) and not horizontal[bottom].any()
    assert np.allclose(vertical[left], values[left] / 2) and not vertical[right].any()
    every = of(corner, (-1,), (-2,), (-1, -2))(IMAGE)
    assert np.allclose(every[1], values / 4) and np.allclose(every.sum(axis=0), 1) and every.dtype == np.float32


@pytest.mark.parametrize("fit", ["resize", "letterbox", "pad_or_crop", "pad_square"])
def test_an_equivariant_network_gives_the_same_with_flips(fit: str) -> None:
    image = np.random.default_rng(1).integers(0, 256, (37, 45), dtype=np.uint8)  # an odd margin on one side
    plain, averaged = of(bright, fit=fit), of(bright, (-1,), (-2,), (-1, -2), fit=fit)
    np.testing.assert_allclose(averaged(image), plain(image), atol=1e-6)


def test_members_are_averaged_with_flips_of_their_own() -> None:
    members = [of(corner, (-1,)), of(bright)]
    each = [member(IMAGE) for member in members]
    np.testing.assert_allclose(mean_probabilities(members, IMAGE), np.mean(each, axis=0), atol=1e-6)
    assert np.array_equal(replace(members[0], flips=())(IMAGE), of(corner)(IMAGE))


def test_no_predictor_is_refused() -> None:
    for function in (mean_probabilities, mean_and_variance):
        with pytest.raises(ValueError, match="at least one"):
            function([], IMAGE)
