"""A watched folder: which files are ready and when, and stage 4 as a watching process."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import inference
import sonoseg.inference.watch as watching
from sonoseg.__main__ import main as tool
from sonoseg.errors import DataError
from sonoseg.inference.sources import Inputs, Source
from sonoseg.inference.watch import PATIENCE_S, Arrivals, FolderWatch, WatchEvent
from sonoseg.io.image_ref import ImageRef
from sonoseg.models.model_file import save_model
from sonoseg.models.networks import build_network
from sonoseg.runs.signals import deferred_signals
from sonoseg.schema.task import Task
from tests.conftest import REPOSITORY
from tests.inference.test_batch import small
from tests.io.volumes import meta_image

OK, FAILED = (
    {"status": status, "image": "a.png", "reason": reason} for status, reason in (("ok", ""), ("failed", "cut"))
)


@pytest.fixture
def source(tmp_path: Path) -> Source:
    (tmp_path / "a.png").write_bytes(b"half")
    return Source(ImageRef(tmp_path / "a.png"), "a")


def test_a_file_is_ready_when_its_size_and_time_are_stable(source: Source) -> None:
    arrivals = Arrivals()
    assert arrivals.ready([source], 0) == []
    source.path.write_bytes(b"half and half")
    assert arrivals.ready([source], 1) == [], "its size has changed"
    os.utime(source.path, ns=(1, 1))
    assert arrivals.ready([source], 2) == [], "its modification time has changed"
    assert arrivals.ready([source], 3) == [source]
    assert arrivals.rows() == []
    assert arrivals.record(source, OK, 4)
    assert arrivals.ready([source], 5) == [] and arrivals.rows() == [OK], "once"
    assert arrivals.ready([], 1e6) == [] and arrivals.rows() == [OK], "a removed file keeps its row"


def test_values_that_arrive_after_their_header_are_waited_for(tmp_path: Path) -> None:
    source = Source(ImageRef(meta_image(tmp_path / "a.mhd", np.zeros((8, 8), np.uint8))), "a")
    whole = (tmp_path / "a.raw").read_bytes()
    (tmp_path / "a.raw").unlink()
    arrivals = Arrivals()
    for second, length in enumerate((20, len(whole))):
        assert arrivals.ready([source], second) == [], "its values are still growing"
        (tmp_path / "a.raw").write_bytes(whole[:length])
    assert arrivals.ready([source], 2) == [] and arrivals.ready([source], 3) == [source]


def test_an_unreadable_file_fails_only_after_it_has_long_been_stable(source: Source) -> None:
    arrivals = Arrivals()
    arrivals.ready([source], 0)
    assert arrivals.ready([source], 1) == [source]
    assert not arrivals.record(source, FAILED, 1)
    assert arrivals.rows() == [] and arrivals.rows(also_waiting=True) == [FAILED]
    assert arrivals.ready([source], PATIENCE_S - 1) == [], "not tried every second"
    assert arrivals.ready([source], PATIENCE_S) == [source]
    assert arrivals.record(source, FAILED, PATIENCE_S) and arrivals.rows() == [FAILED]
    assert arrivals.ready([source], 10 * PATIENCE_S) == [], "a final failure"
    source.path.write_bytes(b"whole")
    assert arrivals.ready([source], 10 * PATIENCE_S + 1) == [] and arrivals.rows() == []
    assert arrivals.ready([source], 10 * PATIENCE_S + 2) == [source]
    assert arrivals.record(source, OK, 10 * PATIENCE_S + 3) and arrivals.rows() == [OK]


def test_a_file_that_is_removed_at_once_is_ignored(source: Source) -> None:
    source.path.unlink()
    assert Arrivals().ready([source], 0) == []


def test_a_file_with_the_same_stem_makes_earlier_results_outdated(source: Source) -> None:
    arrivals = Arrivals()
    arrivals.ready([source], 0)
    arrivals.ready([source], 1)
    arrivals.record(source, OK, 1)
    assert arrivals.outdated([source]) == [] and arrivals.outdated([]) == []
    named = Source(source.image, "a_png")
    assert arrivals.outdated([named]) == ["a"]
    assert arrivals.outdated([named, Source(ImageRef(source.path.with_suffix(".jpg")), "a")]) == [], (
        "the name belongs to another file"
    )
    assert arrivals.ready([named], 2) == [] and arrivals.ready([named], 3) == [named]
    assert arrivals.outdated([named]) == []


def test_a_file_that_gets_more_frames_is_processed_frame_by_frame(source: Source) -> None:
    arrivals = Arrivals()
    arrivals.ready([source], 0)
    assert arrivals.ready([source], 1) == [source]
    arrivals.record(source, FAILED, 1)
    frames = [Source(ImageRef(source.path, frame), f"a_frame000{frame + 1}") for frame in range(2)]
    assert arrivals.outdated(frames) == ["a"]
    assert arrivals.ready(frames, 2) == [] and arrivals.ready(frames, 3) == frames
    for number, image in enumerate(reversed(frames)):
        arrivals.record(image, {**OK, "frame": 2 - number}, 3)
    assert [row["frame"] for row in arrivals.rows(also_waiting=True)] == [1, 2], "the failed row of the file is dropped"


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watching, "POLL_S", 0.01)


@pytest.mark.usefixtures("quick")
def test_a_problem_is_one_event_and_a_signal_ends_the_watch(
    source: Source, monkeypatch: pytest.MonkeyPatch, fetal_head: Task
) -> None:
    reads: Iterator[Callable[[], Inputs]]

    def half_written() -> Inputs:
        raise DataError("metadata.csv: line 3 is cut")

    def away() -> Inputs:
        raise OSError("the drive is away")

    def there() -> Inputs:
        return Inputs([source], [])

    def interrupted() -> Inputs:
        os.kill(os.getpid(), signal.SIGTERM)
        return Inputs([source], [])

    reads = iter([half_written, half_written, away, there, there, there, interrupted])
    monkeypatch.setattr(watching, "from_folder", lambda *_: next(reads)())
    folder = FolderWatch(source.path.parent, fetal_head)
    events = []
    with deferred_signals() as signals:
        for event in folder.events(signals):
            events.append(event)
            assert all(folder.record(image, OK) for image in event.ready)
    assert events == [
        WatchEvent(problem="metadata.csv: line 3 is cut"),
        WatchEvent(problem="the drive is away"),
        WatchEvent(ready=[source], is_last=True),
    ]
    assert folder.rows() == folder.rows(also_waiting=True) == [OK]
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


@pytest.mark.usefixtures("quick")
def test_many_images_are_ready_in_batches_and_a_signal_ends_between_them(
    tmp_path: Path, fetal_head: Task, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(40):
        (tmp_path / f"{number:02}.png").write_bytes(b"x")
    signals: list[int] = []
    events = FolderWatch(tmp_path, fetal_head).events(signals)
    first, second, third = (next(events) for _ in range(3))
    assert [len(event.ready) for event in (first, second, third)] == [16, 16, 8]
    assert [event.is_last for event in (first, second, third)] == [False, False, True]
    again = FolderWatch(tmp_path, fetal_head).events(signals)
    next(again)
    signals.append(signal.SIGINT)
    assert list(again) == []


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
def test_a_watching_process_gives_the_results_of_a_single_run(fetal_head: Task, tmp_path: Path) -> None:
    """An image that is there and an image that arrives: results and table equal those of a run over the folder.

    Ended by Ctrl-C here, and by SIGTERM in `test_a_problem_is_one_event_and_a_signal_ends_the_watch`.
    """
    folder, out, task = tmp_path / "in", tmp_path / "out", small(fetal_head)
    folder.mkdir()
    picture = np.random.default_rng(0).integers(0, 255, (60, 80), dtype=np.uint8)
    Image.fromarray(picture).save(folder / "b.png")
    save_model(tmp_path / "m.safetensors", build_network(task).state_dict(), task, {})
    flags = ["--model", str(tmp_path / "m.safetensors"), "--engine", "torch", "--images", str(folder), "--output"]
    command = [sys.executable, "inference.py", *flags, str(out), "--watch"]
    process = subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    until(lambda: (out / "results.csv").is_file(), process)
    Image.fromarray(picture[::-1].copy()).save(tmp_path / "a.png")
    (tmp_path / "a.png").rename(folder / "a.png")
    until(lambda: "a.png" in (out / "results.csv").read_text(), process)
    assert not (out / "run.json").exists(), "the run is in progress"
    process.send_signal(signal.SIGINT)
    output, errors = process.communicate(timeout=30)
    assert (process.returncode, errors) == (0, "")
    assert output.count("(pixel spacing unknown") == 2, "a note at each image"
    assert "watching" in output and output.index("b.png") < output.index("a.png") and "0 failed" in output
    assert json.loads((out / "run.json").read_text())["counts"]["inputs"] == 2
    assert tool(["verify", str(out)]) == 0

    table, names = (out / "results.csv").read_bytes(), {path.name for path in out.iterdir()}
    (out / "results.csv").unlink()
    assert inference.main([*flags, str(out)]) == 0
    assert (out / "results.csv").read_bytes() == table and {path.name for path in out.iterdir()} == names


def test_watching_needs_a_folder_of_images(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert inference.main(["--watch"]) == 2 and "name the folder" in capsys.readouterr().err


def until(true: Callable[[], bool], process: subprocess.Popen) -> None:
    deadline = time.monotonic() + 60
    while not true():
        assert process.poll() is None and time.monotonic() < deadline, process.communicate()
        time.sleep(0.05)
