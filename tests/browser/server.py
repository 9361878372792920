"""The server as a process of its own, which can be killed and started again at the same address."""

import json
import os
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from tests.conftest import REPOSITORY
from tests.dicom.node.conftest import free_port

TOKEN = "a-token-of-the-tests-that-nobody-has-to-guess"


class Server:
    """`sonoseg review` of a folder of results, at a port of its own."""

    def __init__(self, results: Path, *flags: str):
        self.results, self.flags, self.port = results, flags, free_port()
        self._token = results.parent / "token"
        self._token.write_text(TOKEN)
        self._token.chmod(0o600)
        self.start()

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}/?token={TOKEN}"

    def start(self) -> None:
        """Start it, and wait until it answers."""
        command = [sys.executable, "-m", "sonoseg", "review", str(self.results), "--no-browser", "--reviewer", "anna"]
        command += ["--port", str(self.port), "--token-file", str(self._token), *self.flags]
        log = self.results.parent / "server.log"
        with log.open("ab") as stream:
            self._process = subprocess.Popen(
                command, cwd=REPOSITORY, stdout=stream, stderr=stream, env=os.environ | {"OMP_NUM_THREADS": "1"}
            )
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        for _ in range(600):
            assert self._process.poll() is None, log.read_text()
            try:
                opener.open(f"http://127.0.0.1:{self.port}/api/ping", timeout=5)
            except urllib.error.HTTPError:
                return  # it answers, though not to somebody without its cookie
            except OSError:
                time.sleep(0.05)
        raise AssertionError(log.read_text())

    def kill(self) -> None:
        """End it at once, as by a power cut."""
        self._process.kill()
        self._process.wait()

    def is_own(self, url: str) -> bool:
        """Whether an address that a page has asked for is the server's, or none of a network."""
        return urlsplit(url).netloc == f"127.0.0.1:{self.port}" or url.startswith(("data:", "blob:", "about:"))

    def log(self) -> list[dict[str, Any]]:
        """Return all decisions, oldest first."""
        path = next(iter(self.results.rglob("reviews.jsonl")), None)
        return [json.loads(line) for line in path.read_text().splitlines()] if path else []
