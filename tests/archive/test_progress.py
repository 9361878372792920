"""Progress of archives: what its line says, and that a batch job's log has a line a minute and one at the end."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from threading import Thread
from types import SimpleNamespace

import pytest
from rich.console import Console

from sonoseg.archive import progress
from sonoseg.archive.inputs import Archive
from sonoseg.archive.progress import archive_progress, progress_line
from sonoseg.archive.run import Tally


@pytest.mark.parametrize(
    ("total", "rate", "expected"),
    [
        (None, 0.0, "600 images of 300 files, 2 failed"),
        (None, 12.5, "600 images of 300 files, 12.5 images a second, 2 failed"),
        (1200, 0.0, "600 images of 300 of 1200 files, 2 failed"),
        # 900 files are left, with 2 images each.
        (1200, 5.0, "600 images of 300 of 1200 files, 5.0 images a second, 6 min left, 2 failed"),
        (1200, 0.1, "600 images of 300 of 1200 files, 0.1 images a second, 5.0 h left, 2 failed"),
    ],
)
def test_the_line_states_images_total_rate_time_and_failures(total: int | None, rate: float, expected: str) -> None:
    assert progress_line(Counter(inputs=600, files=300, failed=2), total, rate) == expected


class AtOnce(Thread):
    """A thread that counts the files before the run begins."""

    def start(self) -> None:
        self.run()


@pytest.fixture
def at(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Return a function that sets the time, in seconds; it begins at 0."""
    seconds = [0.0]
    monkeypatch.setattr(progress, "time", SimpleNamespace(monotonic=lambda: seconds[0]))
    return lambda now: seconds.__setitem__(0, now)


def test_without_a_terminal_there_is_a_line_a_minute_and_one_at_the_end(
    at: Callable[[float], None], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setattr(progress, "Thread", AtOnce)
    archive = Archive(Path(), lambda: iter([("a.png", None, "", "")] * 800))
    tally = Tally(counts=Counter(inputs=200, files=200), reused=200)
    with pytest.raises(KeyboardInterrupt), archive_progress(archive) as shown:
        for now in range(10, 140, 10):  # a file a second
            at(now)
            tally.counts.update(inputs=10, files=10, failed=now == 60)
            shown.update(tally)
        raise KeyboardInterrupt
    assert capsys.readouterr().out.splitlines() == [
        "260 images of 260 of 800 files, 1.0 images a second, 9 min left, 1 failed",
        "320 images of 320 of 800 files, 1.0 images a second, 8 min left, 1 failed",
        "330 images of 330 of 800 files, 1.0 images a second, 8 min left, 1 failed",
    ]


def test_a_terminal_has_the_same_text_beside_its_bar(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setattr(progress, "Thread", AtOnce)
    monkeypatch.setattr(progress, "console", Console(force_terminal=True, width=150, markup=False))
    nine = [("a.png", None, "", "")] * 9
    with archive_progress(Archive(Path(), lambda: iter(nine))) as shown:
        shown.update(Tally(counts=Counter(inputs=7, files=5, failed=3)))
    out = capsys.readouterr().out
    assert "7 images of 5 of 9 files" in out and ", 3 failed" in out
