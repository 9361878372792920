"""No stage opens a connection or looks up a name: all four run to their end while both are forbidden, and none tries.

Every process that the scripts start is watched as well. Sockets inside the computer (AF_UNIX), through which processes
communicate, stay allowed.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY
from tests.trust.runs import STAGES, flags, make

GUARD = """
import os, sys

_WATCHED = {"socket.connect", "socket.sendto", "socket.sendmsg", "socket.bind", "socket.getaddrinfo",
            "socket.gethostbyname", "socket.gethostbyaddr"}

def _forbid(event, arguments):
    if event not in _WATCHED:
        return
    import socket
    own = getattr(arguments[0], "family", None)
    if own is not None and own not in (socket.AF_INET, socket.AF_INET6):
        return
    with open(os.environ["FORBIDDEN_LOG"], "a") as log:  # the caller may catch the error
        log.write(f"{event} {arguments[1:] if own is not None else arguments} by {sys.argv[0]}\\n")
    raise OSError(101, "the network is forbidden here")

sys.addaudithook(_forbid)
"""


@pytest.fixture
def forbidden(tmp_path: Path) -> tuple[dict[str, str], Path]:
    """Return the environment of processes without a network, and the file that lists their attempts."""
    site, log = tmp_path / "site", tmp_path / "attempts"
    site.mkdir()
    (site / "sitecustomize.py").write_text(GUARD)
    log.write_text("")
    path = os.pathsep.join([str(site), str(REPOSITORY)])
    return {**os.environ, "PYTHONPATH": path, "FORBIDDEN_LOG": str(log)}, log


def python(environment: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, *arguments]
    return subprocess.run(
        command, env=environment, cwd=REPOSITORY, capture_output=True, text=True, timeout=180, check=False
    )


def test_the_four_scripts(forbidden: tuple[dict[str, str], Path], tmp_path: Path) -> None:
    environment, log = forbidden
    root = tmp_path / "workspace"
    root.mkdir()
    make(root)
    for stage in STAGES:
        typed = flags(stage, root)
        if "--engine" in typed:
            typed[typed.index("--engine") + 1] = "auto"  # OpenVINO's usage reports are a reason for this test
        if stage.__name__ == "image_preprocessing":
            typed[typed.index("--jobs") + 1] = "2"
        ended = python(environment, str(REPOSITORY / f"{stage.__name__}.py"), *typed)
        assert ended.returncode == 0, ended.stderr[-2000:]
        assert log.read_text() == "", stage.__name__


ATTEMPTS = {
    "a connection": "socket.create_connection(('127.0.0.1', 9), 1)",
    "a connection by IPv6": "socket.socket(socket.AF_INET6).connect(('::1', 9))",
    "a name": "socket.getaddrinfo('example.org', 443)",
    "a packet": "socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b'x', ('127.0.0.1', 9))",
    "a page": "urllib.request.urlopen('http://127.0.0.1:9/')",
    "a server": "socket.socket().bind(('127.0.0.1', 0))",
    "in another process": "multiprocessing.get_context('spawn').Pool(1).apply(socket.getaddrinfo, ('localhost', 1))",
}


@pytest.mark.parametrize("attempt", ATTEMPTS)
def test_attempts_are_noticed_even_when_the_error_is_caught(
    attempt: str, forbidden: tuple[dict[str, str], Path], tmp_path: Path
) -> None:
    environment, log = forbidden
    script = tmp_path / "attempt.py"
    script.write_text(
        "import contextlib, multiprocessing, socket, urllib.request\n"
        "if __name__ == '__main__':\n"
        f"    with contextlib.suppress(Exception):\n        {ATTEMPTS[attempt]}\n"
    )
    assert python(environment, str(script)).returncode == 0
    assert log.read_text().startswith("socket.")


def test_processes_of_one_computer_may_communicate(forbidden: tuple[dict[str, str], Path]) -> None:
    environment, log = forbidden
    code = "import socket; a, b = socket.socketpair(); a.send(b'x'); assert b.recv(1) == b'x'"
    unix = "s = socket.socket(socket.AF_UNIX); s.bind('\\0sonoseg-test')"
    ended = python(environment, "-c", f"{code}; {unix}")
    assert ended.returncode == 0, ended.stderr
    assert log.read_text() == ""


def test_the_library_of_parquet_tables_opens_none(forbidden: tuple[dict[str, str], Path]) -> None:
    environment, log = forbidden
    ended = python(environment, "-c", "import pyarrow.parquet, pandas; from sonoseg.archive import command_line")
    assert ended.returncode == 0, ended.stderr
    assert log.read_text() == ""
