"""Lists of SHA-256 digests: what a stage wrote, told when it has finished, so that one changed byte can be found.

A list is a file `stage<n>.sha256` in the stage's output folder, in the form that `sha256sum -c` reads too. It is
written last and removed before the first change, so its presence means "finished". Nothing in it is a
comment: whatever byte of the list itself changes is noticed.
"""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sonoseg.io.files import WATCHERS, sha256_of, write_bytes

SUFFIX = ".sha256"

GROWS = ("evaluations.jsonl", "MODEL_CARD.md", "engines", "dataset_check.html")
"""Never listed, because they change after the stage has finished: the log of scorings gains a line with each one, a
person completes the model card, `engines` is a cache that checks itself, and a check of new data leaves a page."""

_LINE = re.compile(rb"(\\?)([0-9a-f]{64})  ([^\0]+)", re.DOTALL)
_ESCAPES = {"\\": "\\\\", "\n": "\\n", "\r": "\\r"}
_UNESCAPES = {escape: char for char, escape in _ESCAPES.items()}


class Record:
    """What one stage leaves in `folder`, as a list in the making.

    Everything that this process writes below the folder is in it, by the bytes that were meant to be written. What
    other processes wrote, or what stays from an earlier run, has to be named.
    """

    def __init__(self, folder: Path, stage: str, root: Path | None = None):
        """`root`: files below it are named relative to `folder`, others by their whole path; `folder` when None."""
        self.path = folder / f"{stage}{SUFFIX}"
        self._folder = os.path.abspath(folder)
        self._root = os.path.abspath(root or folder)
        self._earlier = read_list(self.path)[0] if self.path.is_file() else {}
        self._digests: dict[str, str] = {}

    def begin(self) -> None:
        """Remove the list of an earlier run: what it says is about to change."""
        self.path.unlink(missing_ok=True)

    def before(self, path: Path) -> None:
        """See `files.Watcher`."""
        if self._is_listed(path):
            self.begin()

    def after(self, path: Path, digest: str) -> None:
        """See `files.Watcher`."""
        if self._is_listed(path):
            self._digests[self._name(path)] = digest

    def wrote(self, path: Path) -> None:
        """Add a file that another process of this run has just written; it is read."""
        if self._name(path) not in self._digests:
            self._digests[self._name(path)] = sha256_of(path)

    def keep(self, path: Path, digest: str | None = None) -> None:
        """Add a file that this run left as it was, unless it is not there.

        Its digest is the one given, or else of the earlier list, so that a change since then is still noticed; only
        when neither is known, the file is read.
        """
        name = self._name(path)
        if name not in self._digests and path.is_file():
            self._digests[name] = digest or self._earlier.get(name) or sha256_of(path)

    def keep_earlier(self) -> None:
        """Add all that the earlier list names and that is still there: results of other images in the same folder."""
        for name in self._earlier:
            self.keep(Path(self._folder, name))

    def finish(self) -> None:
        """Write the list of those files that are still there; none, when there are none."""
        there = {name: digest for name, digest in self._digests.items() if Path(self._folder, name).is_file()}
        if there:
            write_bytes(self.path, list_bytes(there))

    def _is_listed(self, path: Path) -> bool:
        """Tell whether a file that is written belongs into the list."""
        whole = os.path.abspath(path)
        if not whole.startswith(self._folder + os.sep):
            return False
        return not any(is_left_out(part) for part in Path(whole[len(self._folder) + 1 :]).parts)

    def _name(self, path: Path) -> str:
        whole = os.path.abspath(path)
        if whole.startswith(self._root + os.sep):
            return Path(os.path.relpath(whole, self._folder)).as_posix()
        return Path(whole).as_posix()


@contextmanager
def recorded(folder: Path, stage: str, root: Path | None = None) -> Iterator[Record]:
    """Record what is written below `folder` and write the list when the block ends well; see `Record`.

    stage: `stage1` to `stage4`, the list's name. When the block raises there is no list, or still the earlier one
    where nothing was written.
    """
    record = Record(folder, stage, root)
    WATCHERS.append(record)
    try:
        yield record
    finally:
        WATCHERS.remove(record)
    record.finish()


def is_left_out(name: str) -> bool:
    """Tell whether a file or folder of this name is never listed: hidden ones, lists themselves, and `GROWS`."""
    return name.startswith(".") or name.endswith(SUFFIX) or name in GROWS


def list_bytes(digests: dict[str, str]) -> bytes:
    """Return a list, sorted by name, as `sha256sum` writes it: a name with a line end or a backslash is escaped."""
    lines = []
    for name in sorted(digests):
        escaped = "".join(_ESCAPES.get(char, char) for char in name)
        lines.append(f"{'' if escaped == name else chr(92)}{digests[name]}  {escaped}\n")
    return "".join(lines).encode("utf-8", "surrogateescape")


def read_list(path: Path) -> tuple[dict[str, str], list[str]]:
    """Return a list's digests by name, and a sentence for each line that is none. Raises OSError."""
    digests: dict[str, str] = {}
    faults = []
    lines = path.read_bytes().split(b"\n")
    if lines[-1]:
        faults.append("its last line has no end")
    for number, line in enumerate(lines[:-1], start=1):
        match = _LINE.fullmatch(line)
        if not match:
            faults.append(f"line {number} is not a SHA-256 and a name")
            continue
        name = match[3].decode("utf-8", "surrogateescape")
        if match[1]:
            name = re.sub(r"\\[\\nr]", lambda found: _UNESCAPES[found[0]], name)
        if name in digests:
            faults.append(f"line {number} names {name} a second time")
        digests[name] = match[2].decode()
    return digests, faults
