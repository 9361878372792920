"""Check 5: the more structures are missed, the worse every average; `n_missed` counts them."""

import numpy as np
import pytest

from sonoseg.evaluation.cases import Case
from sonoseg.schema.task import Task
from tests.evaluation.made_cases import head_map, made_case, summary_of

IMAGES, PATIENTS = 12, 5


@pytest.fixture(scope="module", params=[(0.5, 0.25), None], ids=["mm", "px"])
def cases(request: pytest.FixtureRequest, fetal_head: Task) -> list[tuple[Case, Case]]:
    """Each image scored twice: its head found two or three pixels off, and missed."""
    found = []
    for number in range(IMAGES):
        reference = head_map(x=70 + number)
        ours, nothing = head_map(x=72 + number + number % 2), np.zeros_like(reference)
        names = f"{number}", f"patient {number % PATIENTS}"
        hit, missed = (made_case(*names, one, reference, fetal_head, request.param) for one in (ours, nothing))
        found.append((hit, missed))
    return found


@pytest.mark.parametrize("seed", range(3))
def test_missing_more_is_never_better(cases: list[tuple[Case, Case]], fetal_head: Task, seed: int) -> None:
    order = np.random.default_rng(seed).permutation(IMAGES)
    summaries = [
        summary_of([missed if number in order[:k] else hit for number, (hit, missed) in enumerate(cases)], fetal_head)
        for k in range(IMAGES + 1)
    ]
    heads = [one["classes"]["HEAD"] for one in summaries]
    assert [one["n_missed"] for one in heads] == list(range(IMAGES + 1))
    assert {(one["n"], one["n_empty_reference"], one["n_false_alarm"]) for one in heads} == {(IMAGES, 0, 0)}
    for name, sign in {"hd95": 1, "hausdorff": 1, "dice": -1, "iou": -1, "surface_dice": -1}.items():
        means = np.array([one[name]["mean"] for one in heads])
        assert np.isfinite(means).all() and (sign * np.diff(means) > 0).all(), name
    dice = [one["mean_dice"] for one in summaries]
    assert (np.diff(dice) < 0).all() and dice[-1] == 0

    measured = [one["measurements"]["hc_mm" if cases[0][0].distance_unit == "mm" else "hc_px"] for one in summaries]
    assert [one["n_missed"] for one in measured] == list(range(IMAGES + 1))
    errors = [one["mean_absolute_error_with_missed"]["mean"] for one in measured]
    assert (np.diff(errors) > 0).all()
    centres = [one["shape_errors"] for one in heads]
    assert centres[0], "the task's class has a shape"
    for name in centres[0]:
        with_missed = [one[name]["mean_with_missed"]["mean"] for one in centres]
        assert (np.diff(with_missed) > 0).all(), name
