"""The fit, its inverse and the label map as a module of PyTorch: what the fit and the label map of stage 4 give."""

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from sonoseg.models.networks.whole_image import WholeImage
from sonoseg.postprocess.class_map import class_map
from sonoseg.preprocess.fit import FITS, Fit
from sonoseg.preprocess.intensity import normalise
from sonoseg.schema.images import Input

SIZE = (64, 96)


class Recorded(nn.Module):
    """A network that keeps its input, and gives the same probabilities for every image."""

    def __init__(self, probabilities: np.ndarray):
        super().__init__()
        self.probabilities, self.seen = torch.from_numpy(probabilities)[None], torch.zeros(())

    def forward(self, images: Tensor) -> Tensor:
        self.seen = images
        return self.probabilities


def picture(size: tuple[int, int]) -> np.ndarray:
    noise = np.random.default_rng(sum(size)).integers(0, 256, size, dtype=np.uint8)
    return cv2.GaussianBlur(noise, (0, 0), 1.5)


@pytest.mark.parametrize("intensity", ["unit", "z_score"])
@pytest.mark.parametrize("fit", FITS)
@given(size=st.tuples(st.integers(8, 300), st.integers(8, 300)), classes=st.sampled_from([1, 2]))
@settings(max_examples=40, deadline=None, derandomize=True)
def test_input_probabilities_and_labels_are_those_of_the_fit(
    fit: str, intensity: str, size: tuple[int, int], classes: int
) -> None:
    section = Input(size=SIZE, fit=fit, intensity=intensity, square_px=150 if fit == "pad_square" else None)
    image = picture(size)
    raw = np.random.default_rng(3).random((1 + classes, *SIZE), dtype=np.float32)
    network = Recorded(raw / raw.sum(axis=0))
    with torch.no_grad():
        labels, maps = WholeImage(network, SIZE, fit, intensity, 0.4, 150)(torch.from_numpy(image))

    expected = Fit.of(size, section)
    fitted = expected.apply(image)
    grey = (network.seen[0, 0].numpy() - normalise(fitted, intensity)) * (fitted.std() if intensity != "unit" else 255)
    assert np.abs(grey).max() < 1.6
    assert np.mean(np.abs(grey) > 0.5) < 0.03

    assert maps.shape == (1 + classes, *size)
    np.testing.assert_allclose(maps.numpy(), expected.invert(network.probabilities[0].numpy()), atol=2e-6)
    assert labels.dtype == torch.uint8
    assert np.mean(labels.numpy() != class_map(maps.numpy(), 0.4)) < 1e-4


def test_a_fit_or_intensity_of_another_name_is_refused() -> None:
    with pytest.raises(ValueError, match="expected resize, letterbox"):
        WholeImage(nn.Identity(), SIZE, "stretch", "unit")
    with pytest.raises(ValueError, match="unit or z_score"):
        WholeImage(nn.Identity(), SIZE, "resize", "percentile")
