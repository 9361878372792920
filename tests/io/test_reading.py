"""Reading of regular files of a limited size, and of JSON."""

import errno
import os
from pathlib import Path

import pytest

from sonoseg.io.reading import parse_json, read_regular


def test_a_regular_file_is_read(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"12345")
    (tmp_path / "link").symlink_to("a")
    assert read_regular(tmp_path / "a", 5) == read_regular(tmp_path / "link", 5, follow_link=True) == b"12345"


@pytest.mark.parametrize("kind", ["link", "dangling", "pipe", "folder", "device", "large", "missing"])
def test_nothing_else_is_read(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "x"
    (tmp_path / "target").write_bytes(b"1")
    expected = {
        "link": (errno.ELOOP, lambda: path.symlink_to("target")),
        "dangling": (errno.ELOOP, lambda: path.symlink_to("none")),
        "pipe": (errno.EINVAL, lambda: os.mkfifo(path)),
        "folder": (errno.EISDIR, path.mkdir),
        "device": (errno.EINVAL, lambda: None),
        "large": (errno.EFBIG, lambda: (path.write_bytes(b""), os.truncate(path, 3 * 10**12))),
        "missing": (errno.ENOENT, lambda: None),
    }
    number, make = expected[kind]
    make()
    with pytest.raises(OSError) as raised:
        read_regular(Path("/dev/zero") if kind == "device" else path, 100)
    assert raised.value.errno == number


def test_json_that_others_could_not_read_is_refused() -> None:
    assert parse_json('{"a": [1, 2.5, "\\u00e9", null]}') == {"a": [1, 2.5, "é", None]}
    for text in ("[" * 10**5, "[" * 10**4 + "]" * 10**4, "9" * 5000, '"\\ud800"', "NaN", "1e999", "", b"\xff"):
        with pytest.raises(ValueError):
            parse_json(text)


def test_json_of_too_many_parts_is_not_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sonoseg.io.reading.MAX_JSON_PARTS", 4)
    assert parse_json(b'[{}, [], {"a": 1}]') == [{}, [], {"a": 1}]
    for text in ("[[], [], [], {}]", b'{"a": [[], {}, []]}'):
        with pytest.raises(ValueError, match="more than 4 lists and objects"):
            parse_json(text)
