"""A target on a real port: remembers what it was sent, and answers as it is told to."""

import threading
from collections.abc import Mapping
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass(frozen=True)
class Received:
    """One call as it arrived."""

    path: str
    headers: Mapping[str, str]  # names in lower case
    body: bytes

    @property
    def request_id(self) -> str:
        return self.headers["webhook-id"]


class Receiver:
    """`statuses[path]` is what a path answers, 200 unless set; `retry_after[path]` its Retry-After."""

    def __init__(self) -> None:
        self.calls: list[Received] = []
        self.statuses: dict[str, int] = {}
        self.retry_after: dict[str, int] = {}
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                receiver.calls.append(Received(self.path, {k.lower(): v for k, v in self.headers.items()}, body))
                self.send_response(receiver.statuses.get(self.path, 200))
                if self.path in receiver.retry_after:
                    self.send_header("Retry-After", str(receiver.retry_after[self.path]))
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                """Quiet: the tests read `calls`."""

        class Server(ThreadingHTTPServer):
            daemon_threads = True
            request_queue_size = 256

            def handle_error(self, request: Any, client_address: Any) -> None:
                """A worker killed in mid-call is what some tests are about."""

        self._server = Server(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()

    def at(self, path: str) -> list[Received]:
        """The calls to a path, oldest first."""
        return [call for call in list(self.calls) if call.path == path]

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
