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
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import RLock

from sonoseg.errors import DataError, MachineError
from sonoseg.io.files import sync_folder

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
    due_at REAL NOT NULL, reason TEXT NOT NULL DEFAULT ''
);
"""


@dataclass(frozen=True)
class Result:
    """A result file that is to be sent; attempts: how often that was tried."""

    path: Path
    key: str
    attempts: int


class Spool:
    """Several threads may use it at once. Raises OSError and sqlite3.Error when the disk cannot be written."""

    def __init__(self, folder: Path):
        """Open the spool in `folder`, or make it, and take up what an earlier run has left.

        Raises DataError for a file that is no database, MachineError for one that cannot be written.
        """
        self.folder = folder
        self.incoming, self.received, self.results = (folder / name for name in ("incoming", "received", "results"))
        for path in (self.incoming, self.received, self.results):
            path.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._lock = RLock()
        file = folder / DATABASE
        self._database = sqlite3.connect(file, check_same_thread=False, isolation_level=None)
        try:
            self._database.execute("PRAGMA journal_mode=WAL")
            self._database.execute("PRAGMA synchronous=FULL")
            self._database.executescript(_SCHEMA)
        except sqlite3.OperationalError as error:  # locked, read-only, full
            raise MachineError(f"{file}: {error}; end another node of this spool, or free some space") from None
        except sqlite3.DatabaseError:
            raise DataError("not a database of a node; choose another folder for the spool", file) from None
        for path in self.incoming.iterdir():  # not yet received when the earlier run ended: their senders know it
            path.unlink()
        for path in self.received.glob("*.dcm"):
            self._record(path.stem)
        for (key,) in self._database.execute("SELECT DISTINCT key FROM results").fetchall():
            self._remove_if_sent(key)

    def close(self) -> None:
        with self._lock:
            self._database.close()

    def image(self, key: str) -> Path:
        """Return the path of an image that was received."""
        return self.received / f"{key}.dcm"

    def receive(self, file: Path, uid: str) -> bool:
        """Take over a complete file from `incoming`; return whether its image is new.

        When this returns, the image is on the disk and recorded. One that was received before is not processed again.
        """
        key = key_of(uid)
        with self._lock:
            if self._database.execute("SELECT 1 FROM images WHERE key = ?", (key,)).fetchone():
                self._database.execute("UPDATE images SET repeats = repeats + 1 WHERE key = ?", (key,))
                file.unlink()
                return False
            with file.open("rb+") as stream:
                os.fsync(stream.fileno())
            os.replace(file, self.image(key))
            sync_folder(self.received)
            self._record(key)
            return True

    def _record(self, key: str) -> None:
        self._database.execute(
            "INSERT OR IGNORE INTO images (key, state, received_at) VALUES (?, 'received', ?)", (key, time.time())
        )

    def begin_next(self) -> str | None:
        """Return the key of the image that waits longest, and count the attempt; None when no image waits."""
        with self._lock:
            rows = self._database.execute(
                "SELECT key, attempts FROM images WHERE state = 'received' ORDER BY received_at, key"
            )
            for key, attempts in rows.fetchall():
                if attempts < MAX_ATTEMPTS:
                    self._database.execute("UPDATE images SET attempts = attempts + 1 WHERE key = ?", (key,))
                    return str(key)
                self.fail(key, f"the program ended {attempts} times while this image was processed")
        return None

    def give_back(self, key: str) -> None:
        """Let an image wait again whose processing the machine has prevented: the attempt does not count."""
        with self._lock:
            self._database.execute("UPDATE images SET attempts = attempts - 1 WHERE key = ?", (key,))

    def complete(self, key: str, results: Sequence[Path], to_send: bool) -> None:
        """Record the complete result files of an image, all at once; without `to_send` they stay where they are."""
        with self._lock:
            self._database.execute("BEGIN IMMEDIATE")
            for path in results:
                self._database.execute(
                    "INSERT OR IGNORE INTO results (path, key, state, due_at) VALUES (?, ?, ?, 0)",
                    (path.relative_to(self.folder).as_posix(), key, "waiting" if to_send else "kept"),
                )
            self._database.execute("UPDATE images SET state = 'processed' WHERE key = ?", (key,))
            self._database.execute("COMMIT")
        if to_send:
            self._remove_if_sent(key)

    def fail(self, key: str, reason: str) -> None:
        """Record that an image cannot be processed."""
        with self._lock:
            self._database.execute("UPDATE images SET state = 'failed', reason = ? WHERE key = ?", (reason, key))

    def due_results(self) -> list[Result]:
        """Return the results whose sending, or its repetition, is due, the oldest first."""
        with self._lock:
            rows = self._database.execute(
                "SELECT path, key, attempts FROM results WHERE state = 'waiting' AND due_at <= ? ORDER BY rowid",
                (time.time(),),
            )
            return [Result(self.folder / path, key, attempts) for path, key, attempts in rows]

    def sent(self, result: Result) -> None:
        """Record that a result has arrived. The files of an image whose results all have are removed."""
        self._end(result, "sent", "")
        self._remove_if_sent(result.key)

    def refused(self, result: Result, reason: str) -> None:
        """Record that the other side will not take a result; its file stays."""
        self._end(result, "refused", reason)

    def postpone(self, result: Result, reason: str) -> None:
        """Record that a result could not be sent, and try again after 1, 2, 4, ... up to 300 seconds."""
        wait = min(2**result.attempts, _LONGEST_WAIT_SECONDS)
        with self._lock:
            self._database.execute(
                "UPDATE results SET attempts = attempts + 1, due_at = ?, reason = ? WHERE path = ?",
                (time.time() + wait, reason, self._name(result)),
            )

    def _end(self, result: Result, state: str, reason: str) -> None:
        with self._lock:
            self._database.execute(
                "UPDATE results SET state = ?, reason = ? WHERE path = ?", (state, reason, self._name(result))
            )

    def _name(self, result: Result) -> str:
        return result.path.relative_to(self.folder).as_posix()

    def _remove_if_sent(self, key: str) -> None:
        """Remove the files of an image of which no result waits or was refused; its rows stay."""
        with self._lock:
            row = self._database.execute("SELECT 1 FROM results WHERE key = ? AND state != 'sent'", (key,)).fetchone()
            if row:
                return
        shutil.rmtree(self.results / key, ignore_errors=True)
        self.image(key).unlink(missing_ok=True)

    def counts(self) -> dict[str, int]:
        """Return how many images are in each state, how many came again, and how many results wait or are sent."""
        with self._lock:
            images = dict(self._database.execute("SELECT state, COUNT(*) FROM images GROUP BY state").fetchall())
            results = dict(self._database.execute("SELECT state, COUNT(*) FROM results GROUP BY state").fetchall())
            (repeats,) = self._database.execute("SELECT COALESCE(SUM(repeats), 0) FROM images").fetchone()
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
