"""Locks: a folder has one writer or several readers; the lock file of an ended process is ignored."""

import errno
import json
import os
import socket
from pathlib import Path

import pytest

import sonoseg.runs.lock as lock
from sonoseg.errors import UsageError
from sonoseg.runs.lock import NAME, NAME_WITHOUT_LOCKS, locked

NOBODY = 2**22 + 1
"""Above the largest process id of Linux."""


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_second_writer_is_refused_until_the_first_has_ended(tmp_path: Path) -> None:
    folder = tmp_path / "result"
    who = f"result is in use by process {os.getpid()} on {socket.gethostname()} since"
    with locked(folder):
        with pytest.raises(UsageError, match=who), locked(folder):
            pass
        (folder / "kept").write_text("")
    with locked(folder):
        assert names(folder) == [NAME, "kept"]
    assert names(folder) == ["kept"]


def test_empty_folders_made_for_the_lock_are_removed(tmp_path: Path) -> None:
    with pytest.raises(KeyError), locked(tmp_path / "a" / "b"):
        raise KeyError
    assert names(tmp_path) == []


def test_readers_share_the_lock_and_exclude_a_writer(tmp_path: Path) -> None:
    first, second = locked(tmp_path, shared=True), locked(tmp_path, shared=True)
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    with pytest.raises(UsageError, match="is in use by process"), locked(tmp_path):
        pass
    second.__exit__(None, None, None)
    assert names(tmp_path) == []
    with locked(tmp_path), pytest.raises(UsageError, match="is in use"), locked(tmp_path, shared=True):
        pass


def test_a_reader_creates_no_folder(tmp_path: Path) -> None:
    with locked(tmp_path / "none", shared=True):
        assert names(tmp_path) == []


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="cannot be written"), locked(tmp_path / "file" / "below"):
        pass


def test_the_lock_file_of_an_ended_process_is_ignored(tmp_path: Path) -> None:
    (tmp_path / NAME).write_text(json.dumps({"pid": NOBODY, "host": "x", "since": "then", "what": "training.py"}))
    with locked(tmp_path):
        assert json.loads((tmp_path / NAME).read_text())["pid"] == os.getpid()
    assert names(tmp_path) == []


@pytest.mark.parametrize("variable", ["RANK", "LOCAL_RANK"])
def test_the_first_of_several_training_processes_locks_for_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    with locked(tmp_path):
        monkeypatch.setenv(variable, "1")
        with locked(tmp_path):
            pass
        assert names(tmp_path) == [NAME]


@pytest.fixture
def no_locks(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*arguments: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(lock.fcntl, "flock", fail)


@pytest.mark.usefixtures("no_locks")
def test_a_file_system_without_locks_uses_exclusive_creation(tmp_path: Path) -> None:
    with locked(tmp_path) as remarks:
        assert names(tmp_path) == [NAME_WITHOUT_LOCKS] and "no locks" in remarks[0]
        for shared in (False, True):
            with pytest.raises(UsageError, match=f"remove .*{NAME_WITHOUT_LOCKS}"), locked(tmp_path, shared):
                pass
    assert names(tmp_path) == []


@pytest.mark.usefixtures("no_locks")
@pytest.mark.parametrize(("host", "pid", "refused"), [(None, NOBODY, False), (None, 1, True), ("other", NOBODY, True)])
def test_without_locks_only_files_of_ended_processes_are_ignored(
    tmp_path: Path, host: str | None, pid: int, refused: bool
) -> None:
    holder = {"pid": pid, "host": host or socket.gethostname(), "since": "then", "what": "training.py"}
    (tmp_path / NAME_WITHOUT_LOCKS).write_text(json.dumps(holder))
    if refused:
        with pytest.raises(UsageError, match=f"process {pid} on"), locked(tmp_path):
            pass
    else:
        with locked(tmp_path):
            pass
        assert names(tmp_path) == []


def test_a_system_without_file_locks_gives_a_remark(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lock, "fcntl", None)
    with locked(tmp_path) as remarks:
        assert remarks and names(tmp_path) == [NAME_WITHOUT_LOCKS]


def test_a_lock_file_removed_while_it_is_opened_is_no_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real, away = lock._lock, []

    def lock_late(handle: int, shared: bool) -> None:
        if not away:  # the run before ends between opening and locking
            away.append((tmp_path / NAME).unlink())
        real(handle, shared)

    monkeypatch.setattr(lock, "_lock", lock_late)
    with locked(tmp_path), pytest.raises(UsageError, match="is in use"), locked(tmp_path):
        pass
