"""What oauthlib asks while it runs a flow. Overrides what django-oauth-toolkit leaves looser than RFC 9700 wants.

Every token request runs in one transaction (`endpoints.py`), and what the code or refresh token is of is locked before
it is looked at (`revocation.hold`): of two requests with one of them, the second sees what the first did, and is the
reuse it looks like; and whoever ends tokens in that moment ends the new ones too.
"""
# ruff: noqa: ARG002  # arguments are oauthlib's

import hashlib
import uuid
from datetime import timedelta
from typing import Any

from django.db.models import F, QuerySet
from django.utils import timezone
from django.utils.crypto import constant_time_compare
from oauth2_provider.models import get_device_grant_model
from oauth2_provider.oauth2_validators import OAuth2Validator
from oauthlib.oauth2.rfc8628.grant_types import DeviceCodeGrant

from relay_admin.access.oauth import revocation
from relay_admin.access.oauth.models import AccessToken, Authorization, Grant, OAuthApplication, RefreshToken
from relay_admin.access.oauth.scopes import DEFAULT_SCOPES, OFFLINE, SCOPES
from relay_contract.access_tokens import LIFE_SECONDS

CODE_LIFE = timedelta(seconds=60)
DEVICE_LIFE = timedelta(seconds=600)
SLOWER_SECONDS, SLOWEST_SECONDS = 5, 30
DEVICE_GRANT = "urn:ietf:params:oauth:grant-type:device_code"
_FLOWS = {
    "authorization_code": (OAuthApplication.GRANT_AUTHORIZATION_CODE,),
    DEVICE_GRANT: (OAuthApplication.GRANT_DEVICE_CODE,),
    "refresh_token": (OAuthApplication.GRANT_AUTHORIZATION_CODE, OAuthApplication.GRANT_DEVICE_CODE),
}


def hashed(secret: str) -> str:
    """As codes, tokens and client secrets are stored. They are random and long: a slow hash would add nothing."""
    return hashlib.sha256(secret.encode()).hexdigest()


class Validator(OAuth2Validator):
    """Beside what it asks, the checks that every grant shares: `_may_go_on`."""

    # --- the application

    def _check_secret(self, provided_secret: str, stored_secret: str) -> bool:
        return bool(stored_secret) and constant_time_compare(hashed(provided_secret), stored_secret)

    def validate_grant_type(
        self, client_id: str, grant_type: str, client: OAuthApplication, request: Any, *_: Any, **__: Any
    ) -> bool:
        """Whether the application is registered for this flow."""
        return client.allows_grant_type(*_FLOWS.get(grant_type, ()))

    def validate_response_type(
        self, client_id: str, response_type: str, client: OAuthApplication, request: Any, *_: Any, **__: Any
    ) -> bool:
        """There is `code`."""
        return response_type == "code" and client.allows_grant_type(*_FLOWS["authorization_code"])

    def get_default_redirect_uri(self, client_id: str, request: Any, *_: Any, **__: Any) -> None:
        """There is none: the application says where to, each time."""

    def is_origin_allowed(self, client_id: str, origin: str, request: Any, *_: Any, **__: Any) -> bool:
        """`cors.py` says so, of every answer alike."""
        return False

    # --- scopes

    def validate_scopes(
        self, client_id: str, scopes: list[str], client: OAuthApplication, request: Any, *_: Any, **__: Any
    ) -> bool:
        """Known ones, each once."""
        return len(set(scopes)) == len(scopes) and set(scopes) <= set(SCOPES)

    def get_default_scopes(self, client_id: str, request: Any, *_: Any, **__: Any) -> list[str]:
        """For who asks for none."""
        return list(DEFAULT_SCOPES)

    # --- codes

    def save_authorization_code(self, client_id: str, code: dict[str, str], request: Any, *_: Any, **__: Any) -> None:
        """`request.authorization` is what the user said yes to just now."""
        Grant.objects.create(
            application=request.client,
            user=request.user,
            authorization=request.authorization,
            code=hashed(code["code"]),
            family=uuid.uuid4(),
            expires=timezone.now() + CODE_LIFE,
            redirect_uri=request.redirect_uri,
            scope=" ".join(request.scopes),
            code_challenge=request.code_challenge,
            code_challenge_method=request.code_challenge_method,
        )

    def validate_code(
        self, client_id: str, code: str, client: OAuthApplication, request: Any, *_: Any, **__: Any
    ) -> bool:
        """A second use ends what the first one gave."""
        grant = _held(Grant.objects.filter(code=hashed(code), application=client))
        if grant is None:
            return False
        if grant.used_at is not None:
            if not revocation.revoke_family(grant.family, grant.authorization_id):
                revocation.revoke_access(grant.authorization_id)
            grant.delete()  # what is used a third time is as unknown as any other
            return False
        if grant.is_expired() or not _may_go_on(grant.authorization, grant.user):
            return False
        request.grant = grant
        request.family = grant.family
        request.user, request.authorization = grant.user, grant.authorization
        request.scopes = grant.scope.split()
        return True

    def get_code_challenge(self, code: str, request: Any) -> str:
        """Of the code that was validated."""
        return str(request.grant.code_challenge)

    def get_code_challenge_method(self, code: str, request: Any) -> str:
        """Of the code that was validated."""
        return str(request.grant.code_challenge_method)

    def confirm_redirect_uri(
        self, client_id: str, code: str, redirect_uri: str, client: OAuthApplication, request: Any, *_: Any, **__: Any
    ) -> bool:
        """The one that the code was sent to."""
        return bool(request.grant.redirect_uri == redirect_uri)

    def invalidate_authorization_code(self, client_id: str, code: str, request: Any, *_: Any, **__: Any) -> None:
        """It stays, so that a second use is known for what it is."""
        Grant.objects.filter(pk=request.grant.pk).update(used_at=timezone.now())

    # --- refresh tokens

    def validate_refresh_token(
        self, refresh_token: str, client: OAuthApplication, request: Any, *_: Any, **__: Any
    ) -> bool:
        """A second use ends what came of the first, and whatever else came of the same code."""
        rows = RefreshToken.objects.filter(token_checksum=hashed(refresh_token), application=client)
        found = _held(rows.order_by(F("revoked").desc(nulls_first=True)))
        if found is None:
            return False
        if found.revoked is not None:
            revocation.revoke_family(found.token_family, found.authorization_id)
            return False
        if found.created + revocation.REFRESH_LIFE <= timezone.now():
            return False
        if not _may_go_on(found.authorization, found.user):
            return False
        request.refresh_token_instance = found
        request.family = found.token_family
        request.user, request.authorization = found.user, found.authorization
        return True

    def get_original_scopes(self, refresh_token: str, request: Any, *_: Any, **__: Any) -> str:
        """What the user allowed at first, whatever was asked since."""
        return str(request.refresh_token_instance.scope)

    # --- device codes

    def validate_device_code(self, client_id: str, device_code: str, request: Any, *_: Any, **__: Any) -> str | None:
        """A status of oauthlib's, or None for a code that is none. One that is used is gone."""
        device_model = get_device_grant_model()
        device = (
            device_model.objects.select_for_update(of=("self",))
            .filter(device_code=hashed(device_code), client_id=request.client.client_id)
            .first()
        )
        if device is None:
            return None
        now = timezone.now()
        if device.expires <= now:
            return DeviceCodeGrant.DEVICE_CODE_EXPIRED
        if device.status == device_model.DENIED:
            return DeviceCodeGrant.DEVICE_CODE_DENIED
        if device.status != device_model.AUTHORIZED:
            is_hasty = device.last_checked > now - timedelta(seconds=device.interval - 1)
            if is_hasty:  # RFC 8628 section 3.5: for this and all that follow
                device.interval = min(device.interval + SLOWER_SECONDS, SLOWEST_SECONDS)
            device.save(update_fields=["last_checked", "interval"])
            return DeviceCodeGrant.DEVICE_CODE_SLOW_DOWN if is_hasty else DeviceCodeGrant.DEVICE_CODE_PENDING
        # What was allowed ends with the password, also where it was not fetched yet.
        is_over = revocation.is_user_revoked_since(device.user_id, device.expires - DEVICE_LIFE)
        authorization = _held_authorization(device.user_id, request.client)
        device.delete()
        if is_over or authorization is None or not _may_go_on(authorization, authorization.user):
            return None
        request.family = uuid.uuid4()
        request.user, request.authorization = authorization.user, authorization
        request.scopes = device.scope.split()
        return DeviceCodeGrant.DEVICE_CODE_AUTHORIZED

    # --- what is issued

    def _save_bearer_token(self, token: dict[str, Any], request: Any, *_: Any, **__: Any) -> None:
        """Writes down both, and takes the refresh token out again where nobody allowed one."""
        previous = getattr(request, "refresh_token_instance", None)
        allowed = previous.scope if previous is not None else token["scope"]
        if OFFLINE not in allowed.split():
            token.pop("refresh_token", None)
        access = AccessToken(
            user=request.user,
            application=request.client,
            authorization=request.authorization,
            jti=request.jti,
            scope=token["scope"],
            expires=timezone.now() + timedelta(seconds=LIFE_SECONDS),
        )
        self._set_token_value(access, token["access_token"])
        access.save()
        if previous is not None:
            previous.revoked = timezone.now()
            previous.save(update_fields=["revoked", "updated"])
        if "refresh_token" in token:
            refresh = RefreshToken(
                user=request.user,
                application=request.client,
                authorization=request.authorization,
                token_family=request.family,
                scope=allowed,
            )
            self._set_token_value(refresh, token["refresh_token"])
            refresh.save()

    # --- revocation

    def revoke_token(self, token: str, token_type_hint: str, request: Any, *_: Any, **__: Any) -> None:
        """Of the application that asks; of another's, nothing happens. A refresh token takes its family along."""
        checksum = hashed(token)
        access = AccessToken.objects.filter(token_checksum=checksum, application=request.client).first()
        if access is not None:
            if not access.is_expired():
                revocation.revoke_jti(access.jti)
            access.delete()
            return
        refresh = RefreshToken.objects.filter(token_checksum=checksum, application=request.client).first()
        if refresh is not None:
            revocation.revoke_family(refresh.token_family, refresh.authorization_id)


def _held(rows: "QuerySet[Any]") -> Any:
    """The first of these codes or refresh tokens, as it is once nobody ends or uses it any more."""
    row = rows.first()
    if row is None:
        return None
    revocation.hold(authorization_id=row.authorization_id, user_id=row.user_id, application_id=row.application_id)
    found = rows.select_for_update(of=("self",)).select_related("user", "authorization").filter(pk=row.pk)
    return found.first()


def _held_authorization(user_id: int, application: OAuthApplication) -> Authorization | None:
    row = Authorization.objects.filter(user_id=user_id, application=application).first()
    if row is None:
        return None
    revocation.hold(authorization_id=row.pk, user_id=user_id, application_id=application.pk)
    return Authorization.objects.select_related("user").filter(pk=row.pk).first()


def _may_go_on(authorization: Authorization, user: Any) -> bool:
    """Whether the user still is somebody, and still allows it. `is_usable` asks the same of the application."""
    return user.is_active and authorization.revoked_at is None
