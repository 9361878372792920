"""The status page: counts as JSON, and nothing about any image."""

import json
from collections.abc import Callable, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

from sonoseg.errors import MachineError


def start_status_page(port: int, counts: Callable[[], Mapping[str, object]]) -> ThreadingHTTPServer:
    """Serve `http://127.0.0.1:PORT/status` in a thread of its own; return the server, which `shutdown` ends.

    Raises MachineError when the port cannot be had.
    """

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            found = self.path in ("/", "/status")
            body = json.dumps(counts() if found else {"error": "expected /status"}).encode()
            self.send_response(200 if found else 404)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *arguments: object) -> None:
            """Log nothing."""

    try:
        server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
    except OSError as error:
        raise MachineError(f"127.0.0.1:{port}: {error.strerror or error}; choose another port") from None
    Thread(target=server.serve_forever, daemon=True).start()
    return server
