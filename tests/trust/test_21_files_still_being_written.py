"""Check 21: image files that are still being written, in a watched folder and in a single run.

Watched (`--watch`): each file is processed once, when it is complete, however slowly it is written. In a single run an
incomplete file fails with a reason and leaves no result; a run after its completion segments it. Files with temporary
names are ignored. However often stage 4 is started, each image has one row and one set of results.
"""

import json
import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import sonoseg.inference.batch
import sonoseg.inference.watch as watching
from tests.trust.conftest import Segmented, everything

RESULTS = ("_mask.png", "_overlay.png", ".json")


@pytest.fixture
def folder(tmp_path: Path, scene: np.ndarray) -> Path:
    """A folder with a complete image, and beside it the bytes of a second one."""
    folder = tmp_path / "new"
    folder.mkdir()
    Image.fromarray(scene).save(folder / "whole.png")
    Image.fromarray(scene[::-1].copy()).save(tmp_path / "slow.png")
    return folder


def test_an_incomplete_file_fails_until_it_is_complete(segmented: Segmented, folder: Path, tmp_path: Path) -> None:
    data, out = (tmp_path / "slow.png").read_bytes(), tmp_path / "out"
    whole = None
    for part in (0, 10, len(data) // 2, len(data) - 100):  # what follows has no pixels, only sums that check them
        (folder / "slow.png").write_bytes(data[:part])
        code, rows = segmented(folder, out)
        assert code == 1 and rows["whole.png"]["status"] != "failed", part
        assert rows["slow.png"]["status"] == "failed" and rows["slow.png"]["reason"], part
        assert not [path for path in out.iterdir() if path.name.startswith("slow")], part
        whole = whole or (out / "whole_mask.png").read_bytes()
    (folder / "slow.png").write_bytes(data)
    code, rows = segmented(folder, out)
    assert code == 0 and len(rows) == 2 and rows["slow.png"]["status"] != "failed"
    assert all((out / f"slow{end}").is_file() for end in RESULTS)
    assert (out / "whole_mask.png").read_bytes() == whole
    counts = json.loads((out / "run.json").read_text())["counts"]
    assert counts["inputs"] == 2 and counts["failed"] == 0

    (folder / "slow.png").write_bytes(data[:500])  # and written again
    code, rows = segmented(folder, out)
    assert code == 1 and rows["slow.png"]["status"] == "failed"
    assert not [path for path in out.iterdir() if path.name.startswith("slow")], "results of the picture before"


def test_a_file_that_grows_during_the_run_is_never_processed_in_part(
    segmented: Segmented, folder: Path, tmp_path: Path
) -> None:
    data = (tmp_path / "slow.png").read_bytes()
    segmented(folder, tmp_path / "expected")
    (folder / "slow.png").write_bytes(data)
    segmented(folder, tmp_path / "expected")
    expected = (tmp_path / "expected" / "slow_mask.png").read_bytes()

    def write() -> None:
        with (folder / "slow.png").open("wb", buffering=0) as stream:
            for start in range(0, len(data), len(data) // 40):
                stream.write(data[start : start + len(data) // 40])
                time.sleep(0.005)

    ends = set()
    for number in range(6):
        writer = threading.Thread(target=write)
        writer.start()
        time.sleep(0.04 * number)
        out = tmp_path / f"out_{number}"
        _, rows = segmented(folder, out)
        ends.add(rows["slow.png"]["status"])
        if rows["slow.png"]["status"] == "failed":
            assert not list(out.glob("slow*"))
        else:
            assert (out / "slow_mask.png").read_bytes() == expected
        writer.join()
    assert "failed" in ends


def test_temporary_names_are_ignored(segmented: Segmented, folder: Path, tmp_path: Path) -> None:
    data = (tmp_path / "slow.png").read_bytes()
    for name in ("slow.png.part", ".slow.png", "slow.png.tmp", "slow.crdownload", "slow"):
        (folder / name).write_bytes(data[:100])
    code, rows = segmented(folder, tmp_path / "out")
    assert code == 0 and list(rows) == ["whole.png"]
    (folder / "slow.png.part").write_bytes(data)
    (folder / "slow.png.part").rename(folder / "slow.png")
    code, rows = segmented(folder, tmp_path / "out")
    assert code == 0 and sorted(rows) == ["slow.png", "whole.png"]


def test_every_run_gives_each_image_once(segmented: Segmented, folder: Path, tmp_path: Path) -> None:
    (tmp_path / "slow.png").rename(folder / "slow.png")
    out = tmp_path / "out"
    segmented(folder, out)
    first = everything(out)
    for _ in range(2):
        code, rows = segmented(folder, out)
        assert code == 0 and len(rows) == 2
    again = everything(out)
    assert again.keys() == first.keys()
    assert {name for name in first if first[name] != again[name]} <= {"run.json", "stage4.sha256"}


@pytest.fixture
def taken(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    """Poll every 0.05 s; return what a run tries, file and status, in order."""
    monkeypatch.setattr(watching, "POLL_S", 0.05)
    tried: list[tuple[str, str]] = []
    real = sonoseg.inference.batch.process_image

    def noted(source, *rest):
        row = real(source, *rest)
        tried.append((source.path.name, row["status"]))
        return row

    monkeypatch.setattr(sonoseg.inference.batch, "process_image", noted)
    return tried


def watched(segmented: Segmented, folder: Path, out: Path, meanwhile: Callable[[Callable[[str], None]], None]):
    """Watch a folder while `meanwhile` changes it; its argument is a function that waits for an image's results."""
    trouble: list[BaseException] = []

    def until_done(name: str) -> None:
        deadline = time.monotonic() + 30
        while name not in ((out / "results.csv").read_text() if (out / "results.csv").is_file() else ""):
            assert time.monotonic() < deadline, name
            time.sleep(0.02)

    def act() -> None:
        try:
            until_done("whole.png")
            meanwhile(until_done)
        except BaseException as error:
            trouble.append(error)
        os.kill(os.getpid(), signal.SIGINT)

    (out / "results.csv").unlink(missing_ok=True)  # of an earlier run
    writer = threading.Thread(target=act)
    writer.start()
    code, rows = segmented(folder, out, "--watch")
    writer.join()
    assert not trouble, trouble
    return code, rows


def test_watched_files_are_processed_once_and_complete(
    segmented: Segmented, folder: Path, tmp_path: Path, taken: list[tuple[str, str]]
) -> None:
    data, out = (tmp_path / "slow.png").read_bytes(), tmp_path / "out"

    def come(until_done: Callable[[str], None]) -> None:
        with (folder / "slow.png").open("wb", buffering=0) as stream:
            for start in range(0, len(data), len(data) // 20):
                stream.write(data[start : start + len(data) // 20])
                time.sleep(1.0 if start == 10 * (len(data) // 20) else 0.02)  # a pause of twenty polls in the middle
                assert not list(out.glob("slow*"))
        until_done("slow.png")
        (folder / "moved.png.part").write_bytes(data[: len(data) // 2])
        time.sleep(0.3)
        (folder / "moved.png.part").write_bytes(data)
        (folder / "moved.png.part").rename(folder / "moved.png")
        until_done("moved.png")

    code, rows = watched(segmented, folder, out, come)
    assert code == 0 and sorted(rows) == ["moved.png", "slow.png", "whole.png"]
    assert all(row["status"] != "failed" for row in rows.values())
    done = [name for name, status in taken if status != "failed"]
    assert sorted(done) == ["moved.png", "slow.png", "whole.png"], "each once"
    assert ("slow.png", "failed") in taken, "it was read while it stalled"
    assert (out / "moved_mask.png").read_bytes() == (out / "slow_mask.png").read_bytes()

    before = everything(out)
    taken.clear()
    code, rows = watched(segmented, folder, out, lambda until_done: until_done("moved.png"))  # started again
    assert code == 0 and len(rows) == 3
    after = everything(out)
    assert after.keys() == before.keys()
    assert {name for name in before if before[name] != after[name]} <= {"run.json", "stage4.sha256"}


def test_a_watched_file_that_stays_incomplete_fails_with_a_reason(
    segmented: Segmented, folder: Path, tmp_path: Path, taken: list[tuple[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watching, "PATIENCE_S", 0.5)
    (folder / "slow.png").write_bytes((tmp_path / "slow.png").read_bytes()[:-2000])
    code, rows = watched(segmented, folder, tmp_path / "out", lambda until_done: until_done("slow.png"))
    assert code == 1 and rows["slow.png"]["status"] == "failed" and rows["slow.png"]["reason"]
    assert [name for name, _ in taken].count("slow.png") == 2, "when it came, and once more at the end"
