"""Distances to a boundary: hand-computed, equal to SciPy's in both implementations, and the same bytes every time."""

import numpy as np
import pytest
import torch
from scipy.ndimage import distance_transform_edt

from sonoseg.training import distance
from sonoseg.training.distance import squared_distance_to_boundary, squared_distances


def test_hand_computed_distances() -> None:
    mask = np.zeros((1, 7), np.uint8)
    mask[0, 2:5] = 1
    np.testing.assert_array_equal(squared_distance_to_boundary(mask)[0], [4, 1, 1, 4, 1, 1, 4])
    assert not squared_distance_to_boundary(np.zeros((4, 4), np.uint8)).any()
    assert not squared_distance_to_boundary(np.ones((4, 4), np.uint8)).any()


@pytest.mark.parametrize("share", [0.0, 0.003, 0.5, 0.98, 1.0])
@pytest.mark.parametrize("size", [(40, 57), (1, 9), (9, 1), (97, 31)])
@pytest.mark.parametrize("chunk", [2**25, 1])
def test_both_implementations_equal_scipy(share: float, size: tuple[int, int], chunk: int, monkeypatch) -> None:
    monkeypatch.setattr(distance, "CHUNK", chunk)  # 1: a row at a time
    masks = np.random.default_rng(0).random((2, 3, *size)) < share
    expected = np.zeros(masks.shape)
    for at in np.ndindex(2, 3):
        if masks[at].any() and not masks[at].all():
            expected[at] = distance_transform_edt(masks[at]) ** 2 + distance_transform_edt(~masks[at]) ** 2
    inside = torch.from_numpy(masks)
    np.testing.assert_allclose(squared_distances(inside).numpy(), expected, atol=1e-6)
    on_device = distance._on_device(inside.flatten(0, 1)).view(inside.shape)
    assert torch.equal(on_device, squared_distances(inside))


def test_distances_do_not_depend_on_the_address_of_a_mask() -> None:
    rng, results, allocated = np.random.default_rng(0), set(), []
    mask = (rng.random((4, 61, 93)) < 0.03).astype(np.uint8)  # sparse: long distances
    for offset in range(128):
        allocated.append(np.empty(rng.integers(1, 5000)))  # so that results get other addresses as well
        buffer = np.zeros(mask.size + 128, np.uint8)
        moved = buffer[offset : offset + mask.size].reshape(mask.shape)
        moved[:] = mask
        results.add(np.stack([squared_distance_to_boundary(part) for part in moved]).tobytes())
    assert len(results) == 1
