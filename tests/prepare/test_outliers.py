"""What stands apart from the others, and what does not."""

from pathlib import Path

import numpy as np
import pytest

from sonoseg.io.image_ref import ImageRef
from sonoseg.prepare.outliers import robust_z, spacing_faults
from sonoseg.runs.split_tables import Sample


def test_robust_z_by_hand():
    # median 5, deviations 4 3 2 1 0 1 2 3 95: MAD 2
    found = robust_z([1, 2, 3, 4, 5, 6, 7, 8, 100])
    assert found[0] == pytest.approx(-4 / (1.4826 * 2)) and found[-1] == pytest.approx(95 / (1.4826 * 2))


def test_equal_values_have_no_outlier_unless_one_differs():
    assert not robust_z([3.0] * 9).any()
    assert robust_z([3.0] * 9 + [4.0])[-1] == np.inf
    assert robust_z([3.0] * 9 + [3.01], min_deviation=0.05)[-1] == pytest.approx(0.2)


def test_few_values_say_nothing():
    assert not robust_z([1, 1, 1, 1, 1, 1, 100]).any() and len(robust_z([])) == 0


def sample(index, spacing):
    return Sample(f"i{index}", ImageRef(Path()), Path(), f"P{index}", 0, {}, 10, 10, spacing, "", "")


def test_odd_spacings_are_named():
    usual = [sample(index, (0.1 + index / 1000, 0.1 + index / 1000)) for index in range(10)]
    oblong, tenfold, unknown = sample(20, (0.1, 0.2)), sample(21, (1.0, 1.0)), sample(22, None)
    everything = [*usual, oblong, tenfold, unknown]
    found = spacing_faults(everything, {one.id: f"{one.id}.png" for one in everything})
    assert [fault.where for fault in found] == ["i20.png", "i21.png"]
    assert "unusual shape: 0.1 x 0.2 mm" in found[0].message
    assert "an unusual pixel spacing: 1 x 1 mm" in found[1].message
    assert spacing_faults(usual, {one.id: one.id for one in usual}) == []
    assert spacing_faults([unknown], {"i22": "i22.png"}) == []
