"""Run the server: its socket, its address, the browser, and its end."""

import hashlib
import os
import socket
import tempfile
import threading
import webbrowser
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from html import escape
from pathlib import Path

import uvicorn

from sonoseg.errors import UsageError
from sonoseg.review.session import Review
from sonoseg.review.uploads import Uploads
from sonoseg.review.web.security import LOOPBACK
from sonoseg.review.web.server import application

FIRST_PORT, PORTS = 8400, 200
"""Ports of which each folder of results has one."""
CONNECTIONS = 1000
"""Requests at once; further ones are answered with status 503."""


@dataclass(frozen=True)
class Where:
    """Address and port to listen on, and whether a browser is opened.

    port: 0 for a free one; None for one that is the same for the same results at every start, a free one where it is
    taken. Browsers keep unsaved work by address and port.
    """

    host: str = "127.0.0.1"
    port: int | None = None
    browser: bool = True


def serve(review: Review, token: str, where: Where, uploads: Uploads | None = None) -> Iterator[str]:
    """Serve until a signal ends the server; yield what is said: the address first.

    uploads: None where pictures cannot be segmented. Raises UsageError for an address or a port that cannot be used.
    """
    host = where.host
    listening = _listening(where, review.folder)
    with listening:
        number = listening.getsockname()[1]
        shown = f"[{host}]" if ":" in host else host
        address = f"http://{shown}:{number}/?token={token}"
        yield from remarks(review, host)
        yield f"{len(review.items())} images to review at {address}"
        yield "Ctrl-C ends the server; every decision is saved at once"
        config = uvicorn.Config(
            application(review, token, host, number, uploads),
            access_log=False,  # addresses name images
            log_level="critical",
            lifespan="off",
            server_header=False,
            limit_concurrency=CONNECTIONS,
            timeout_keep_alive=30,
            timeout_graceful_shutdown=5,
        )
        with tempfile.TemporaryDirectory() as folder:
            if where.browser:
                threading.Thread(target=_open, args=(Path(folder), address), daemon=True).start()
            uvicorn.Server(config).run(sockets=[listening])
    yield "ended"


def remarks(review: Review, host: str) -> list[str]:
    """Return what is said before the address."""
    lines = [review.read_only, review.source.problem]
    if host not in LOOPBACK:
        lines.append("other machines can reach this server, without encryption; use it in a trusted network only")
    return [line for line in lines if line]


def _listening(where: Where, folder: Path) -> socket.socket:
    if where.port is not None:
        return _socket(where.host, where.port)
    digest = hashlib.sha256(str(folder.resolve()).encode(errors="surrogateescape")).digest()
    with suppress(UsageError):
        return _socket(where.host, FIRST_PORT + int.from_bytes(digest[:4]) % PORTS)
    return _socket(where.host, 0)


def _socket(host: str, port: int) -> socket.socket:
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        made = socket.socket(family, socket.SOCK_STREAM)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            made.bind((host, port))
            made.listen(CONNECTIONS)  # before the address is printed, so that nobody is refused
        except OSError:
            made.close()
            raise
    except OSError as error:
        raise UsageError(f"{host}, port {port}: {error.strerror}; choose another port, or 0 for a free one") from None
    return made


def _open(folder: Path, address: str) -> None:
    """Open the browser on a private file that leads to the address: other users may see the command line of a browser.

    Nothing happens where there is no browser.
    """
    page = folder / "review.html"
    with os.fdopen(os.open(page, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as stream:
        stream.write(f'<!doctype html><meta http-equiv="refresh" content="0; url={escape(address)}">\n')
    webbrowser.open(page.as_uri())
