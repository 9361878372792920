"""The summary of a loop, by hand: which frames are chosen, weighted median, spread, interval, status."""

import pytest

from sonoseg.inference.cine import chart
from sonoseg.inference.cine.chart import loop_chart
from sonoseg.inference.cine.summary import Frame, loop_interval, summarise, weighted_median
from sonoseg.inference.sources import Loop
from sonoseg.reporting.pages import new_figure
from sonoseg.schema.quantity import Quantity

HC = Quantity("hc", "mm", "HC")


def frame(number: int, value: float | None, quality: float | None = 0.9, status: str = "ok", **more: object) -> Frame:
    return Frame(number, status, quality=quality, measurements={"hc_mm": value}, **more)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("values", "weights", "expected"),
    [
        ([3, 1, 2], [1, 1, 1], 2),
        ([4, 1, 3, 2], [1, 1, 1, 1], 2.5),  # the mean of the middle two
        ([1, 2, 3], [0.9, 0.4, 0.4], 1),  # 0.9 of 1.7 is more than half
        ([1, 2, 3], [0.8, 0.4, 0.4], 1.5),  # 0.8 of 1.6 is half
        ([10, 20, 30], [0.1, 0.1, 0.9], 30),
        ([0.1, 0.2, 0.3, 0.4], [0.1, 0.2, 0.3, 0.6], 0.35),  # 0.1 + 0.2 + 0.3 is half of 1.2, but for rounding
        ([7], [0.2], 7),
    ],
)
def test_weighted_median(values: list[float], weights: list[float], expected: float) -> None:
    assert weighted_median(values, weights) == pytest.approx(expected)


def test_the_best_quarter_of_the_frames_is_chosen_and_none_that_is_rejected() -> None:
    """Of 13 frames 3.25, so 4: frames 3, 5, 8 and 12 by expected Dice; 1 would be the best but is rejected."""
    quality = {1: 0.99, 3: 0.8, 5: 0.9, 8: 0.7, 12: 0.95, 13: 0.6}
    value = {3: 20.0, 5: 10.0, 8: 40.0, 12: 30.0}
    frames = [
        frame(
            number,
            value.get(number, 100.0),
            quality.get(number, 0.5),
            "reject" if number == 1 else "ok",
            confidence={"HEAD": 0.8 if number == 3 else 0.9},
        )
        for number in range(1, 14)
    ]
    summary = summarise(frames, [HC])
    assert (summary.chosen, summary.chosen_by) == ([3, 5, 8, 12], "expected Dice")
    # In order 10 (0.9), 20 (0.8), 30 (0.95), 40 (0.7): half of 3.35 is 1.675, and 0.9 + 0.8 is more.
    assert summary.measurements == {"hc_mm": 20.0}
    assert summary.spread == {"hc_mm": pytest.approx(32.5 - 17.5)}  # quartiles of 10, 20, 30, 40
    assert summary.quality == pytest.approx(0.85) and summary.confidence == {"HEAD": 0.9}
    assert (summary.status, summary.reasons) == ("ok", [])


def test_without_a_quality_model_frames_are_chosen_by_confidence() -> None:
    confidence = [{"A": 0.5, "B": 0.7}, {"A": 0.9, "B": 0.9}, {}, {"A": 0.8}, {"A": 0.7}]
    frames = [
        frame(number, 10.0 * number, None, quality_note="no quality model", confidence=each)
        for number, each in enumerate(confidence, start=1)
    ]
    summary = summarise(frames, [HC])
    assert (summary.chosen, summary.chosen_by) == ([2, 4, 5], "mean confidence"), "three at least"
    # 20 (0.9), 40 (0.8), 50 (0.7): half of 2.4 is 1.2
    assert summary.measurements == {"hc_mm": 40.0}
    assert (summary.quality, summary.quality_note) == (None, "no quality model")
    assert summary.confidence == {"A": 0.8, "B": 0.9}


def test_the_interval_is_that_of_one_image_and_contains_the_quartiles() -> None:
    ends = [(9.0, 12.0), (10.0, 13.0), (11.0, 14.0)]
    assert loop_interval([10, 11, 12], ends, [1, 1, 1]) == (10.0, 13.0), "no narrower for three frames"
    assert loop_interval([4, 11, 20], ends, [1, 1, 1]) == (7.5, 15.5), "the quartiles of 4, 11, 20"
    frames = [frame(number, 10.0 + number, intervals={"hc_mm": ends[number]}) for number in range(3)]
    assert summarise(frames, [HC]).intervals == {"hc_mm": (10.0, 13.0)}
    partly = [*frames[:2], frame(2, 12.0)]
    assert summarise(partly, [HC]).intervals == {}, "one of the chosen frames has none"


def test_a_missing_value_has_its_reason() -> None:
    frames = [frame(number, None, notes={"hc_mm": "HEAD not found"}) for number in (1, 2, 3)]
    summary = summarise(frames, [HC])
    assert summary.measurements == {"hc_mm": None} and summary.notes == {"hc_mm": "HEAD not found"}
    assert (summary.spread, summary.intervals) == ({}, {})
    one = summarise([frame(1, 5.0), frame(2, None), frame(3, None)], [HC])
    assert one.measurements == {"hc_mm": 5.0} and one.spread == {}, "one value has no spread"


def rejected(number: int) -> Frame:
    return frame(number, 1.0, 0.1, "reject", reasons=[f"expected Dice 0.{number} is below 0.5"])


def failed(number: int) -> Frame:
    return Frame(number, "failed", [f"frame {number} is cut short"])


def doubtful(number: int) -> Frame:
    return frame(number, 1.0, 0.8, "check", reasons=["EPI not found"])


@pytest.mark.parametrize(
    ("frames", "status", "reason"),
    [
        ([rejected(1), rejected(2)], "reject", "no frame can be used: 2 of 2 frames rejected"),
        ([rejected(1), failed(2)], "reject", "1 of 2 frames rejected, 1 of 2 frames failed; such as frame 1: ex"),
        ([frame(n, 1.0) for n in (1, 2, 3)] + [rejected(4)], "ok", ""),
        (
            [frame(n, 1.0) for n in (1, 2, 3)] + [rejected(n) for n in (4, 5, 6, 7)],
            "check",
            "4 of 7 frames rejected; such as frame 4",
        ),
        (
            [frame(n, 1.0) for n in (1, 2, 3)] + [failed(4)],
            "check",
            "1 of 4 frames failed; such as frame 4: frame 4 is cut short",
        ),
        ([frame(1, 1.0), frame(2, 1.0), rejected(3)], "check", "only 2 of 3 frames can be used"),
        (
            [doubtful(1), doubtful(2), frame(3, 1.0, 0.7)],
            "check",
            "2 of 3 chosen frames to be checked; such as frame 1",
        ),
        ([doubtful(1), frame(2, 1.0), frame(3, 1.0)], "ok", ""),
        ([frame(n, None, None) for n in (1, 2, 3)], "check", "no structure was found in any frame"),
    ],
)
def test_status(frames: list[Frame], status: str, reason: str) -> None:
    summary = summarise(frames, [HC])
    assert summary.status == status
    assert any(reason in each for each in summary.reasons) if reason else not summary.reasons


def test_further_reasons_where_no_frame_can_be_used() -> None:
    reasons = summarise([rejected(1), rejected(2)], [HC], ["the file ends after 2 of 9 frames"]).reasons
    assert len(reasons) == 2 and reasons[1] == "the file ends after 2 of 9 frames"


def test_further_reasons_to_check() -> None:
    frames = [frame(n, 10.0 * n, intervals={"hc_mm": (10.0 * n - 2, 10.0 * n + 2)}) for n in (1, 2, 3)]
    for each in frames:  # the same length in pixels is no further reason
        each.measurements["hc_px"], each.intervals["hc_px"] = 50.0 * each.number, (0.0, 1.0)
    summary = summarise(frames, [HC, Quantity("hc", "px", "HC")], ["the file ends after 3 of 9 frames"])
    assert summary.status == "check" and summary.reasons == [
        "the file ends after 3 of 9 frames",
        "hc_mm: the chosen frames differ by 10.0 (interquartile range), more than the interval of a single image, 4.0",
    ]


@pytest.mark.parametrize(
    "frames",
    [
        [frame(1, 5.0), rejected(2), failed(3)],
        [rejected(1)],
        [frame(n, None, None) for n in (1, 2)],
        [frame(n, 5.0, intervals={"hc_mm": (4.0, 6.0)}) for n in range(1, 9)],
    ],
)
def test_a_chart_of_any_frames(frames: list[Frame]) -> None:
    for seconds in (None, 0.04):
        png = loop_chart("a", frames, summarise(frames, [HC]), Loop((60, 80), len(frames), seconds), [HC])
        assert png.startswith(b"\x89PNG")


def test_frames_without_times_have_whole_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    figures = []
    monkeypatch.setattr(chart, "new_figure", lambda *size: figures.append(new_figure(*size)) or figures[-1])
    frames = [frame(number, 5.0) for number in (1, 2)]
    loop_chart("a", frames, summarise(frames, [HC]), Loop((60, 80), 2), [HC])
    ticks = figures[0].axes[-1].get_xticks()
    assert len(ticks) > 0 and all(float(tick).is_integer() for tick in ticks)
