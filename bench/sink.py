"""A fast target: answers 204 to every POST and remembers each `webhook-id` by path. `python -m bench.sink --port N`

GET /seen    {"/a": {"distinct": 3000, "calls": 3001}, ...}: how many ids arrived, and how many calls brought them
GET /ids     {"/a": ["019...", ...], ...}
GET /reset   forgets everything
"""

import argparse
import json
from collections import Counter, defaultdict

from bench.http_server import Exchange, rendered, serve

_ACCEPTED = b"HTTP/1.1 204 No Content\r\n\r\n"


class Sink:
    """What arrived."""

    def __init__(self) -> None:
        self.ids: defaultdict[str, set[str]] = defaultdict(set)
        self.calls: Counter[str] = Counter()

    def receive(self, path: str, webhook_id: str) -> None:
        self.ids[path].add(webhook_id)
        self.calls[path] += 1

    def report(self, path: str) -> object:
        """The JSON of a GET."""
        match path:
            case "/seen":
                return {name: {"distinct": len(ids), "calls": self.calls[name]} for name, ids in self.ids.items()}
            case "/ids":
                return {name: sorted(ids) for name, ids in self.ids.items()}
            case "/reset":
                self.ids.clear()
                self.calls.clear()
        return {}


class Receiving(Exchange):
    """One connection, of a worker or of the bench."""

    def __init__(self, sink: Sink) -> None:
        super().__init__()
        self._sink = sink

    def answer(self) -> None:
        path = self.path.decode()
        webhook_id = self.headers.get(b"webhook-id")
        if webhook_id is not None:
            self._sink.receive(path, webhook_id.decode())
            self.transport.write(_ACCEPTED)
        else:
            self.transport.write(rendered("200 OK", "application/json", json.dumps(self._sink.report(path)).encode()))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="A fast webhook target for the bench.")
    parser.add_argument("--port", type=int, required=True)
    sink = Sink()
    serve(lambda: Receiving(sink), parser.parse_args().port)
