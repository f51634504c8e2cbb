"""Secrets at rest: AES-256-GCM, each ciphertext bound to the row it belongs to.

    version (1 byte, 1) | key id (4) | row id (4) | nonce (12) | ciphertext and tag (plaintext + 16)

- key id: the start of a SHA-256 of the master key, which says which key is needed without saying anything of the key.
- row id: the start of a SHA-256 of the binding (`host_key:42`). GCM alone cannot tell a changed ciphertext from one
  copied to another row; with it the error can. Protection does not rest on it: the whole binding is authenticated.
- Authenticated beside the ciphertext (AAD): version, key id, row id and the binding. A ciphertext moved to another row
  or table does not open there, so write access to a table does not turn one project's credential into another's.
- Nonces are random. By NIST SP 800-38D section 8.3 one key seals at most 2 ** 32 times so; a catalog stays far below.

What is sealed once a call would not. `seal_bytes` takes a fresh key for each, derived from the master key with a salt:

    version (1 byte, 2) | key id (4) | salt (16) | nonce (12) | ciphertext and tag

No I/O. About 2 us a call, 8 us for `seal_bytes`.
"""

import hashlib
import hmac
import os
from enum import StrEnum

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

MASTER_KEY_BYTES = 32

_VERSION = b"\x01"
_ID_BYTES = 4
_NONCE_BYTES = 12
_TAG_BYTES = 16
_HEADER_BYTES = len(_VERSION) + 2 * _ID_BYTES

_DERIVED_VERSION = b"\x02"
_SALT_BYTES = 16
_DERIVED_HEADER_BYTES = len(_DERIVED_VERSION) + _ID_BYTES + _SALT_BYTES


class SealFault(StrEnum):
    """Why a secret cannot be had."""

    NOT_SEALED = "not_sealed"
    UNKNOWN_MASTER_KEY = "unknown_master_key"
    WRONG_ROW = "wrong_row"
    TAMPERED = "tampered"
    UNREADABLE = "unreadable"  # it is kept elsewhere, and its source gives no value


class SealingError(Exception):
    """A sealed value does not open. The text says why and what to do; it holds no key, plaintext or ciphertext."""

    def __init__(self, fault: SealFault, text: str) -> None:
        self.fault = fault
        super().__init__(text)


class Sealer:
    """Seals with `current`, opens with `current` or any of `previous` (each 32 bytes).

    To rotate: put the new key first and the old ones behind it, seal again what `needs_resealing`, drop the old ones.
    """

    __slots__ = ("_ciphers", "_current_id", "_keys")

    def __init__(self, current: bytes, *previous: bytes) -> None:
        """ValueError for a key of another length, or two keys that share an id (the same key given twice)."""
        self._ciphers: dict[bytes, AESGCM] = {}
        self._keys: dict[bytes, bytes] = {}
        for key in (current, *previous):
            if len(key) != MASTER_KEY_BYTES:
                raise ValueError(f"a master key has exactly {MASTER_KEY_BYTES} bytes, not {len(key)}")
            key_id = _fingerprint(b"relay master key", key)
            if key_id in self._ciphers:
                raise ValueError("two master keys have the same id: one key was given twice; leave one out")
            self._ciphers[key_id], self._keys[key_id] = AESGCM(key), key
        self._current_id = next(iter(self._ciphers))

    def seal(self, plaintext: str, binding: str) -> bytes:
        """Encrypt for the row that `binding` names, e.g. `host_key:42`. Equal plaintexts give different results."""
        header = _VERSION + self._current_id + _row_id(binding)
        nonce = os.urandom(_NONCE_BYTES)
        sealed = self._ciphers[self._current_id].encrypt(nonce, _encoded(plaintext), header + binding.encode())
        return header + nonce + sealed

    def unseal(self, sealed: bytes | bytearray | memoryview, binding: str) -> str:
        """The plaintext. SealingError when the value is not sealed, for another key or row, or was changed."""
        sealed = bytes(sealed)
        cipher = self._ciphers.get(_key_id(sealed, _VERSION, _HEADER_BYTES))
        if cipher is None:
            raise _unknown_master_key()
        header, rest = sealed[:_HEADER_BYTES], sealed[_HEADER_BYTES:]
        if header[-_ID_BYTES:] != _row_id(binding):
            raise SealingError(
                SealFault.WRONG_ROW,
                f"sealed for another row than {binding!r}: it was copied here; enter the secret again",
            )
        try:
            plaintext = cipher.decrypt(rest[:_NONCE_BYTES], rest[_NONCE_BYTES:], header + binding.encode())
        except InvalidTag:
            raise SealingError(
                SealFault.TAMPERED,
                f"the sealed value of {binding!r} was changed after it was sealed; enter the secret again",
            ) from None
        return plaintext.decode()

    def seal_bytes(self, plaintext: bytes, binding: str) -> bytes:
        """Encrypt what is sealed often and kept for a while. `binding` as in `seal`."""
        header = _DERIVED_VERSION + self._current_id + os.urandom(_SALT_BYTES)
        nonce = os.urandom(_NONCE_BYTES)
        cipher = _derived(self._keys[self._current_id], header)
        return header + nonce + cipher.encrypt(nonce, plaintext, header + binding.encode())

    def unseal_bytes(self, sealed: bytes, binding: str) -> bytes:
        """What `seal_bytes` took. SealingError as in `unseal`; another binding reads as TAMPERED."""
        key = self._keys.get(_key_id(sealed, _DERIVED_VERSION, _DERIVED_HEADER_BYTES))
        if key is None:
            raise _unknown_master_key()
        header, rest = sealed[:_DERIVED_HEADER_BYTES], sealed[_DERIVED_HEADER_BYTES:]
        try:
            return _derived(key, header).decrypt(rest[:_NONCE_BYTES], rest[_NONCE_BYTES:], header + binding.encode())
        except InvalidTag:
            raise SealingError(SealFault.TAMPERED, f"what was sealed for {binding!r} was changed since") from None

    def needs_resealing(self, sealed: bytes | bytearray | memoryview) -> bool:
        """True when another key than the current one sealed this. SealingError when it is not sealed at all."""
        return _key_id(bytes(sealed), _VERSION, _HEADER_BYTES) != self._current_id


def _derived(master_key: bytes, header: bytes) -> AESGCM:
    return AESGCM(hmac.digest(master_key, b"relay derived key\x00" + header, "sha256"))


def _key_id(sealed: bytes, version: bytes, header_bytes: int) -> bytes:
    if len(sealed) < header_bytes + _NONCE_BYTES + _TAG_BYTES or sealed[:1] != version:
        raise SealingError(SealFault.NOT_SEALED, "not a sealed value, or one of a newer version of the relay")
    return sealed[1 : 1 + _ID_BYTES]


def _unknown_master_key() -> SealingError:
    return SealingError(
        SealFault.UNKNOWN_MASTER_KEY,
        "sealed with a master key that is not configured: add that key as a previous one, or enter the secret again",
    )


def _encoded(plaintext: str) -> bytes:
    try:
        return plaintext.encode()
    except UnicodeEncodeError:
        # `from None`: that error carries the whole secret in its `object`.
        raise ValueError("the secret holds characters that cannot be encoded as UTF-8") from None


def _row_id(binding: str) -> bytes:
    return _fingerprint(b"relay row", binding.encode())


def _fingerprint(purpose: bytes, value: bytes) -> bytes:
    return hashlib.sha256(purpose + b"\x00" + value).digest()[:_ID_BYTES]
