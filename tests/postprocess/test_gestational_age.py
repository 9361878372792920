"""The published spread of the gestational age by head circumference."""

from itertools import pairwise

import pytest

from sonoseg.postprocess.gestational_age import ERROR_NOTE, TWO_SD_WEEKS, two_sd_weeks


@pytest.mark.parametrize(
    ("weeks", "spread"),
    [(11.9, None), (12, 1.2), (17.9, 1.2), (18, 1.5), (26, 2.1), (33, 3.0), (36, 2.7), (42, 2.7), (42.1, None)],
)
def test_two_standard_deviations_of_hadlock(weeks: float, spread: float | None) -> None:
    assert two_sd_weeks(weeks) == spread


def test_the_ranges_join_and_all_of_them_are_stated() -> None:
    assert all(before[1] == after[0] for before, after in pairwise(TWO_SD_WEEKS))
    for part in ("1.2 weeks from 12 to 18", "1.5 weeks from 18 to 24", "2.1 weeks from 24 to 30"):
        assert part in ERROR_NOTE
    for part in ("3.0 weeks from 30 to 36", "2.7 weeks from 36 to 42", "no error of dating", "Hadlock et al. 1984"):
        assert part in ERROR_NOTE
