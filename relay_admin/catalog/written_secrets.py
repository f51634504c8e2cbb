"""Secrets that a catalog document names by variables and that stay as they are where it leaves them out.

One entry for each such field of `Section.secret_envs`. A host key's value and a relay key's token have rules of their
own, in `plan.py`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from relay_admin.catalog import services, target_credentials
from relay_contract.sealing import SealingError


@dataclass(frozen=True, slots=True)
class WrittenSecret:
    """How one is checked (ValidationError), read back (SealingError; None: there is none) and kept."""

    clean: Callable[[str], str]
    reveal: Callable[[Any], str | None]
    keep: Callable[[Any, str], object]

    def is_kept(self, row: Any, value: str) -> bool:
        """Whether the row has exactly this. Not so for one that was sealed with a master key that is lost."""
        try:
            return self.reveal(row) == value
        except SealingError:
            return False


WRITTEN_SECRETS: dict[str, WrittenSecret] = {
    "signing_secret_env": WrittenSecret(
        services.signing_secret_clean,
        lambda target: services.target_signing_secret_reveal(target=target),
        lambda target, value: services.target_signing_secret_set(target=target, signing_secret=value),
    ),
    "signature_secret_env": WrittenSecret(
        services.signing_secret_clean,
        lambda endpoint: services.endpoint_signature_secret(endpoint=endpoint),
        lambda endpoint, value: services.endpoint_signature_secret_rotate(endpoint=endpoint, secret=value),
    ),
    "auth_secret_env": WrittenSecret(
        target_credentials.auth_secret_clean,
        target_credentials.auth_secret_of,
        lambda target, value: target_credentials.target_auth_secret_set(target=target, value=value),
    ),
    "client_key_env": WrittenSecret(
        target_credentials.client_key_clean,
        target_credentials.client_key_of,
        lambda target, value: target_credentials.target_client_key_set(target=target, value=value),
    ),
}
