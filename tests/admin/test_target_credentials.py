"""What a target is shown: set in forms and documents, never read back, and refused where it does not go together."""

import io
import textwrap
from datetime import datetime, timedelta
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.core.exceptions import ValidationError
from django.core.management import call_command
from django.test import Client
from django.utils import timezone

from relay_admin.catalog import document, export, plan, services, target_credentials, target_secrets
from relay_admin.catalog.models import Target, TargetSecret
from relay_contract import nouns, signing, signing_keys
from relay_contract.nouns import MAX_TARGET_SECRETS, SecretKind
from relay_contract.sealing import Sealer
from tests.admin import rows
from tests.contract.test_client_certificates import DAY, KEYS, NOW, client, pem_of

TOKEN = "t0ken-of-the-receiver"
DOCUMENT = """
version: 1
projects:
  - slug: shop
    name: Shop
    lines:
      - slug: v1
        endpoints:
          - slug: orders
            targets:
              - name: billing
                url: https://127.0.0.1:9/hook
"""


def written(**fields: str) -> str:
    """The document with more about its target."""
    return DOCUMENT + textwrap.indent("".join(f"{name}: {value}\n" for name, value in fields.items()), " " * 16)


def apply(text: str, **environment: str) -> list[str]:
    """The plan's lines; nothing is left to do afterwards."""
    wanted = document.read(text)
    made = plan.make(wanted, environment)
    plan.apply(wanted, environment, made)
    assert not plan.make(wanted, environment)
    return str(made).splitlines()


def refused(text: str, **environment: str) -> list[tuple[int, str]]:
    before = (Target.objects.count(), TargetSecret.objects.count())
    with pytest.raises(document.DocumentError) as caught:
        plan.make(document.read(text), environment)
    assert (Target.objects.count(), TargetSecret.objects.count()) == before
    return [(problem.line, problem.text) for problem in caught.value.problems]


def test_a_document_names_the_variables_of_its_secrets(db: None) -> None:
    text = written(auth_kind="bearer", auth_secret_env="A", mapping='{body: {field: "order"}}')
    apply(text, A=TOKEN)
    target = Target.objects.get()
    assert target_credentials.auth_secret_of(target) == TOKEN
    assert target.mapping == {"body": {"field": "order"}}
    changed = apply(text, A="another")
    assert "    auth secret: (secret) -> (secret)" in changed
    assert target_credentials.auth_secret_of(Target.objects.get()) == "another"
    without = written(auth_kind="bearer", mapping='{body: {field: "order"}}')
    assert apply(without) == ["No changes: the catalog is as the document says."]  # it stays as it is
    assert "another" not in export.as_yaml(export.export())


@pytest.mark.parametrize(
    ("fields", "environment", "line", "text"),
    [
        ({"auth_kind": "bearer"}, {}, 11, "auth_secret_env: bearer needs its token."),
        ({"auth_kind": "bearer", "auth_secret_env": "A"}, {"A": "a b"}, 14, "auth_secret_env: A bearer token is"),
        ({"auth_kind": "bearer", "auth_secret_env": "A"}, {"A": "a\nb"}, 14, "A: It is 1 to 4096"),
        ({"auth_secret_env": "A"}, {"A": "a"}, 13, "auth_secret_env: There is no authentication"),
        ({"auth_kind": "basic", "auth_secret_env": "A"}, {"A": "a"}, 11, "auth_config: basic needs `username`."),
        ({"mapping": "{body: {feld: x}}"}, {}, 13, "mapping: At body: "),
        ({"mapping": "{headers: {host: {constant: x}}}"}, {}, 13, "mapping: At headers.host: "),
        ({"auth_kind": "oauth2", "auth_config": "{token_url: 'http://169.254.169.254/', client_id: a}",
          "auth_secret_env": "A"}, {"A": "a"}, 14, "auth_config: "),
        ({"client_key_env": "A"}, {"A": "a"}, 13, "client_key_env: There is no client certificate"),
    ],
)  # fmt: skip
def test_what_does_not_go_together_is_refused_on_its_line(
    db: None, fields: dict[str, str], environment: dict[str, str], line: int, text: str
) -> None:
    [(found, said)] = refused(written(**fields), **environment)
    assert said.startswith(text)
    assert found == line


def certificate_document(pem: str) -> str:
    return written(client_certificate="|\n" + textwrap.indent(pem, "  ").rstrip(), client_key_env="K")


def test_a_certificate_has_its_own_key_and_its_time(db: None) -> None:
    key = KEYS["ec"]
    expired = client(key, start=NOW - 3 * DAY, end=NOW - DAY)
    [(_, text)] = refused(certificate_document(expired), K=pem_of(key))
    assert text.startswith("client_certificate: The certificate expired on")
    [(_, text)] = refused(certificate_document(client(key)), K=pem_of(KEYS["rsa"]))
    assert text == (
        "client_key_env: The private key is not the certificate's: the first certificate has another public key."
    )
    apply(certificate_document(client(key)), K=pem_of(key))
    target = Target.objects.get()
    assert target_credentials.client_key_of(target) == pem_of(key)
    # Once it has expired, a document that changes something else is not refused for it.
    Target.objects.update(client_certificate=expired)
    other = certificate_document(expired).replace("name: Shop", "name: Store")
    assert "    name: 'Shop' -> 'Store'" in apply(other, K=pem_of(key))


@pytest.mark.parametrize("mode", ["async", "sync", "stream"])
def test_targets_of_every_mode_take_every_credential(db: None, mode: str) -> None:
    key = KEYS["ec"]
    pem = "|\n" + textwrap.indent(client(key), "  ").rstrip()
    config = "{token_url: 'https://login.example.com/token', client_id: a}"
    text = written(
        delivery_mode=mode, auth_kind="oauth2", auth_config=config, auth_secret_env="A", client_certificate=pem,
        client_key_env="K",
    )  # fmt: skip
    apply(text, A="secret", K=pem_of(key))
    target = Target.objects.get()
    assert (target.delivery_mode, target.auth_kind, bool(target.sealed_client_key)) == (mode, "oauth2", True)


DEFAULTS = {
    "role": "live", "sample_permyriad": "10000", "stream_total_seconds": "60", "stream_idle_seconds": "5",
    "stream_max_bytes": "9", "heartbeat_seconds": "0", "expire_seconds": "60", "rate_window_seconds": "1",
    "ordering_policy": "continue",
}  # fmt: skip
"""What these tests do not speak of."""


def typed(target: Target, **fields: Any) -> dict[str, Any]:
    """A target's form as a browser sends it."""
    return {
        "endpoint": target.endpoint_id,
        "name": target.name,
        "url": target.url,
        "delivery_mode": "async",
        "is_enabled": "on",
        "headers": "",
        "timeout_seconds": "30",
        "retry_schedule_seconds": "5",
        "auth_kind": "none",
        "auth_config": "{}",
        **DEFAULTS,
        **fields,
    }


def errors_of(answer: Any) -> dict[str, list[str]]:
    assert answer.status_code == 200, answer.headers
    return dict(answer.context["adminform"].form.errors)


def test_the_form_takes_credentials_and_shows_none(client_of, catalog: rows.Catalog) -> None:
    browser: Client = client_of("operators")
    url = f"/admin/catalog/target/{catalog.target.pk}/change/"
    answer = browser.post(url, typed(catalog.target, auth_kind="bearer"))
    assert errors_of(answer) == {"auth_secret": ["bearer needs its token."]}
    answer = browser.post(url, typed(catalog.target, auth_kind="bearer", auth_secret="a b"))
    assert list(errors_of(answer)) == ["auth_secret"]
    assert "a b" not in answer.content.decode().partition("auth_secret")[2][:200]
    answer = browser.post(url, typed(catalog.target, auth_kind="bearer", auth_secret=TOKEN))
    assert answer.status_code == 302
    assert target_credentials.auth_secret_of(Target.objects.get()) == TOKEN
    assert TOKEN not in browser.get(url).content.decode()
    assert TOKEN not in "".join(LogEntry.objects.values_list("change_message", flat=True))
    # Left empty the secret stays, whatever else is changed.
    assert browser.post(url, typed(catalog.target, auth_kind="bearer", timeout_seconds="9")).status_code == 302
    assert target_credentials.auth_secret_of(Target.objects.get()) == TOKEN
    shown = client_of("viewers").get(url).content.decode()
    assert "auth_secret" not in shown
    assert TOKEN not in shown


def test_the_form_says_where_a_mapping_is_wrong(client_of, catalog: rows.Catalog) -> None:
    url = f"/admin/catalog/target/{catalog.target.pk}/change/"
    mapping = '{"body": {"object": {"text": {"field": "a..b"}}}}'
    errors = errors_of(client_of("operators").post(url, typed(catalog.target, mapping=mapping)))
    assert list(errors) == ["mapping"]
    assert errors["mapping"][0].startswith("At body.object.text.field: ")


def test_the_form_checks_a_certificate_and_never_shows_its_key(client_of, catalog: rows.Catalog) -> None:
    browser: Client = client_of("operators")
    url = f"/admin/catalog/target/{catalog.target.pk}/change/"
    key = KEYS["ec"]
    pair = {"client_certificate": client(key), "client_key": pem_of(key), "url": "https://127.0.0.1:9/"}
    assert errors_of(browser.post(url, typed(catalog.target, **{**pair, "url": "http://127.0.0.1:9/"}))) == {
        "client_certificate": ["A certificate is shown over https only, and the URL begins with http:."]
    }
    answer = browser.post(url, typed(catalog.target, **{**pair, "client_key": pem_of(KEYS["rsa"])}))
    assert list(errors_of(answer)) == ["client_key"]
    assert "PRIVATE KEY" not in answer.content.decode().replace("BEGIN PRIVATE KEY----- and so on", "")
    assert browser.post(url, typed(catalog.target, **pair)).status_code == 302
    assert target_credentials.client_key_of(Target.objects.get()) == pem_of(key)


def test_an_endpoints_page_keeps_the_secret_of_a_new_target(client_of, catalog: rows.Catalog) -> None:
    browser: Client = client_of("operators")
    url = f"/admin/catalog/endpoint/{catalog.endpoint.pk}/change/"
    page = browser.get(url).context
    form = {name: field.value() for name, field in ((f.name, f) for f in page["adminform"].form) if field.value()}
    target = typed(catalog.target, auth_kind="bearer", auth_secret=TOKEN, name="second")
    form |= {f"targets-0-{name}": value for name, value in target.items()}
    form |= {"targets-TOTAL_FORMS": 1, "targets-INITIAL_FORMS": 0, "targets-0-endpoint": catalog.endpoint.pk}
    answer = browser.post(url, form)
    assert answer.status_code == 302, answer.context["errors"]
    assert target_credentials.auth_secret_of(Target.objects.get(name="second")) == TOKEN


def test_a_new_master_key_seals_credentials_too(catalog: rows.Catalog, settings: Any) -> None:
    target_credentials.target_auth_secret_set(target=catalog.target, value=TOKEN)
    target_credentials.target_client_key_set(target=catalog.target, value=pem_of(KEYS["ec"]))
    settings.MASTER_KEYS = (b"\x0b" * 32, *settings.MASTER_KEYS)
    services.sealer.cache_clear()
    try:
        said = io.StringIO()
        call_command("rotate_master_key", stdout=said)
    finally:
        services.sealer.cache_clear()
    assert "target credentials: 1 sealed anew" in said.getvalue()
    assert "client keys: 1 sealed anew" in said.getvalue()
    target, alone = Target.objects.get(), Sealer(b"\x0b" * 32)
    assert alone.unseal(target.sealed_auth_secret, nouns.target_auth_binding(target.pk)) == TOKEN
    assert alone.unseal(target.sealed_client_key, nouns.target_client_key_binding(target.pk)) == pem_of(KEYS["ec"])


def secrets_signing(target: Target, at: datetime | None = None) -> list[TargetSecret]:
    """Those that sign at a moment, newest first."""
    moment = at or timezone.now()
    return [one for one in target.secrets.order_by("-pk") if one.expires_at is None or one.expires_at > moment]


def test_a_rotation_lets_the_old_secret_sign_for_its_overlap(catalog: rows.Catalog) -> None:
    [old] = secrets_signing(catalog.target)
    pair = target_secrets.target_secret_add(target=catalog.target, kind=SecretKind.V1A)
    made = target_secrets.target_secret_rotate(target=catalog.target, overlap_seconds=3600)
    signing_now = secrets_signing(catalog.target)
    assert [one.pk for one in signing_now] == [made.row.pk, pair.row.pk, old.pk]
    later = timezone.now() + timedelta(seconds=3601)
    after = secrets_signing(catalog.target, later)
    assert [one.pk for one in after] == [made.row.pk, pair.row.pk]  # another kind is not touched
    assert services.target_signing_secret_reveal(target=catalog.target) == made.value
    # A rotation at once ends what still overlaps, and lengthens nothing.
    last = target_secrets.target_secret_rotate(target=catalog.target, overlap_seconds=0)
    assert [one.pk for one in secrets_signing(catalog.target)] == [
        last.row.pk,
        pair.row.pk,
    ]


def test_some_secret_always_signs_and_never_too_many(catalog: rows.Catalog) -> None:
    [first] = secrets_signing(catalog.target)
    with pytest.raises(ValidationError, match="only secret that signs"):
        target_secrets.target_secret_expire(secret=first)
    for _ in range(MAX_TARGET_SECRETS - 1):
        target_secrets.target_secret_add(target=catalog.target)
    with pytest.raises(ValidationError, match="At most 10 secrets"):
        target_secrets.target_secret_add(target=catalog.target)
    with pytest.raises(ValidationError, match="At most 10 secrets"):
        target_secrets.target_secret_rotate(target=catalog.target)
    assert TargetSecret.objects.filter(expires_at=None).count() == MAX_TARGET_SECRETS
    target_secrets.target_secret_expire(secret=first)
    with pytest.raises(ValidationError, match="of the kind v1,"):
        target_secrets.target_secret_rotate(target=catalog.target, kind=SecretKind.V1A, value=signing.new_secret())


def test_the_api_rotates_and_tells_a_secret_once(api_client: Client, token_of, catalog: rows.Catalog) -> None:
    url = f"/api/v1/targets/{catalog.target.pk}/secrets"
    headers = token_of("operators")
    assert api_client.post(url, {}, "application/json", headers=token_of("viewers")).status_code == 403
    made = api_client.post(url, {"overlapSeconds": 60}, "application/json", headers=headers)
    assert (made.status_code, made["Cache-Control"]) == (201, "no-store")
    body = made.json()
    assert body["secret"].startswith("whsec_")
    assert set(body) == {"id", "kind", "createdAt", "expiresAt", "secret"}
    pair = api_client.post(url, {"kind": "v1a", "overlapSeconds": None}, "application/json", headers=headers).json()
    private = signing_keys.parse_secret(pair["secret"])
    assert isinstance(private, signing_keys.Ed25519Key)
    assert private.public().text() == pair["publicKey"]
    listed = api_client.get(url, headers=headers)
    assert [(one["id"], one["kind"], one["expiresAt"] is None) for one in listed.json()["results"]] == [
        (pair["id"], "v1a", True),
        (body["id"], "v1", True),
        (catalog.target.secrets.order_by("pk")[0].pk, "v1", False),
    ]
    assert body["secret"] not in listed.content.decode()
    said = list(LogEntry.objects.order_by("id").values_list("change_message", flat=True))
    assert said == [f"Made v1 signing secret {body['id']}.", f"Made v1a signing secret {pair['id']}."]
    for secret_id in (body["id"], body["id"]):
        assert api_client.delete(f"{url}/{secret_id}", headers=headers).status_code == 204
    assert api_client.delete(f"{url}/{2**40}", headers=headers).status_code == 404
    bad = api_client.post(url, {"overlapSeconds": 604_801}, "application/json", headers=headers)
    assert (bad.status_code, list(bad.json()["fields"])) == (400, ["overlapSeconds"])


@pytest.fixture
def api_client() -> Client:
    return Client(enforce_csrf_checks=True)


def test_the_page_rotates_adds_and_expires(client_of, catalog: rows.Catalog) -> None:
    browser: Client = client_of("operators")
    url = f"/admin/catalog/target/{catalog.target.pk}/signing-secret/"
    first = TargetSecret.objects.get()
    shown = browser.post(url, {"do": "add", "kind": "v1a"}).content.decode()
    pair = TargetSecret.objects.order_by("-pk")[0]
    public = target_secrets.public_key(target_secrets.target_secret_reveal(secret=pair))
    assert public.replace("+", "&#x2B;") in shown.replace("+", "&#x2B;")  # what a receiver gets of a pair
    assert "whsk_" not in shown
    refused = browser.post(url, {"do": "expire", "secret": 2**59})
    assert refused.status_code == 409
    assert "no such secret" in refused.content.decode()
    assert browser.post(url, {"do": "expire", "secret": first.pk}).status_code == 302
    last = browser.post(url, {"do": "expire", "secret": pair.pk})
    assert last.status_code == 409
    assert "the only secret that signs" in last.content.decode()
    assert browser.post(url, {"do": "rotate", "kind": "v9"}).status_code == 403
    assert browser.post(url, {"do": "rotate", "overlap_seconds": "soon"}).status_code == 403
    assert browser.post(url, {"do": "rotate", "overlap_seconds": "604801"}).status_code == 409
    page = browser.get(url).content.decode()
    assert (page.count('value="reveal"'), page.count('value="public"')) == (1, 1)  # nothing is done with an expired one
