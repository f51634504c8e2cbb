"""Which fault an exception of aiohttp or the system stands for. Pure.

Never by text and never logged raw: exceptions of an HTTP client quote what the peer sent.
"""

import errno
import ssl
from collections.abc import Iterator

import aiohttp
from aiohttp.http_exceptions import LineTooLong

from delivery.attempt import Fault

_BY_ERRNO = {
    errno.EACCES: Fault.ADDRESS_REFUSED,  # netguard.AddressRefused, also where aiohttp merged several of them
    errno.ECONNREFUSED: Fault.CONNECTION_REFUSED,
    errno.ECONNRESET: Fault.CONNECTION_RESET,
    errno.ECONNABORTED: Fault.CONNECTION_RESET,
    errno.EPIPE: Fault.CONNECTION_RESET,
    errno.ETIMEDOUT: Fault.TIMEOUT,
}

_BY_CLASS: tuple[tuple[type[BaseException], Fault], ...] = (
    # The first that fits, so a class stands before those it derives from.
    (aiohttp.ClientConnectorDNSError, Fault.DNS_FAILURE),
    (aiohttp.ClientConnectorCertificateError, Fault.CERTIFICATE_REFUSED),
    (aiohttp.ServerFingerprintMismatch, Fault.CERTIFICATE_REFUSED),
    (aiohttp.ClientSSLError, Fault.TLS_FAILURE),
    (ssl.SSLCertVerificationError, Fault.CERTIFICATE_REFUSED),
    (ssl.SSLError, Fault.TLS_FAILURE),
    (aiohttp.ServerTimeoutError, Fault.TIMEOUT),
    (TimeoutError, Fault.TIMEOUT),
    (aiohttp.ServerDisconnectedError, Fault.CONNECTION_CLOSED),
    (aiohttp.ClientPayloadError, Fault.RESPONSE_BROKEN_OFF),
    (aiohttp.InvalidURL, Fault.BAD_URL),
    (aiohttp.NonHttpUrlClientError, Fault.BAD_URL),
    (aiohttp.ClientResponseError, Fault.INVALID_RESPONSE),
)


def fault_of(error: Exception) -> Fault:
    """The fault; INTERNAL_ERROR for what no failing target explains, which the caller logs."""
    if isinstance(error, aiohttp.ClientResponseError) and any(isinstance(e, LineTooLong) for e in _causes(error)):
        return Fault.RESPONSE_HEADER_TOO_LARGE
    for kind, fault in _BY_CLASS:
        if isinstance(error, kind):
            return fault
    if isinstance(error, OSError):
        return _BY_ERRNO.get(error.errno or 0, Fault.CONNECT_FAILED)
    if isinstance(error, aiohttp.ClientError):
        return Fault.CONNECTION_CLOSED
    if isinstance(error, ValueError):
        return Fault.BAD_HEADER  # aiohttp's serializer: a line break or NUL in a stored header
    return Fault.INTERNAL_ERROR


def _causes(error: BaseException) -> Iterator[BaseException]:
    """What an exception was raised from, the nearest first: aiohttp wraps its parser's twice."""
    cause = error.__cause__
    while cause is not None:
        yield cause
        cause = cause.__cause__
