"""The sections of the augmentation steps: defaults, bounds, and what a dumped section contains."""

from typing import Any

import pytest

from sonoseg.errors import TaskError
from sonoseg.schema.images import Augmentation
from sonoseg.schema.task_files import load_task, parse_task

STEPS = set(Augmentation.model_fields) - {"copies", "online", "flip_horizontal", "flip_vertical"}


def test_steps_are_off_unless_a_task_has_them() -> None:
    assert all(getattr(Augmentation(), name) is None for name in STEPS) and len(STEPS) == 13


@pytest.mark.parametrize("name", sorted(STEPS))
def test_a_step_needs_a_probability_alone(name: str) -> None:
    with pytest.raises(TaskError, match=f"augmentation.{name}.probability: this field is missing"):
        task_with({name: {}})
    assert getattr(task_with({name: {"probability": 0.5}}), name).probability == 0.5


def task_with(augmentation: dict[str, Any]) -> Augmentation:
    fields = load_task("nerve_unet").model_dump(mode="json")
    return parse_task({**fields, "augmentation": augmentation}, "a task").augmentation


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("foreground_zoom.factor", [0.5, 2]),
        ("foreground_zoom.factor", [1.3, 1e9]),
        ("foreground_zoom.max_area_fraction", 0),
        ("speckle.strength", [0, 2]),
        ("speckle.size_px", [1, 1e6]),
        ("shadow.strength", [-0.5, 0.5]),
        ("shadow.width", [0.1, 50]),
        ("shadow.depth", [0.1, 2]),
        ("shadow.divergence", [0, 1e6]),
        ("depth_gain.limit", 1),
        ("depth_gain.knots", 10**9),
        ("blur.sigma_px", [0, 1]),
        ("blur.sigma_px", [1, 1e6]),
        ("low_resolution.factor", [0, 1]),
        ("low_resolution.factor", [0.5, 2]),
        ("noise.sd", [0, 1e300]),
        ("gain.limit", 1e9),
        ("contrast.limit", float("nan")),
    ],
)
def test_numbers_have_bounds(field: str, value: object) -> None:
    name, _, last = field.partition(".")
    with pytest.raises(TaskError, match=f"augmentation.{field}"):
        task_with({name: {"probability": 1, last: value}})


@pytest.mark.parametrize(
    ("field", "low", "high"),
    [
        ("foreground_zoom.factor", 3, 2),
        ("speckle.size_px", 2, 1.5),
        ("speckle.strength", 0.2, 0.1),
        ("shadow.width", 0.2, 0.1),
        ("shadow.depth", 0.6, 0.5),
        ("shadow.strength", 0.9, 0.8),
        ("shadow.divergence", 2, 1),
        ("blur.sigma_px", 2, 1),
        ("low_resolution.factor", 0.8, 0.7),
        ("noise.sd", 10, 5),
    ],
)
def test_the_limits_of_a_range_are_in_order(field: str, low: float, high: float) -> None:
    name, _, last = field.partition(".")
    with pytest.raises(TaskError, match=f"augmentation.{field}: low {low} is above high {high}"):
        task_with({name: {"probability": 1, last: [low, high]}})


def test_a_dumped_section_is_read_again() -> None:
    settings = Augmentation.model_validate({"noise": {"probability": 0.2}, "gamma": {"probability": 0.1}})
    for mode in ("python", "json"):
        fields = settings.model_dump(mode=mode)
        assert fields["noise"]["probability"] == 0.2 and fields["elastic"] is None and "gain" not in fields
        assert Augmentation.model_validate(fields) == settings
