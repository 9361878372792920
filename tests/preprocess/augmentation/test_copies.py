"""Augmented copies: what is drawn for which settings, and that copies of earlier versions stay the same."""

import hashlib
import json
from typing import Any

import cv2
import numpy as np
import pytest

from sonoseg.preprocess.augmentation import AugmentationParameters, apply, copy_generator, draw_parameters
from sonoseg.preprocess.augmentation.geometric import sampling_map
from sonoseg.preprocess.augmentation.intensity import STEPS
from sonoseg.schema.images import Augmentation

OFFLINE_AND_ONLINE = [(copy, *epoch) for epoch in ((), (3,)) for copy in range(12)]
BOTH_FLIPS = {"flip_horizontal": 0.5, "flip_vertical": 0.5}
EARLIER_SETTINGS: dict[str, dict[str, Any]] = {
    "fetal_head": {
        **BOTH_FLIPS,
        "shift_scale_rotate": {"probability": 0.9, "shift": 0.05, "scale": 0.15, "rotate_deg": 25},
        "elastic": {"probability": 0.1},
        "gamma": {"probability": 0.5, "limit": 0.3},
    },
    "fetal_head_segnet": {
        **BOTH_FLIPS,
        "shift_scale_rotate": {"probability": 0.5, "shift": 0.1, "scale": 0.1, "rotate_deg": 20},
    },
    "fetal_head_unet": {
        **BOTH_FLIPS,
        "shift_scale_rotate": {"probability": 1.0, "shift": 0.0, "scale": 0.0, "rotate_deg": 35},
    },
    "nerve_unet": {},
    "spine": {
        "flip_horizontal": 0.5,
        "shift_scale_rotate": {"probability": 0.4, "shift": 0.0625, "scale": 0.1, "rotate_deg": 10},
        "elastic": {"probability": 0.2},
        "grid_distortion": {"probability": 0.2},
    },
}
"""Of the tasks in version 0.2.0, whose only intensity step was gamma."""
EARLIER_DIGESTS = {
    "fetal_head": ("a40c89618640c0ac", "c21bf6526c6068a2", "6baa7a988a7d3092"),
    "fetal_head_segnet": ("8d57d499ee5f50b1", "ca63daf2265aa167", "4d4361bef1b34677"),
    "fetal_head_unet": ("7e9de55ecc5ae13e", "b1fdc2739ccefbaf", "f5cea362ca636128"),
    "nerve_unet": ("fc5ed0887283666f", "39c1232eccfc7786", "3f24b3b2a2a0cade"),
    "spine": ("1577c4fd398f6aaa", "3aafd454b727e39c", "3d6b75589765aca4"),
}
"""Computed with version 0.2.0: of the dumped settings, the parameters, the pictures without elastic deformation."""
earlier_tasks = pytest.mark.parametrize("name", EARLIER_SETTINGS)
ALL_STEPS: dict[str, Any] = {name: {"probability": 1} for name in ("foreground_zoom", *STEPS)}


def copies_of(name: str) -> list[AugmentationParameters]:
    settings = Augmentation.model_validate(EARLIER_SETTINGS[name])
    return [draw_parameters(settings, copy_generator("010_HC", 42, *numbers)) for numbers in OFFLINE_AND_ONLINE]


def numbers_of(drawn: AugmentationParameters) -> tuple[Any, ...]:
    """Return the parameters in the order of version 0.2.0."""
    moved, gamma = drawn.geometric, drawn.intensity.get("gamma")
    turned = (moved.shift, moved.scale, moved.rotate_deg)
    exponent = getattr(gamma, "exponent", None)
    return (moved.flip_horizontal, moved.flip_vertical, *turned, moved.elastic, moved.grid, exponent)


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:16]


def picture(height: int = 64, width: int = 96) -> tuple[np.ndarray, np.ndarray]:
    rows, cols = np.mgrid[:height, :width]
    mask = (rows > height // 3) * 1 + (cols > width // 2) * 1
    return ((7 * rows + 13 * cols + rows * cols) % 251).astype(np.uint8), mask.astype(np.uint8)


@earlier_tasks
def test_settings_are_dumped_as_in_earlier_versions(name: str) -> None:
    """The digests of prepared images and of results contain them."""
    settings = Augmentation.model_validate(EARLIER_SETTINGS[name]).model_dump(exclude={"copies", "online"})
    assert digest(json.dumps(settings, sort_keys=True).encode()) == EARLIER_DIGESTS[name][0]


@earlier_tasks
def test_parameters_are_those_of_earlier_versions(name: str) -> None:
    assert digest(repr([numbers_of(copy) for copy in copies_of(name)]).encode()) == EARLIER_DIGESTS[name][1]


@pytest.mark.skipif(cv2.__version__ != "5.0.0", reason="OpenCV 5.0.0 made the stored pictures")
@earlier_tasks
def test_pictures_are_those_of_earlier_versions(name: str) -> None:
    # The matrix product of an elastic field may differ in its last digit between processors.
    drawn = [copy for copy in copies_of(name) if copy.geometric.elastic is None]
    pictures = b"".join(part.tobytes() for copy in drawn for part in apply(copy, *picture()))
    assert digest(pictures) == EARLIER_DIGESTS[name][2]


def test_elastic_fields_are_those_of_earlier_versions() -> None:
    drawn = next(copy for copy in copies_of("spine") if copy.geometric.elastic)
    across, down = sampling_map(drawn.geometric, (64, 96))
    expected_across = [[96.1122, 48.0818, 1.1013], [95.3038, 48.5810, 1.7592], [94.2581, 47.4222, 0.7206]]
    expected_down = [[-0.9866, -0.3903, -1.4985], [30.9760, 31.1133, 31.7491], [61.3680, 62.3617, 61.5937]]
    np.testing.assert_allclose(across[::31, ::47], expected_across, atol=1e-3)
    np.testing.assert_allclose(down[::31, ::47], expected_down, atol=1e-3)


def test_a_step_does_not_change_the_numbers_of_the_others() -> None:
    earlier = Augmentation.model_validate({"shift_scale_rotate": {"probability": 1}, "gamma": {"probability": 1}})
    full = Augmentation.model_validate({**earlier.model_dump(), "flip_horizontal": 1, **ALL_STEPS})
    plain, drawn = (draw_parameters(settings, copy_generator("a", 0, 1)) for settings in (earlier, full))
    assert plain.geometric.rotate_deg == drawn.geometric.rotate_deg and plain.geometric.shift == drawn.geometric.shift
    assert plain.intensity["gamma"] == drawn.intensity["gamma"]
    for name in ALL_STEPS:
        one = draw_parameters(Augmentation.model_validate({name: {"probability": 1}}), copy_generator("a", 0, 1))
        if name == "foreground_zoom":
            assert one.foreground_zoom == drawn.foreground_zoom is not None
        else:
            assert one.intensity == {name: drawn.intensity[name]}


def test_copies_differ_in_every_step() -> None:
    full = Augmentation.model_validate(ALL_STEPS)
    first, second = (draw_parameters(full, copy_generator("a", 0, copy)) for copy in (1, 2))
    assert first.foreground_zoom != second.foreground_zoom
    assert all(first.intensity[name] != second.intensity[name] for name in STEPS)
    again = draw_parameters(full, copy_generator("a", 0, 1))
    assert again == first


def test_the_description_names_all_steps() -> None:
    assert AugmentationParameters().describe() == "identity"
    settings = Augmentation.model_validate({**ALL_STEPS, "flip_vertical": 1, "elastic": {"probability": 1}})
    described = draw_parameters(settings, np.random.default_rng(0)).describe()
    assert described == (
        "flip_vertical+elastic+foreground_zoom+speckle+shadow+depth_gain+blur+low_resolution+noise+gain+contrast+gamma"
    )


@pytest.mark.parametrize("name", ALL_STEPS)
def test_each_step_is_drawn_with_its_probability(name: str) -> None:
    settings = Augmentation.model_validate({name: {"probability": 0.3}})
    drawn = [draw_parameters(settings, np.random.default_rng([5, n])).describe() for n in range(1000)]
    # three standard errors of 1000 draws at p = 0.3 are 0.044
    assert drawn.count(name) / 1000 == pytest.approx(0.3, abs=0.045) and set(drawn) == {name, "identity"}


def test_applying_is_a_function_of_the_parameters_alone() -> None:
    image, mask = picture()
    before = image.copy(), mask.copy()
    settings = Augmentation.model_validate({**ALL_STEPS, "flip_horizontal": 0.5, "elastic": {"probability": 1}})
    drawn = draw_parameters(settings, copy_generator("a", 0, 1))
    first, second = apply(drawn, image, mask), apply(drawn, image, mask)
    np.testing.assert_array_equal(first, second)
    np.testing.assert_array_equal((image, mask), before)
