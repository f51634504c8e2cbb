"""The command `relay`: sign in, keys, send, tail, replay, listen."""

from relay_sdk.cli.main import main

__all__ = ["main"]
