"""A fast target: answers 204 to every POST and remembers each `webhook-id` by path. `python -m bench.sink --port N`

A POST below /hung is not answered until somebody asks for that; its id is remembered all the same.

GET /seen              {"/a": {"distinct": 3000, "calls": 3001}, ...}: how many ids, and how many calls brought them
GET /received          {"/a": {"019...": 5021.25, ...}, ...}: when each came first, by the machine's monotonic clock
GET /forget?/a,/b      forgets what these paths saw
GET /reset             forgets everything, and lets hang again
GET /release           answers what hangs, and from then on at once
"""

import argparse
import asyncio
import json
import time
from collections import Counter, defaultdict

from bench.http_server import Exchange, rendered, serve

_ACCEPTED = b"HTTP/1.1 204 No Content\r\n\r\n"
_HUNG = "/hung"


class Sink:
    """What arrived."""

    def __init__(self) -> None:
        self.received: defaultdict[str, dict[str, float]] = defaultdict(dict)
        self.calls: Counter[str] = Counter()
        self.is_released = False
        self.hanging: list[asyncio.Transport] = []

    def receive(self, path: str, webhook_id: str, transport: asyncio.Transport) -> None:
        """Note a call, and answer it."""
        self.received[path].setdefault(webhook_id, time.perf_counter())
        self.calls[path] += 1
        if path.startswith(_HUNG) and not self.is_released:
            self.hanging.append(transport)
        else:
            transport.write(_ACCEPTED)

    def report(self, path: str) -> object:
        """The JSON of a GET."""
        what, _, paths = path.partition("?")
        match what:
            case "/seen":
                return {name: {"distinct": len(ids), "calls": self.calls[name]} for name, ids in self.received.items()}
            case "/received":
                return self.received
            case "/forget":
                self._forget(paths.split(","))
            case "/reset":
                self._forget(list(self.received))
                self.is_released = False
            case "/release":
                self._release()
        return {}

    def _forget(self, paths: list[str]) -> None:
        for path in paths:
            self.received.pop(path, None)
            self.calls.pop(path, None)

    def _release(self) -> None:
        self.is_released = True
        for transport in self.hanging:
            if not transport.is_closing():
                transport.write(_ACCEPTED)
        self.hanging.clear()


class Receiving(Exchange):
    """One connection, of a worker or of the bench."""

    def __init__(self, sink: Sink) -> None:
        super().__init__()
        self._sink = sink

    def answer(self) -> None:
        path = self.path.decode()
        webhook_id = self.headers.get(b"webhook-id")
        if webhook_id is not None:
            self._sink.receive(path, webhook_id.decode(), self.transport)
        else:
            self.transport.write(rendered("200 OK", "application/json", json.dumps(self._sink.report(path)).encode()))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="A fast webhook target for the bench.")
    parser.add_argument("--port", type=int, required=True)
    sink = Sink()
    serve(lambda: Receiving(sink), parser.parse_args().port)
