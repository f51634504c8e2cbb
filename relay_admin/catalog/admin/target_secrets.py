"""The page of a target's signing secrets: which sign and until when, one more, a rotation, a look at one.

A look and a change are POSTs and go to the target's history; a value is rendered into the one answer and nowhere else.
"""

from typing import Any, NamedTuple

from django.core.exceptions import PermissionDenied, ValidationError
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString

from relay_admin import pages
from relay_admin.catalog import services, target_secrets
from relay_admin.catalog.models import Target, TargetSecret
from relay_contract.nouns import MAX_TARGET_SECRETS, SecretKind
from relay_contract.sealing import SealingError

NAME = "catalog_target_signing_secret"
OVERLAPS = ((86_400, "for a day"), (604_800, "for a week"), (3_600, "for an hour"), (0, "not at all"))


class _Shown(NamedTuple):
    label: str
    secret: str
    said: str


def signing_secret_link(target: Target) -> str | SafeString:
    """To the page of a target's secrets."""
    if target._state.adding:
        return "made when the target is saved"
    url = reverse(f"admin:{NAME}", args=[target.pk])
    return format_html('<a class="text-primary-600 dark:text-primary-500" href="{}">Reveal or rotate…</a>', url)


class SigningSecretPages:
    """For the admin of targets."""

    def get_urls(self) -> list[URLPattern]:
        """And the page of the secrets."""
        view = self.admin_site.admin_view(self.signing_secret_view)  # type: ignore[attr-defined]  # of the admin class
        own = path("<int:target_id>/signing-secret/", view, name=NAME)
        return [own, *super().get_urls()]  # type: ignore[misc]

    def signing_secret_view(self, request: HttpRequest, target_id: int) -> HttpResponse:
        """GET lists them; a POST does one thing, and is written to the history."""
        target = get_object_or_404(Target.objects.select_related("endpoint__line__project"), pk=target_id)
        admin: Any = self
        if not (admin.has_view_permission(request, target) and request.user.has_perm("catalog.reveal_signing_secret")):
            raise PermissionDenied
        if request.method != "POST":
            return self._page(request, target)
        try:
            shown = _do(request, target)
        except SealingError as error:
            return self._does_not_open(request, error)
        except ValidationError as error:
            return self._page(request, target, " ".join(error.messages), 409)
        admin.log_change(request, target, shown.said)
        if not shown.secret:
            return redirect(".")
        return pages.show_once(
            request,
            admin,
            title=f"{shown.label} of {target}",
            text="Whoever has this secret can sign deliveries as this relay. Give it to the target's owner only."
            if shown.label != "Public key"
            else "Receivers check signatures with this key. It is no secret: nobody can sign with it.",
            label=shown.label,
            secret=shown.secret,
            next_url=".",
        )

    def _page(self, request: HttpRequest, target: Target, error: str = "", status: int = 200) -> HttpResponse:
        admin: Any = self
        now = timezone.now()
        secrets = target.secrets.order_by("-pk")
        context = {
            **admin.admin_site.each_context(request),
            "title": f"Signing secrets of {target}",
            "page_title": "Signing secrets",
            "opts": admin.opts,
            "target": target,
            "secrets": [(one, one.expires_at is None or one.expires_at > now) for one in secrets],
            "overlaps": OVERLAPS,
            "kinds": [(str(SecretKind.V1), "v1: shared secret"), (str(SecretKind.V1A), "v1a: key pair")],
            "most": MAX_TARGET_SECRETS,
            "error": error,
        }
        return TemplateResponse(request, "relay/signing_secret.html", context, status=status)

    def _does_not_open(self, request: HttpRequest, error: SealingError) -> HttpResponse:
        admin: Any = self
        context = {
            **admin.admin_site.each_context(request),
            "title": "The secret does not open",
            "page_title": "The secret does not open",
            "opts": admin.opts,
            "text": f"It is {error}. Nothing is delivered to the target meanwhile. Replacing makes a new one, and"
            " takes away all that it has.",
            "button": "Replace by a new secret",
            "hidden": [("do", "replace")],
            "variant": "danger",
            "back": ".",
        }
        return TemplateResponse(request, "relay/confirm.html", context, status=409)


def _do(request: HttpRequest, target: Target) -> _Shown:
    """Raises ValidationError, SealingError, PermissionDenied for what the page does not offer."""
    match request.POST.get("do", ""):
        case "reveal":
            secret = _secret(request, target)
            value = target_secrets.target_secret_reveal(secret=secret)
            return _Shown("Signing secret", value, f"Revealed signing secret {secret.pk}.")
        case "public":
            secret = _secret(request, target)
            value = target_secrets.public_key(target_secrets.target_secret_reveal(secret=secret))
            return _Shown("Public key", value, f"Showed the public key of signing secret {secret.pk}.")
        case "rotate":
            overlap_seconds = _number(request, "overlap_seconds", target_secrets.DEFAULT_OVERLAP_SECONDS)
            made = target_secrets.target_secret_rotate(
                target=target, kind=_kind(request), overlap_seconds=overlap_seconds
            )
            return _new(made, f"Rotated the {made.row.kind} signing secret; the old one signs for {overlap_seconds} s.")
        case "add":
            made = target_secrets.target_secret_add(target=target, kind=_kind(request))
            return _new(made, f"Added {made.row.kind} signing secret {made.row.pk}.")
        case "expire":
            secret = target_secrets.target_secret_expire(secret=_secret(request, target))
            return _Shown("", "", f"Signing secret {secret.pk} signs no more.")
        case "replace":
            value = services.target_signing_secret_rotate(target=target)
            return _Shown("Signing secret", value, "Replaced every signing secret.")
        case _:
            raise PermissionDenied


def _new(made: target_secrets.NewSecret, said: str) -> _Shown:
    """Of a pair the public half is what its receivers get."""
    public = target_secrets.public_key(made.value)
    return _Shown("Public key", public, said) if public else _Shown("Signing secret", made.value, said)


def _secret(request: HttpRequest, target: Target) -> TargetSecret:
    """The one that is named, else the newest."""
    pk = _number(request, "secret", 0)
    found = target.secrets.filter(pk=pk).first() if pk else target.secrets.order_by("-pk").first()
    if found is None:
        raise ValidationError("The target has no such secret any more.")
    return found


def _kind(request: HttpRequest) -> SecretKind:
    try:
        return SecretKind(request.POST.get("kind", SecretKind.V1))
    except ValueError:
        raise PermissionDenied from None


def _number(request: HttpRequest, name: str, default: int) -> int:
    text = request.POST.get(name, "")
    if not text:
        return default
    if not (text.isascii() and text.isdigit() and len(text) < 19):
        raise PermissionDenied
    return int(text)
