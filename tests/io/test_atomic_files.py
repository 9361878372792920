"""Files are written atomically, and tables round-trip their cells."""

import json
import os
from pathlib import Path

import pytest

from sonoseg.errors import UsageError
from sonoseg.io.files import append_line, check_writable, copy_file, sha256_of, write_bytes, write_json
from sonoseg.io.tables import read_table, unescape_cell, write_csv


def test_write_and_replace(tmp_path):
    path = write_bytes(tmp_path / "new" / "a.bin", b"one")
    assert path.read_bytes() == b"one"
    write_bytes(path, b"two")
    assert path.read_bytes() == b"two" and [p.name for p in path.parent.iterdir()] == ["a.bin"]


@pytest.mark.parametrize("step", ["fsync", "replace", "chmod"])
def test_a_failure_leaves_the_old_file_and_no_other(tmp_path, monkeypatch, step):
    path = write_bytes(tmp_path / "a.bin", b"old")

    def fail(*args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, step, fail)
    with pytest.raises(OSError, match="No space"):
        write_bytes(path, b"new")
    assert path.read_bytes() == b"old" and [p.name for p in tmp_path.iterdir()] == ["a.bin"]


def test_an_interruption_leaves_the_old_file_too(tmp_path, monkeypatch):
    path = write_bytes(tmp_path / "a.bin", b"old")

    def interrupt(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", interrupt)
    with pytest.raises(KeyboardInterrupt):
        write_bytes(path, b"new")
    assert path.read_bytes() == b"old" and [p.name for p in tmp_path.iterdir()] == ["a.bin"]


def test_a_file_is_copied_as_a_whole_or_not_at_all(tmp_path, monkeypatch):
    source, target = tmp_path / "b" / "source.bin", tmp_path / "a.bin"
    write_bytes(source, bytes(range(256)) * 5000)  # more than is copied at once
    write_bytes(target, b"old")
    with monkeypatch.context() as patch, pytest.raises(OSError, match="No space") as failed:
        patch.setattr(os, "fsync", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left on device")))
        copy_file(source, target)
    assert target.read_bytes() == b"old" and failed.value.filename == str(target)
    assert copy_file(source, target) == sha256_of(source) == sha256_of(target)
    assert {path.name for path in tmp_path.iterdir()} == {"a.bin", "b"}


def test_results_are_readable_by_others(tmp_path):
    previous = os.umask(0o022)
    os.umask(previous)
    path = write_bytes(tmp_path / "a", b"")
    assert path.stat().st_mode & 0o777 == 0o666 & ~previous


def test_json_refuses_nan_before_it_touches_the_file(tmp_path):
    path = write_json(tmp_path / "a.json", {"é": 1})
    with pytest.raises(ValueError, match="JSON"):
        write_json(path, {"x": float("nan")})
    assert json.loads(path.read_text(encoding="utf-8")) == {"é": 1}


@pytest.mark.parametrize("text", ["=1+1", "+1", "-x", "@a", "'=1", "''-", "'quoted'", "plain", "a,b", 'say "x"', ""])
def test_formulas_are_written_as_text_and_round_trip(tmp_path, text):
    path = write_csv(tmp_path / "t.csv", ["a", "b"], [{"a": text, "b": "end"}])
    ((_, row),) = read_table(path, "test")
    assert row == {"a": text, "b": "end"}
    cell = path.read_text().splitlines()[1]
    assert cell[:1] not in ("=", "+", "-", "@")


def test_none_is_empty_and_numbers_stay(tmp_path):
    path = write_csv(tmp_path / "t.csv", ["a", "b", "c"], [{"a": None, "b": -1.5}])
    assert path.read_text() == "a,b,c\n,-1.5,\n"
    assert unescape_cell("-1.5") == "-1.5"


def test_sha256(tmp_path):
    path = write_bytes(tmp_path / "a", b"abc")
    assert sha256_of(path) == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def test_check_writable(tmp_path):
    check_writable(tmp_path / "not" / "yet")
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="cannot be written"):
        check_writable(tmp_path / "file" / "below")


def test_a_line_is_on_the_disk_when_it_was_appended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[int] = []
    monkeypatch.setattr(os, "fsync", lambda handle: synced.append(os.fstat(handle).st_size))
    append_line(tmp_path / "log", "abc")
    append_line(tmp_path / "log", "def", sync=False)
    assert synced == [4] and (tmp_path / "log").read_text() == "abc\ndef\n"
