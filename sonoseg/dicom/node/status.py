"""The status page: counts as JSON, and nothing about any image."""

import json
from collections.abc import Callable, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

from sonoseg.errors import MachineError, SonoSegError

_TIMEOUT_SECONDS = 10.0


def start_status_page(port: int, counts: Callable[[], Mapping[str, object]]) -> ThreadingHTTPServer:
    """Serve `http://127.0.0.1:PORT/status` in a thread of its own; return the server, which `shutdown` ends.

    Raises MachineError when the port cannot be had.
    """

    class Handler(BaseHTTPRequestHandler):
        timeout = _TIMEOUT_SECONDS

        def do_GET(self) -> None:
            code, contents = self._contents()
            body = json.dumps(contents).encode()
            self.send_response(code)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def _contents(self) -> tuple[int, Mapping[str, object]]:
            if self.path not in ("/", "/status"):
                return 404, {"error": "expected /status"}
            try:
                return 200, counts()
            except SonoSegError as error:
                return 503, {"error": str(error)}

        def log_message(self, format: str, *arguments: object) -> None:
            """Log nothing."""

    class Server(ThreadingHTTPServer):
        def handle_error(self, request: object, client_address: object) -> None:
            """Say nothing of a client that has gone away."""

    try:
        server = Server(("127.0.0.1", port), Handler)
    except OSError as error:
        raise MachineError(f"127.0.0.1:{port}: {error.strerror or error}; choose another port") from None
    Thread(target=server.serve_forever, daemon=True).start()
    return server
