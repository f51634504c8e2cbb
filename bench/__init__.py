"""What makes the performance claims of `docs/performance.md` repeatable: `make bench`, or `python -m bench`.

Needs Linux and what `requirements*.txt` installs, nothing else: the load generator, the fake vendor, the receiver and
the bare proxy to compare with are files here. Everything listens on loopback, every run is bounded in count and time,
and only processes that the bench started are ended.
"""
