"""Who may use the server: a token, the address it was asked for, the page that asks, and what the page may load."""

import base64
import hashlib
import hmac
import ipaddress
import json
import os
import re
import secrets
import socket
from dataclasses import dataclass, field
from http.cookies import CookieError, SimpleCookie
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

from sonoseg.errors import UsageError

LOOPBACK = ("127.0.0.1", "localhost", "::1")
MIN_TOKEN = 16
"""Fewest characters of a token that a person chooses."""
MAX_TOKEN = 1024
CHANGING = ("POST", "PUT", "PATCH", "DELETE")
MARK = b"x-sonoseg"
"""Header of requests that change something: a form of another page cannot send it."""
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-store",
}
"""Of every answer that does not have its own."""
UNKNOWN = "this address needs its token; open the address that sonoseg review has printed"


def new_token() -> str:
    """Return a random token of 43 characters."""
    return secrets.token_urlsafe(32)


def read_token(path: Path) -> str:
    """Return the token in a file, which is made where it is missing, for its owner alone.

    Raises UsageError for a file that others may read, and for a token that is too short or has other characters than
    letters, digits, `-` and `_`. Raises OSError.
    """
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        pass
    else:
        with os.fdopen(handle, "w") as stream:
            stream.write(new_token() + "\n")
    if os.name == "posix" and path.stat().st_mode & 0o077:
        raise UsageError(f"{path}: others may read or change this file; expected one for its owner alone: chmod 600")
    text = path.read_bytes()[: MAX_TOKEN + 2].decode("ascii", errors="replace").strip()
    if not MIN_TOKEN <= len(text) <= MAX_TOKEN or not text.replace("-", "").replace("_", "").isalnum():
        found = f"{len(text)} characters"
        raise UsageError(f"{path}: {found}; expected a token of {MIN_TOKEN} to {MAX_TOKEN} letters, digits, - and _")
    return text


def check_address(host: str, has_token_file: bool) -> None:
    """Raise UsageError for an address that other machines can reach, unless the token comes from a file."""
    if host not in LOOPBACK and not has_token_file:
        raise UsageError(f"host {host}: other machines could reach the server; give a file with the token as well")


@dataclass
class Guard:
    """An ASGI application around another one, which only sees requests that are allowed.

    host: address that the server listens on; port: of the cookie's name, as cookies are shared by all ports.
    """

    app: Any
    token: str
    host: str = "127.0.0.1"
    port: int = 0
    _session: str = field(init=False)

    def __post_init__(self) -> None:
        self._session = hmac.new(self.token.encode(), b"sonoseg review session", hashlib.sha256).hexdigest()

    @property
    def cookie(self) -> str:
        return f"sonoseg_review_{self.port}"

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        if scope["type"] != "http":
            return
        headers: dict[bytes, bytes] = dict(scope["headers"])
        status, reason = self._refusal(scope, headers)
        if status == 303:
            cookie = f"{self.cookie}={self._session}; HttpOnly; SameSite=Strict; Path=/"
            await _answer(
                send, *_welcome(headers), {"location": "/", "set-cookie": cookie, "content-type": "text/html"}
            )
        elif status:
            await _answer(send, status, json.dumps({"error": reason}).encode(), {"content-type": "application/json"})
        else:
            await self._passed(scope, receive, send)

    def _refusal(self, scope: Any, headers: dict[bytes, bytes]) -> tuple[int, str]:
        """Return status and reason of a refusal; 303 for the right token in the address; (0, "") when allowed."""
        host = headers.get(b"host", b"").decode("latin-1")
        if not self._is_host(host):
            return 403, "this server is asked for under another name than its own; use the address that was printed"
        origin = headers.get(b"origin")
        if origin is not None and origin.decode("latin-1") != f"{scope.get('scheme', 'http')}://{host}":
            return 403, "a page of another address asks; only the page of this server may"
        if headers.get(b"sec-fetch-site", b"none") not in (b"none", b"same-origin") and scope["path"] != "/":
            return 403, "a page of another address asks; only the page of this server may"
        given = _fields(scope.get("query_string", b"").decode("latin-1")).get("token")
        if scope["path"] == "/" and scope["method"] in ("GET", "HEAD") and given:
            return (303, "") if _same(given[0], self.token) else (401, UNKNOWN)
        if not _same(self._cookie_of(headers), self._session):
            return 401, UNKNOWN
        if scope["method"] in CHANGING and headers.get(MARK) != b"1":
            return 403, "a change needs the header X-Sonoseg: 1"
        return 0, ""

    def _cookie_of(self, headers: dict[bytes, bytes]) -> str:
        cookies: SimpleCookie = SimpleCookie()
        try:
            cookies.load(headers.get(b"cookie", b"").decode("latin-1"))
        except CookieError:
            return ""
        return cookies[self.cookie].value if self.cookie in cookies else ""

    def _is_host(self, text: str) -> bool:
        """Return whether a request names this machine: another name may be one that leads here for a foreign page."""
        name = text.rpartition(":")[0] if text.rpartition(":")[2].isdigit() and not text.endswith("]") else text
        name = name.strip("[]").lower()
        if name in (*LOOPBACK, self.host.lower()):
            return True
        if self.host in LOOPBACK:
            return False
        try:
            ipaddress.ip_address(name)
        except ValueError:
            return name in (socket.gethostname().lower(), socket.getfqdn().lower())
        return True

    async def _passed(self, scope: Any, receive: Any, send: Any) -> None:
        started = False

        async def with_headers(message: Any) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                own = {name for name, _ in message["headers"]}
                more = [(n.encode(), v.encode()) for n, v in HEADERS.items() if n.encode() not in own]
                message = {**message, "headers": [*message["headers"], *more]}
            await send(message)

        try:
            await self.app(scope, receive, with_headers)
        except Exception as error:  # not raised: nothing of a request or a file goes into a log
            if not started:
                await _answer(send, 500, json.dumps(unexpected(error)).encode(), {"content-type": "application/json"})


def policy_of(page: str) -> str:
    """Return the content security policy of a page with a style sheet of its own and pictures within, and no script."""
    sheets = re.findall(r"<style>(.*?)</style>", page, re.DOTALL)
    hashes = [base64.b64encode(hashlib.sha256(sheet.encode()).digest()).decode() for sheet in sheets]
    allowed = " ".join(f"'sha256-{each}'" for each in hashes) or "'none'"
    return f"default-src 'none'; style-src {allowed}; img-src data:; base-uri 'none'; frame-ancestors 'none'"


def _fields(query: str) -> dict[str, list[str]]:
    """Return the fields of a query; none of one with more than 100."""
    try:
        return parse_qs(query, max_num_fields=100)
    except ValueError:
        return {}


def _welcome(headers: dict[bytes, bytes]) -> tuple[int, bytes]:
    """Return status and page that lead to `/`.

    After a link from elsewhere, a redirect would be sent without the new cookie (SameSite=Strict), so a page leads on.
    """
    if headers.get(b"sec-fetch-site", b"none") in (b"none", b"same-origin"):
        return 303, b""
    return 200, b'<!doctype html><title>SonoSeg</title><meta http-equiv="refresh" content="0; url=/">'


def unexpected(error: Exception) -> dict[str, str]:
    """Return the answer to a request that failed for an unknown reason, without the error's text."""
    kind = type(error).__name__
    return {"error": f"unexpected {kind}, a bug of SonoSeg; what was saved is safe, load the page again"}


def _same(given: str, expected: str) -> bool:
    """Compare in a time that does not depend on where the texts differ."""
    return hmac.compare_digest(given.encode("utf-8", errors="replace"), expected.encode())


async def _answer(send: Any, status: int, body: bytes, headers: dict[str, str]) -> None:
    listed = [(name.encode(), value.encode()) for name, value in (HEADERS | headers).items()]
    listed.append((b"content-length", str(len(body)).encode()))
    await send({"type": "http.response.start", "status": status, "headers": listed})
    await send({"type": "http.response.body", "body": body})
