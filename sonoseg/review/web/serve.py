"""Run the server: its socket, its address, the browser, and its end."""

import hashlib
import os
import socket
import tempfile
import threading
import webbrowser
from collections.abc import Iterator
from dataclasses import dataclass
from html import escape
from pathlib import Path

import python_multipart  # noqa: F401  (starlette reads forms with it, and says so only then)
import uvicorn

from sonoseg.errors import UsageError
from sonoseg.review.session import Review
from sonoseg.review.uploads import Uploads
from sonoseg.review.web.security import LOOPBACK
from sonoseg.review.web.server import application

FIRST_PORT, PORTS = 8400, 200
"""Ports from which that of a folder is taken."""
ANY = ("0.0.0.0", "::")
"""Addresses that stand for all of this machine's."""
CONNECTIONS = 1000
"""Requests at once; further ones are answered with status 503."""


@dataclass(frozen=True)
class Where:
    """Address and port to listen on, and whether a browser is opened.

    port: 0 for a free one; None for the port of the results, see `usual_port`, or a free one where that is taken.
    """

    host: str = "127.0.0.1"
    port: int | None = None
    browser: bool = True


def serve(review: Review, token: str, where: Where, uploads: Uploads | None = None) -> Iterator[str]:
    """Serve until a signal ends the server; yield what is said: the address first.

    uploads: None where pictures cannot be segmented. Raises UsageError for an address or a port that cannot be used.
    """
    host = where.host
    listening = _listening(review, where)
    with listening:
        number = listening.getsockname()[1]
        shown = socket.gethostname() if host in ANY else f"[{host}]" if ":" in host else host
        address = f"http://{shown}:{number}/?token={token}"
        yield from remarks(review, host)
        yield f"{len(review.items())} images to review at {address}"
        yield "Ctrl-C ends the server; every decision is saved at once"
        config = uvicorn.Config(
            application(review, token, host, number, uploads),
            access_log=False,  # addresses name images
            log_level="critical",
            lifespan="off",
            ws="none",
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


def usual_port(folder: Path) -> int:
    """Return the port of a folder: what a browser keeps for a page, it keeps by address and port."""
    digest = hashlib.sha256(str(folder.resolve()).encode(errors="surrogateescape")).digest()
    return FIRST_PORT + int.from_bytes(digest[:4], "big") % PORTS


def _listening(review: Review, where: Where) -> socket.socket:
    if where.port is not None:
        return _socket(where.host, where.port)
    try:
        return _socket(where.host, usual_port(review.folder))
    except UsageError:
        return _socket(where.host, 0)


def remarks(review: Review, host: str) -> list[str]:
    """Return what is said before the address."""
    lines = [review.read_only, review.source.problem]
    if host not in LOOPBACK:
        lines.append("other machines can reach this server, without encryption; use it in a trusted network only")
    return [line for line in lines if line]


def _socket(host: str, port: int) -> socket.socket:
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        made = socket.socket(family, socket.SOCK_STREAM)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        # Connections inherit it. Without it a body waits 40 ms until the other side has acknowledged the headers.
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
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
