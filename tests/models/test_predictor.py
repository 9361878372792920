"""The predictor: probabilities in the image's geometry, shared preprocessing, mean and variance."""

import numpy as np
import pytest

from sonoseg.models.predictor import Predictor, mean_and_variance, mean_probabilities, predict_each
from sonoseg.schema.images import Enhancement, Input
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


def test_no_predictor_is_refused() -> None:
    for function in (mean_probabilities, mean_and_variance):
        with pytest.raises(ValueError, match="at least one"):
            function([], IMAGE)
