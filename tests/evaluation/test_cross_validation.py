"""Scores over the folds of a cross-validation."""

import pytest

from sonoseg.evaluation.cross_validation import summarise_folds
from sonoseg.schema.task import Task
from tests.evaluation.made_cases import head_map, made_case, summary_of


def test_errors_of_a_fold_without_a_pair_are_none_in_their_place(fetal_head: Task) -> None:
    """Of three folds, the second has images of unknown spacing alone: no millimetres there."""
    summaries = [
        summary_of(
            [
                made_case(f"{fold}{n}", f"{fold}{n}", head_map(across=50 + fold), head_map(), fetal_head, spacing)
                for n in range(2)
            ],
            fetal_head,
        )
        for fold, spacing in enumerate([(0.5, 0.5), None, (0.5, 0.5)])
    ]
    found = summarise_folds(summaries, summaries[0], [])["mean_absolute_error"]["hc_mm"]
    first, second, third = found["folds"]
    assert first == pytest.approx(0, abs=1e-9) and second is None and third > 0
    assert found["mean"] == pytest.approx(third / 2)
