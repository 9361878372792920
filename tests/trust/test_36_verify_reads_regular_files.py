"""Check 36, verify: a list that names devices, pipes or terabytes, or that is garbage, is answered within a second."""

import os
import random
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from sonoseg.__main__ import main as tool
from sonoseg.runs.output_folder import OutputFolder

DIGEST = "0" * 64
TERABYTE = 2**40
HUNG = 10
"""Seconds after which a reader that waits for a pipe's writer is released."""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    with OutputFolder(tmp_path / "out", "stage4") as output:
        output.write_text("a.png", "a")
    return tmp_path / "out"


def sparse(path: Path) -> None:
    with path.open("wb") as stream:
        stream.truncate(3 * TERABYTE)


MAKE: dict[str, tuple[Callable[[Path], object], str]] = {
    "pipe": (os.mkfifo, "it is not a regular file"),
    "link to a device": (lambda path: path.symlink_to("/dev/zero"), "it is not a regular file"),
    "link to a terminal": (lambda path: path.symlink_to("/dev/tty"), "it is not a regular file"),
    "folder": (Path.mkdir, "it is not a regular file"),
    "link to itself": (lambda path: path.symlink_to(path), "it cannot be read"),
    "3 TB": (sparse, "it has 3,298,534,883,328 bytes; files of more than 68,719,476,736 are not read"),
}


@pytest.fixture(autouse=True)
def time_limit() -> Iterator[None]:
    started = time.monotonic()
    yield
    assert time.monotonic() - started < 3, "expected well below a second, on any machine"


@pytest.fixture(autouse=True)
def released(tmp_path: Path) -> Iterator[None]:
    """Open pipes for writing after a while, so that a reader that waits makes the test fail and not hang."""

    def release() -> None:
        for path in tmp_path.rglob("*"):
            if path.is_fifo():
                os.close(os.open(path, os.O_RDWR))

    timer = threading.Timer(HUNG, release)
    timer.start()
    yield
    timer.cancel()


@pytest.mark.parametrize("kind", MAKE)
@pytest.mark.parametrize("how", ["listed", "given", "list"])
def test_what_is_no_file_of_a_stage(kind: str, how: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make, reason = MAKE[kind]
    path = folder / ("stage3.sha256" if how == "list" else "x.png")
    make(path)
    if how == "listed":
        (folder / "stage4.sha256").write_text(f"{DIGEST}  x.png\n")
    code = tool(["verify", str(path if how == "given" else folder)])
    said = capsys.readouterr()
    if how == "given" and kind in ("folder", "link to itself"):
        assert code in (1, 2)
        return
    assert code == 1
    assert f"changed   {path}: {reason}" in said.out.replace("1,073,741,824", "68,719,476,736")


@pytest.mark.parametrize("name", ["/dev/zero", "/dev/random", "../../../../../../../../../../dev/zero"])
def test_devices_by_name(name: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "stage4.sha256").write_text(f"{DIGEST}  {name}\n")
    assert tool(["verify", str(folder)]) == 1
    assert "it is not a regular file" in capsys.readouterr().out
    assert tool(["verify", "/dev/zero"]) == 1
    assert "changed   /dev/zero: it is not a regular file" in capsys.readouterr().out


@pytest.mark.parametrize("line", [b"\n", b"x\n", b"%d\n", b"\\" * 30 + b"\n"])
def test_a_list_of_garbage(line: bytes, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "stage4.sha256").write_bytes(line * 1_000_000)
    assert tool(["verify", str(folder)]) == 1
    said = capsys.readouterr().out
    assert said.count("\n") < 20 and "line 1 is not a SHA-256 and a name" in said and "more invalid lines" in said


def test_a_list_of_random_bytes(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "stage4.sha256").write_bytes(random.Random(36).randbytes(20_000_000))
    assert tool(["verify", str(folder)]) == 1
    assert capsys.readouterr().out.count("\n") < 20
