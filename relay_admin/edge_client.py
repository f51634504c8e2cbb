"""The control plane's way to the edge, and its one question: how would a call of this relay key be routed?

The edge alone knows, since it holds the catalog as it serves it and how busy its hosts are. It is asked over HTTP with
a token that speaks for the relay key and lives for half a minute (`relay_contract/internal_token.py`). One connection
a question, no redirects, an answer of bounded size.
"""

import json
import time
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings

from relay_admin.access.models import RelayKey
from relay_contract.internal_token import InternalTokens

SURFACES = {
    "chat_completions": "OpenAI chat completions",
    "messages": "Anthropic messages",
    "responses": "OpenAI responses",
    "embeddings": "Embeddings",
    "images": "Images",
    "audio_speech": "Speech",
    "audio_transcriptions": "Transcriptions",
    "audio_translations": "Translations of speech",
    "moderations": "Moderations",
    "rerank": "Rerank",
}
"""What callers may ask for, as the edge names it, and as people do. A test compares them with the edge's."""

TIMEOUT_SECONDS = 5.0
MAX_ANSWER_BYTES = 4_194_304


class EdgeError(Exception):
    """The edge could not be asked, or would not answer. The text is for operators and says what to look at."""


def resolve(*, relay_key: RelayKey, model: str, surface: str) -> dict[str, Any]:
    """The edge's explanation, as it sends it. Raises EdgeError."""
    token = InternalTokens(*settings.MASTER_KEYS).mint(relay_key.pk, time.time())
    status, answer = _post("/api/resolve", {"model": model, "surface": surface}, token)
    try:
        document = json.loads(answer)
    except (ValueError, RecursionError):
        document = None
    if status == 200 and isinstance(document, dict):
        return document
    if isinstance(document, dict) and isinstance(document.get("message"), str):
        raise EdgeError(f"The edge refused the question: {document['message']}")
    raise EdgeError(f"{_origin()} answered {status} and is no edge of this relay. Check RELAY_EDGE_INTERNAL_URL.")


def open_connection() -> tuple[HTTPConnection, str]:
    """To the edge that the settings name and nowhere else, not connected yet; and what its paths begin with."""
    parts = urlsplit(settings.EDGE_INTERNAL_URL)
    assert parts.hostname is not None  # the settings take no other URL
    kind = HTTPSConnection if parts.scheme == "https" else HTTPConnection
    return kind(parts.hostname, parts.port, timeout=TIMEOUT_SECONDS), parts.path


def unreachable() -> EdgeError:
    """What there is to say of a connection that failed."""
    return EdgeError(
        f"The edge at {_origin()} cannot be reached. Is it running, and is RELAY_EDGE_INTERNAL_URL its address?"
    )


def _post(path: str, document: dict[str, str], token: str) -> tuple[int, bytes]:
    connection, prefix = open_connection()
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    try:
        connection.request("POST", f"{prefix}{path}", json.dumps(document).encode(), headers)
        response = connection.getresponse()
        answer = response.read(MAX_ANSWER_BYTES + 1)
    except TimeoutError as error:
        raise EdgeError(f"The edge at {_origin()} did not answer within {TIMEOUT_SECONDS:g} s.") from error
    except (OSError, HTTPException) as error:
        raise unreachable() from error
    finally:
        connection.close()
    if len(answer) > MAX_ANSWER_BYTES:
        raise EdgeError("The edge's answer is larger than this page takes.")
    return response.status, answer


def _origin() -> str:
    """The edge's address without anything that stands before an `@` in it."""
    parts = urlsplit(settings.EDGE_INTERNAL_URL)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"
