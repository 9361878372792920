"""The spool: what a node has received, what came of it, and what is still to be sent. It survives kills and restarts.

Images and results are files, named by a digest of the SOP Instance UID; their states are in an SQLite database. An
image is recorded before its sender is told that it has arrived, results are recorded in one transaction after their
files are complete, and their UIDs follow from image and model: what is repeated after a kill is the same object again.
"""

import hashlib
import os
import shutil
import sqlite3
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from threading import RLock
from typing import Any

from sonoseg.errors import DataError, MachineError
from sonoseg.io.files import sync_folder
from sonoseg.runs.lock import locked

DATABASE = "spool.sqlite"
MAX_ATTEMPTS = 3
"""So often is the processing of an image begun before it counts as failed: a decoder's crash ends the whole program."""
_LONGEST_WAIT_SECONDS = 300
_SCHEMA = """
CREATE TABLE IF NOT EXISTS images (
    key TEXT PRIMARY KEY, state TEXT NOT NULL, attempts INTEGER NOT NULL DEFAULT 0, reason TEXT NOT NULL DEFAULT '',
    repeats INTEGER NOT NULL DEFAULT 0, received_at REAL NOT NULL
);
CREATE TABLE IF NOT EXISTS results (
    path TEXT PRIMARY KEY, key TEXT NOT NULL, state TEXT NOT NULL, attempts INTEGER NOT NULL DEFAULT 0,
    due_at REAL NOT NULL, reason TEXT NOT NULL DEFAULT '', refusals INTEGER NOT NULL DEFAULT 0
);
"""
_VERSION = 1
"""Of the database, in its `user_version`; 0 is one of before there were refusals."""
_COLUMNS = {
    "images": {"key", "state", "attempts", "reason", "repeats", "received_at"},
    "results": {"path", "key", "state", "attempts", "due_at", "reason"},
}


class SpoolError(MachineError):
    """The database cannot be read or written at present: the disk is full, or somebody else has locked it."""


@dataclass(frozen=True)
class Result:
    """A result file that is to be sent; attempts: how often that was tried, refusals: how often it was not taken."""

    path: Path
    key: str
    attempts: int
    refusals: int = 0


class Spool:
    """Several threads may use it at once, one process at a time.

    Raises SpoolError when the database cannot be written at present, DataError when it is damaged, OSError for files.
    """

    def __init__(self, folder: Path):
        """Open the spool in `folder`, or make it, and take up what an earlier run has left.

        Raises DataError for a file that is no database, SpoolError for one that cannot be written, UsageError when
        another process uses the spool.
        """
        self.folder = folder
        self.incoming, self.received, self.results = (folder / name for name in ("incoming", "received", "results"))
        with ExitStack() as stack:
            stack.enter_context(locked(folder))
            self._open()
            stack.callback(self._database.close)
            self._take_up()
            self._until_closed = stack.pop_all()

    def _open(self) -> None:
        for path in (self.incoming, self.received, self.results):
            path.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._lock = RLock()
        self._file = self.folder / DATABASE
        try:
            with self._errors():
                self._database = sqlite3.connect(self._file, check_same_thread=False, isolation_level=None)
                (version,) = self._database.execute("PRAGMA user_version").fetchone()
                if version > _VERSION:
                    raise DataError("made by a newer version of SonoSeg; use that, or another spool", self._file)
                self._database.execute("PRAGMA journal_mode=WAL")
                self._database.execute("PRAGMA synchronous=FULL")
                self._database.executescript(_SCHEMA)
                found = {table: self._columns(table) for table in _COLUMNS}
                if any(not columns <= found[table] for table, columns in _COLUMNS.items()):
                    raise sqlite3.DatabaseError("other columns")
                if "refusals" not in found["results"]:
                    self._database.execute("ALTER TABLE results ADD COLUMN refusals INTEGER NOT NULL DEFAULT 0")
                self._database.execute(f"PRAGMA user_version = {_VERSION}")
        except DataError as problem:
            if "newer" in problem.reason:
                raise
            raise DataError("not a database of a node; choose another folder for the spool", self._file) from None

    def _columns(self, table: str) -> set[str]:
        return {row[1] for row in self._database.execute(f"PRAGMA table_info({table})")}

    def _take_up(self) -> None:
        for path in self.incoming.iterdir():  # not yet received when the earlier run ended: their senders know it
            if path.is_dir() and not path.is_symlink():  # frames of a loop that was in progress
                shutil.rmtree(path)
            else:
                path.unlink()
        for path in self.received.glob("*.dcm"):
            self._record(path.stem)
        for (key,) in self._execute("SELECT DISTINCT key FROM results"):
            self._remove_if_sent(key)

    @contextmanager
    def _errors(self) -> Iterator[None]:
        """Turn errors of the database into one sentence."""
        try:
            yield
        except sqlite3.OperationalError as error:  # locked, read-only, full
            raise SpoolError(f"{self._file}: {error}; free some space, or end what else has opened it") from None
        except sqlite3.Error:
            raise DataError("the database is damaged; choose another folder for the spool", self._file) from None

    def _execute(self, command: str, values: Sequence[Any] = ()) -> list[Any]:
        with self._lock, self._errors():
            return self._database.execute(command, values).fetchall()

    @contextmanager
    def _at_once(self) -> Iterator[None]:
        """Make all changes in the block, or none."""
        with self._lock:
            self._execute("BEGIN IMMEDIATE")
            try:
                yield
                self._execute("COMMIT")
            except BaseException:
                with suppress(SpoolError, DataError):
                    self._execute("ROLLBACK")
                raise

    def close(self) -> None:
        with self._lock:
            self._until_closed.close()

    def image(self, key: str) -> Path:
        """Return the path of an image that was received."""
        return self.received / f"{key}.dcm"

    def receive(self, file: Path, uid: str) -> bool:
        """Take over a complete file from `incoming`; return whether its image is to be processed.

        When this returns, the image is on the disk and recorded. One that was received before is not processed again,
        unless it has failed.
        """
        key = key_of(uid)
        with self._lock:
            known = self._execute("SELECT state FROM images WHERE key = ?", (key,))
            if known:
                self._execute("UPDATE images SET repeats = repeats + 1 WHERE key = ?", (key,))
            if known and known[0][0] != "failed":
                file.unlink()
                return False
            with file.open("rb+") as stream:
                os.fsync(stream.fileno())
            os.replace(file, self.image(key))
            sync_folder(self.received)
            self._record(key)
            self._execute(
                "UPDATE images SET state = 'received', attempts = 0, reason = '', received_at = ? "
                "WHERE key = ? AND state = 'failed'",
                (time.time(), key),
            )
            return True

    def _record(self, key: str) -> None:
        self._execute(
            "INSERT OR IGNORE INTO images (key, state, received_at) VALUES (?, 'received', ?)", (key, time.time())
        )

    def begin_next(self) -> str | None:
        """Return the key of the image that waits longest, and count the attempt; None when no image waits."""
        with self._lock:
            rows = self._execute("SELECT key, attempts FROM images WHERE state = 'received' ORDER BY received_at, key")
            for key, attempts in rows:
                if attempts < MAX_ATTEMPTS:
                    self._execute("UPDATE images SET attempts = attempts + 1 WHERE key = ?", (key,))
                    return str(key)
                self.fail(key, f"the program ended {attempts} times while this image was processed")
        return None

    def give_back(self, key: str) -> None:
        """Let an image wait again, behind all others, whose processing the machine has prevented.

        The attempt does not count.
        """
        self._execute("UPDATE images SET attempts = attempts - 1, received_at = ? WHERE key = ?", (time.time(), key))

    def complete(self, key: str, results: Sequence[Path], to_send: bool) -> None:
        """Record the complete result files of an image, all at once; without `to_send` they stay where they are."""
        with self._at_once():
            for path in results:
                self._execute(
                    "INSERT OR IGNORE INTO results (path, key, state, due_at) VALUES (?, ?, ?, 0)",
                    (path.relative_to(self.folder).as_posix(), key, "waiting" if to_send else "kept"),
                )
            self._execute("UPDATE images SET state = 'processed' WHERE key = ?", (key,))
        if to_send:
            self._remove_if_sent(key)

    def fail(self, key: str, reason: str) -> None:
        """Record that an image cannot be processed."""
        self._execute("UPDATE images SET state = 'failed', reason = ? WHERE key = ?", (reason, key))

    def due_results(self) -> list[Result]:
        """Return the results whose sending, or its repetition, is due, the oldest first.

        One that is due later than the longest wait is due now: the clock has been set back.
        """
        now = time.time()
        rows = self._execute(
            "SELECT path, key, attempts, refusals FROM results WHERE state = 'waiting' AND (due_at <= ? OR due_at > ?) "
            "ORDER BY rowid",
            (now, now + _LONGEST_WAIT_SECONDS + 1),
        )
        return [Result(self.folder / path, key, attempts, refusals) for path, key, attempts, refusals in rows]

    def sent(self, result: Result) -> None:
        """Record that a result has arrived. The files of an image whose results all have are removed."""
        self._end(result, "sent", "")
        self._remove_if_sent(result.key)

    def refused(self, result: Result, reason: str) -> None:
        """Record that the other side will not take a result; its file stays."""
        self._end(result, "refused", reason)

    def postpone(self, result: Result, reason: str, is_refusal: bool = False) -> None:
        """Record that a result could not be sent, and try again after 1, 2, 4, ... up to 300 seconds."""
        wait = min(2 ** min(result.attempts, 10), _LONGEST_WAIT_SECONDS)
        self._execute(
            "UPDATE results SET attempts = attempts + 1, refusals = refusals + ?, due_at = ?, reason = ? "
            "WHERE path = ?",
            (int(is_refusal), time.time() + wait, reason, self._name(result)),
        )

    def _end(self, result: Result, state: str, reason: str) -> None:
        self._execute("UPDATE results SET state = ?, reason = ? WHERE path = ?", (state, reason, self._name(result)))

    def _name(self, result: Result) -> str:
        return result.path.relative_to(self.folder).as_posix()

    def _remove_if_sent(self, key: str) -> None:
        """Remove the files of an image of which no result waits or was refused; its rows stay."""
        if self._execute("SELECT 1 FROM results WHERE key = ? AND state != 'sent'", (key,)):
            return
        shutil.rmtree(self.results / key, ignore_errors=True)
        self.image(key).unlink(missing_ok=True)

    def counts(self) -> dict[str, int]:
        """Return how many images are in each state, how many came again, and how many results wait or are sent."""
        with self._lock:
            images = dict(self._execute("SELECT state, COUNT(*) FROM images GROUP BY state"))
            results = dict(self._execute("SELECT state, COUNT(*) FROM results GROUP BY state"))
            ((repeats,),) = self._execute("SELECT COALESCE(SUM(repeats), 0) FROM images")
        return {
            "received": sum(images.values()),
            "waiting": images.get("received", 0),
            "processed": images.get("processed", 0),
            "failed": images.get("failed", 0),
            "received_again": repeats,
            **{f"results_{state}": results.get(state, 0) for state in ("kept", "waiting", "sent", "refused")},
        }


def key_of(uid: str) -> str:
    """Return the name of an image in the spool, 32 hexadecimal digits: no text of a header becomes part of a path."""
    return hashlib.sha256(uid.encode("utf-8", "surrogateescape")).hexdigest()[:32]
