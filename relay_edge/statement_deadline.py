"""A deadline for what is asked of Postgres that holds even when nothing answers any more.

Cancelling the task is not enough: psycopg then asks the server to cancel the statement and waits for its answer, for
ever where the server hangs or the network swallows packets. Shutting the socket down ends every wait on it.
"""

import asyncio
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
from psycopg import AsyncConnection


@contextmanager
def statement_deadline(connection: AsyncConnection[Any], seconds: float) -> Iterator[None]:
    """After so long the connection is cut, and what the block waits for raises psycopg.OperationalError."""
    handle = asyncio.get_running_loop().call_later(seconds, cut, connection)
    try:
        yield
    finally:
        handle.cancel()


def cut(connection: AsyncConnection[Any]) -> None:
    """Ends the connection under whoever waits on it; harmless when it is closed."""
    try:
        with socket.socket(fileno=os.dup(connection.fileno())) as held:
            held.shutdown(socket.SHUT_RDWR)
    except (OSError, psycopg.OperationalError):
        return  # closed already, which is what was wanted
