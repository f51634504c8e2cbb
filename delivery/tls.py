"""TLS towards targets that ask who is calling (mTLS).

A context is made once for a target and version, and kept with its `Destination`. aiohttp keys connections by their
context, so what was opened with one certificate never carries a request of another.
"""

import asyncio
import ssl
from datetime import UTC, datetime

from relay_contract import client_certificates


async def client_context(certificate: str, key: str) -> ssl.SSLContext:
    """A context that shows this certificate. Raises `client_certificates.CertificateError`, also for one that expired.

    Some 20 ms of reading the system's authorities, in a thread.
    """
    client_certificates.check(certificate, key, datetime.now(UTC))
    return await asyncio.to_thread(client_certificates.client_context, certificate, key)
