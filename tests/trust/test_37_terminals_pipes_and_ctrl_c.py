"""Check 37: closed pipes, full devices, ASCII terminals, hostile flags, three Ctrl-C: complete, or interrupted."""

import io
import os
import shutil
import signal
import subprocess
import sys
import time
import weakref
from collections.abc import Sequence
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from types import ModuleType

import pytest

import image_preprocessing as stage2
import inference as stage4
import train_test_data_preparation as stage1
import training as stage3
from sonoseg.__main__ import main as tool
from sonoseg.runs.command_line import run_guarded
from sonoseg.runs.signals import one_interrupt
from tests.conftest import REPOSITORY
from tests.trust.conftest import everything, rows_of
from tests.trust.runs import NAME, STAGES, flags, run

NOISE = ("Traceback", "Exception ignored", "unexpected", "dumped", "Fatal")


def command(stage: ModuleType, root: Path, *more: str) -> list[str]:
    return [sys.executable, str(REPOSITORY / f"{stage.__name__}.py"), *flags(stage, root), *more]


def again(workspace: Path, stage: ModuleType) -> list[str]:
    """Remove what makes a stage say that nothing is left to do; return the flags that run it on this workspace."""
    if stage is stage2:
        return ["--seed", "7"]
    if stage is stage4:
        shutil.rmtree(workspace / "result")
        return ["--images", str(workspace / "spine" / "images")]
    return []


def is_complete(workspace: Path, stage: ModuleType) -> None:
    folder = {stage3: "Models", stage4: "result"}.get(stage, "Train_Test_Dataset")
    assert tool(["verify", str(workspace / folder / NAME)]) == 0
    if stage is stage4:
        assert len(rows_of(workspace / "result" / NAME / "results.csv")) == 12


BUFFERED, UNBUFFERED = ({**os.environ, "PYTHONUNBUFFERED": value} for value in ("", "1"))
"""What fails is the flush of a buffer, or the writing itself."""
PROCESSES = (stage1, stage2)
"""Stages that run in a process of their own, with its start and end; the others would import PyTorch for seconds."""


def printing_to(file: int, workspace: Path, stage: ModuleType, environment: dict[str, str]) -> tuple[int, str]:
    """Run a stage with a file in place of the standard output, which is closed; return its exit code and errors."""
    more = again(workspace, stage)
    if stage in PROCESSES:
        arguments = command(stage, workspace, *more)
        done = subprocess.run(arguments, stdout=file, stderr=subprocess.PIPE, text=True, env=environment, timeout=120)
        os.close(file)
        return done.returncode, done.stderr
    errors = io.StringIO()
    at_once = environment is UNBUFFERED
    with open(file, "wb", buffering=0 if at_once else -1) as binary:  # as the interpreter opens it
        out = io.TextIOWrapper(binary, write_through=at_once)
        with redirect_stdout(out), redirect_stderr(errors):
            code = run(stage, workspace, *more)
        out.close()
    return code, errors.getvalue()


@pytest.mark.parametrize("environment", [BUFFERED, UNBUFFERED], ids=["buffered", "unbuffered"])
@pytest.mark.parametrize("stage", STAGES, ids=lambda stage: stage.__name__)
def test_a_reader_that_has_read_enough(workspace: Path, stage: ModuleType, environment: dict[str, str]) -> None:
    read, write = os.pipe()
    os.close(read)
    assert printing_to(write, workspace, stage, environment) == (0, "")
    is_complete(workspace, stage)


@pytest.mark.parametrize("stage", STAGES, ids=lambda stage: stage.__name__)
def test_a_full_device(workspace: Path, stage: ModuleType) -> None:
    code, said = printing_to(os.open("/dev/full", os.O_WRONLY), workspace, stage, BUFFERED)
    assert code == 2
    assert said.splitlines() == [
        "error: standard output: No space left on device; the run is complete, only its messages are lost"
    ]
    is_complete(workspace, stage)


@pytest.mark.parametrize(("stage", "closed"), [(stage2, ">&-"), (stage2, "2>&-"), (stage4, ">&- 2>&- <&-")])
def test_closed_streams(workspace: Path, stage: ModuleType, closed: str) -> None:
    more = again(workspace, stage)
    done = subprocess.run(["sh", "-c", f'exec "$@" {closed}', "sh", *command(stage, workspace, *more)])
    assert done.returncode == 0
    is_complete(workspace, stage)


@pytest.mark.parametrize("arguments", [["--help"], ["verify", "docs"], ["--no-such-flag"]], ids=" ".join)
def test_other_texts_end_quietly_too(arguments: list[str], tmp_path: Path) -> None:
    for target in ("/dev/full", os.devnull):
        with open(target, "w") as stream:
            done = subprocess.run(
                [sys.executable, "-m", "sonoseg", *arguments],
                stdout=stream,
                stderr=subprocess.PIPE,
                cwd=REPOSITORY,
                env=BUFFERED,
            )
        assert done.returncode in (0, 1, 2) and not any(word.encode() in done.stderr for word in NOISE)


ASCII = {
    "PYTHONIOENCODING": {"PYTHONIOENCODING": "ascii"},
    "LC_ALL=C": {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
}


@pytest.mark.parametrize("encoding", ASCII)
def test_an_ascii_terminal(workspace: Path, encoding: str) -> None:
    files_too = encoding == "LC_ALL=C"
    images = workspace / ("new" if files_too else "Müller 超")
    shutil.copytree(workspace / "spine" / "images", images)
    next(iter(images.iterdir())).rename(images / "é.png")
    (images / "ü.gif").write_bytes(b"GIF89a")
    environment = {**os.environ, **ASCII[encoding], "COLUMNS": "100"}

    def text_of(stage: ModuleType, *more: str) -> tuple[int, str]:
        if files_too or stage in PROCESSES:
            done = subprocess.run(command(stage, workspace, *more), env=environment, capture_output=True, timeout=120)
            code, said = done.returncode, (done.stdout + done.stderr).decode("ascii")
        else:
            both = io.TextIOWrapper(io.BytesIO(), "ascii")  # as the interpreter opens it
            with redirect_stdout(both), redirect_stderr(both):
                code = run(stage, workspace, *more)
            said = both.buffer.getvalue().decode("ascii")
        assert not any(word in said for word in NOISE), said
        return code, said

    assert text_of(stage4, "--images", str(images), "--output", str(workspace / "out"))[0] == 1
    rows = rows_of(workspace / "out" / "results.csv")
    failed = {row["image"] for row in rows if row["status"] == "failed"}
    assert len(rows) == 13
    assert failed == ({"\\udcc3\\udca9.png", "\\udcc3\\udcbc.gif"} if files_too else {"ü.gif"})
    assert text_of(stage1)[0] == 0
    assert text_of(stage3, "--score")[0] == 0
    code, said = text_of(stage1, "--data", str(workspace / "Größe"))
    assert code == 2 and ("set PYTHONUTF8=1" if files_too else "no such folder") in said


def interrupted(arguments: Sequence[str], workspace: Path, wait: float, pause: float) -> tuple[int, str]:
    """Start a process in a group of its own and interrupt the group three times; return exit code and text."""
    process = subprocess.Popen(
        arguments, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True, cwd=workspace
    )
    try:
        time.sleep(wait)
        for _ in range(3):
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGINT)
            time.sleep(pause)
        said, _ = process.communicate(timeout=60)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
    return process.returncode, said


@pytest.mark.parametrize(("wait", "pause"), [(1.5, 0.02), (3.5, 0.2)])
@pytest.mark.parametrize("stage", STAGES, ids=lambda stage: stage.__name__)
def test_three_times_ctrl_c(workspace: Path, stage: ModuleType, wait: float, pause: float) -> None:
    more = again(workspace, stage)
    more += {stage3: ["--epochs", "5000"], stage2: ["--copies", "300", "--jobs", "2"]}.get(stage, [])
    if stage in (stage1, stage4):
        images = workspace / "spine" / "images"
        for number in range(300):
            shutil.copy(next(iter(sorted(images.iterdir()))), images / f"more{number}.png")
    code, said = interrupted(command(stage, workspace, *more), workspace, wait, pause)
    assert not any(word in said for word in NOISE), said
    assert code in (130, 0), said
    left = [path for path in everything(workspace) if path.endswith(".tmp")]
    assert left == []


STUBBORN = """
import sys, time
from sonoseg.runs import signals
from sonoseg.runs.command_line import run_guarded
signals.ENDING_SECONDS = 3

def run_stage(argv):
    while True:
        try:
            print("ready", flush=True)
            time.sleep(60)
        except KeyboardInterrupt:
            pass

sys.exit(run_guarded(run_stage))
"""


@pytest.mark.parametrize("presses", [1, 2])
def test_a_library_that_catches_the_interrupt_delays_the_end_for_seconds_only(presses: int) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", STUBBORN], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=REPOSITORY
    )
    assert process.stdout is not None and process.stdout.readline() == "ready\n"
    started = time.monotonic()
    for _ in range(presses):
        process.send_signal(signal.SIGINT)
        time.sleep(2.2)
    _, said = process.communicate(timeout=10)
    assert process.returncode == 130 and said.startswith("interrupted; ") and said.count("\n") == 1
    assert time.monotonic() - started < 8


def test_an_interrupt_that_falls_into_a_callback_is_not_lost(capsys: pytest.CaptureFixture[str]) -> None:
    """Python prints and drops what such a callback raises."""

    class Thing:
        pass

    def interrupted_there(_: object) -> None:
        signal.raise_signal(signal.SIGINT)
        time.sleep(0)

    thing = Thing()
    callback = weakref.ref(thing, interrupted_there)
    hook = sys.unraisablehook
    with pytest.raises(KeyboardInterrupt), one_interrupt(False, ""):
        del thing
        time.sleep(5)
    assert callback() is None and sys.unraisablehook is hook and capsys.readouterr().err == ""


def test_a_caller_in_the_same_process_keeps_its_own_ctrl_c() -> None:
    def run_stage(argv: Sequence[str] | None) -> int:
        os.kill(os.getpid(), signal.SIGINT)
        raise AssertionError("not interrupted")

    before = signal.getsignal(signal.SIGINT), sys.stdout, sys.stderr
    assert run_guarded(run_stage, []) == 130
    assert (signal.getsignal(signal.SIGINT), sys.stdout, sys.stderr) == before


HOSTILE = [
    ("--workspace", "a\0b", "a path with a NUL"),
    ("--workspace", "x" * 5000, "File name too long"),
    ("--workspace", "LOOP", "Too many levels of symbolic links"),
    ("--workspace", "LOOP/below", "Too many levels of symbolic links"),
    ("--task", "a\0b.yaml", "no such task file"),
    ("--task", "LOOP.yaml", "no such task file"),
    ("--task", "x" * 5000, "no such task"),
    ("--task", "/dev/zero", "no such task"),
    ("--max-pixels", "1_0", "expected a number from 1 to"),
    ("--max-pixels", "\uff11", "expected a number from 1 to"),
    ("--max-pixels", "9" * 5000, "expected a number from 1 to"),
    ("--seed", "1_0", "expected a number from 0 to"),
    ("--jobs", "1000000000000", "expected a number from 1 to 1024"),
    ("--jobs", "1e3", "expected a number from 1 to 1024"),
    ("--copies", "1000000", "expected a number from 0 to 1000"),
    ("--epochs", "1000000000", "expected a number from 1 to"),
    ("--devices", "1000000000", "expected a number from 1 to 1024"),
    ("--fold", "1_0", "expected a number from"),
    ("--test-size", "nan", "expected a number from 0.01"),
    ("--test-size", "0_1", "expected a number from 0.01"),
    ("--run", "x" * 5000, "at most 100 letters"),
    ("--data", "a\0b", "a path with a NUL"),
    ("--images", "LOOP", "Too many levels of symbolic links"),
    ("--output", "LOOP", "Too many levels of symbolic links"),
    ("--model", "LOOP", "Too many levels of symbolic links"),
    ("--metadata", "a\0b", "a path with a NUL"),
    ("--workspace", "\ud800", "no text in"),
]


@pytest.mark.parametrize(("flag", "value", "message"), HOSTILE)
def test_a_flag_with_a_hostile_value(
    flag: str, value: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("LOOP", "LOOP.yaml"):
        (tmp_path / name).symlink_to(name)
    value = value.replace("LOOP", str(tmp_path / "LOOP"))
    tried = 0
    for stage in STAGES:
        workspace = [] if flag == "--workspace" else ["--workspace", str(tmp_path)]
        code = stage.main([*workspace, flag, value])
        said = capsys.readouterr().err
        if "unrecognized arguments" not in said and "ambiguous option" not in said:
            assert code == 2 and message in said and not any(word in said for word in NOISE), said
            assert len(said) < 20_000
            tried += 1
    assert tried and sorted(path.name for path in tmp_path.iterdir()) == ["LOOP", "LOOP.yaml"]


def test_verify_of_a_loop_of_links(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "LOOP").symlink_to("LOOP")
    assert tool(["verify", str(tmp_path / "LOOP")]) == 2
    assert "Too many levels of symbolic links" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["annotations.json", "metadata.csv"])
def test_a_loop_of_links_in_place_of_a_file(name: str, workspace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (workspace / "spine" / name).unlink()
    (workspace / "spine" / name).symlink_to(name)
    assert run(stage1, workspace) in (0, 2)
    said = "".join(capsys.readouterr())
    assert name in said or "already split in another way" in said, "without the table, patients are unknown"
    assert not any(word in said for word in NOISE)


def test_a_loop_of_links_among_the_images(workspace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    images = workspace / "spine" / "images"
    (images / "loop.png").symlink_to("loop.png")
    for stage, more in ((stage1, []), (stage4, ["--images", str(images)])):
        assert run(stage, workspace, *more) in (0, 1, 2)
        assert "unexpected" not in "".join(capsys.readouterr())
