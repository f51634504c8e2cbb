"""Catalog documents: what they mean, that they go there and back, and that a bad one changes nothing."""

import io
import re
import textwrap
from pathlib import Path

import pytest
from django.conf import settings
from django.core.management import CommandError, call_command
from django.utils import timezone
from environ.fileaware_mapping import FileAwareMapping
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from relay_admin.access import services as access
from relay_admin.access.models import RelayKey
from relay_admin.catalog import document, export, plan, services
from relay_admin.catalog.models import (
    HostKey,
    Line,
    Model,
    ModelAlias,
    Policy,
    Pricing,
    Project,
    RateLimit,
    Target,
)
from relay_admin.catalog.sections import SECTIONS
from relay_contract import nouns, tokens
from relay_contract.pricing import PriceMeter
from tests.admin import rows

ROOT = Path(__file__).resolve().parents[2]
TOKEN = tokens.mint(nouns.KeyMode.LIVE).token
ENVIRONMENT = {
    "VENDOR_KEY": "vendor-key-value",
    "VENDOR_KEY_2": "another-value",
    "HOOK_SECRET": rows.SIGNING_SECRET,
    "APP_TOKEN": TOKEN,
    "TEST_TOKEN": tokens.mint(nouns.KeyMode.TEST).token,
    "NOT_A_TOKEN": "rk_live_nonsense",
    "EMPTY": "",
}
HEAD = "version: 1\n"
WHOLE = """
version: 1
rate_limits:
  - slug: calls
    rules:
      - {meter: requests, amount: 600, window_seconds: 60}
      - {meter: concurrency, amount: 20, window_seconds: 30}
policies:
  - slug: all
    models: ["*", "-secret-*"]
    rate_limit: calls
hosts:
  - slug: vendor
    base_url: http://127.0.0.1:9/v1
    first_byte_timeout_ms: 5000
    keys:
      - {name: main, value_env: VENDOR_KEY}
models:
  - name: gpt
    bindings:
      - {host: vendor, wire_shape: openai_chat, upstream_name: gpt-1, priority: 3}
projects:
  - slug: shop
    name: Shop
    lines:
      - slug: v1
        endpoints:
          - slug: orders
            max_body_bytes: 2048
            targets:
              - name: billing
                url: http://127.0.0.1:9/hook
                headers: {x-tenant: blue}
                retry_schedule_seconds: [1, 2]
                signing_secret_env: HOOK_SECRET
    relay_keys:
      - {name: app, scopes: [relay], policy: all, token_env: APP_TOKEN, expires_at: 2099-01-01T00:00:00Z}
"""


def apply(text: str, *, prune: bool = False) -> list[plan.MintedToken]:
    wanted = document.read(textwrap.dedent(text))
    return plan.apply(wanted, ENVIRONMENT, plan.make(wanted, ENVIRONMENT, prune=prune), prune=prune)


def planned(text: str, *, prune: bool = False) -> list[str]:
    made = plan.make(document.read(textwrap.dedent(text)), ENVIRONMENT, prune=prune)
    return [line for step in made.steps for line in str(step).splitlines()]


def problems(text: str) -> list[tuple[int, str]]:
    """Each with its line, counted from the first written one."""
    with pytest.raises(document.DocumentError) as refused:
        plan.make(document.read(textwrap.dedent(text).lstrip("\n")), ENVIRONMENT)
    return [(problem.line, problem.text) for problem in refused.value.problems]


def everything() -> dict[str, list[dict[str, object]]]:
    """All rows of the catalog."""
    return {section.name: list(section.model._default_manager.order_by("pk").values()) for section in SECTIONS.values()}


def test_a_document_becomes_rows(db: None) -> None:
    assert apply(WHOLE) == []
    target = Target.objects.get()
    assert (str(target), target.headers, target.retry_schedule_seconds) == (
        "shop/v1/orders:billing",
        {"x-tenant": "blue"},
        [1, 2],
    )
    assert services.target_signing_secret_reveal(target=target) == rows.SIGNING_SECRET
    key = HostKey.objects.get()
    assert services.sealer().unseal(key.sealed_value, nouns.host_key_binding(key.pk)) == "vendor-key-value"
    assert key.value_env == "VENDOR_KEY"
    assert bytes(RelayKey.objects.get().token_hash) == tokens.hash_token(TOKEN)
    assert nouns.rules_from_json(RateLimit.objects.get().rules) == (
        nouns.Rule(nouns.Meter.REQUESTS, 600, 60),
        nouns.Rule(nouns.Meter.CONCURRENCY, 20, 30),
    )


def test_applying_twice_changes_nothing(db: None) -> None:
    apply(WHOLE)
    before = everything()
    assert planned(WHOLE) == []
    assert apply(WHOLE) == []
    assert everything() == before


def test_what_the_relay_disabled_is_not_enabled_by_applying_again(db: None) -> None:
    apply(WHOLE)
    Target.objects.update(is_enabled=False, gone_at=timezone.now(), disabled_reason="gone")
    assert planned(WHOLE) == []
    apply(WHOLE.replace("retry_schedule_seconds: [1, 2]", "retry_schedule_seconds: [3]"))
    assert Target.objects.values_list("is_enabled", "retry_schedule_seconds").get() == (False, [3])
    Target.objects.update(gone_at=None, disabled_reason="")  # an operator's own choice, which is drift
    apply(WHOLE)
    assert not Target.objects.get().is_enabled


def test_an_export_goes_there_and_back(db: None) -> None:
    apply(WHOLE)
    text = export.as_yaml(export.export())
    assert planned(text) == []
    assert planned(text, prune=True) == []
    before = everything()
    assert apply(text) == []
    assert everything() == before
    assert export.as_yaml(export.export()) == text
    for secret in (*ENVIRONMENT.values(), "whsec_"):
        assert not secret or secret not in text


EVERY_FIELD = """
version: 1
rate_limits:
  - slug: calls
    rules:
      - {meter: requests, amount: 600, window_seconds: 60, algorithm: gcra, burst: 5}
      - {meter: requests, amount: 9, window_seconds: 60, algorithm: sliding_window}
      - {meter: cost, amount: 1000000, window_seconds: 60}
policies:
  - slug: all
    models: ["*"]
    user_rate_limit: calls
    selection: latency
    keeps_affinity: false
    fallbacks:
      - {models: [gpt*], when: [any_failure, content_filter], then: [claude]}
    unpriced: estimate
    estimate_pricing: vendor/gpt
    hold_seconds: 2
    is_strict: true
    captures_payloads: true
prices:
  - slug: vendor/gpt
    rates:
      - {meter: output, usd_per_million: "0.000000001"}
      - {meter: input, usd_per_million: 1.250, above_tokens: 200000}
      - {meter: input, usd_per_million: 0.0375}
      - {meter: call, usd_per_thousand: 12}
hosts:
  - slug: vendor
    base_url: http://127.0.0.1:9/v1
    first_token_timeout_ms: 7
    passthrough_paths: [/files, /batches/*]
    keys:
      - {name: kept, reference: "env:VENDOR_KEY", rate_limit: calls}
models:
  - name: gpt
    capabilities: {sampling_limits: one, tools: true, audio: null, context_tokens: 9, thinking_modes: [manual]}
    aliases:
      - latest
      - {name: newest, description: Until the next one.}
    bindings:
      - {host: vendor, wire_shape: gemini, upstream_name: g, weight: 0, pricing: vendor/gpt, total_timeout_ms: 5,
         idle_timeout_ms: 4, first_byte_timeout_ms: 3, first_token_timeout_ms: 2}
projects:
  - slug: shop
    name: Shop
    relay_keys:
      - {name: app, scopes: [inference], user: ann, captures_payloads: true, token_env: APP_TOKEN}
"""


def test_every_field_goes_there_and_back(db: None) -> None:
    ann = rows.user("ann")
    apply(EVERY_FIELD)
    assert RelayKey.objects.get().user == ann
    assert nouns.rules_from_json(RateLimit.objects.get().rules)[0] == nouns.Rule(
        nouns.Meter.REQUESTS, 600, 60, nouns.Algorithm.GCRA, 5
    )
    assert Pricing.objects.get().rates == [
        {"meter": "input", "nanousd_per_million": 37_500_000, "above_tokens": 0},
        {"meter": "input", "nanousd_per_million": 1_250_000_000, "above_tokens": 200_000},
        {"meter": "output", "nanousd_per_million": 1, "above_tokens": 0},
        {"meter": "call", "nanousd_per_million": 12 * 10**12, "above_tokens": 0},
    ]
    assert Model.objects.get().capabilities == {
        "context_tokens": 9, "tools": True, "thinking_modes": ["manual"], "sampling_limits": "one",
    }  # fmt: skip
    key = HostKey.objects.get()
    assert (bytes(key.sealed_value), key.value_fingerprint, key.reference) == (b"", "", "env:VENDOR_KEY")
    assert planned(EVERY_FIELD, prune=True) == []
    text = export.as_yaml(export.export())
    assert planned(text, prune=True) == []
    for written in (
        "- {meter: input, usd_per_million: 1.25, above_tokens: 200000}",
        "- {meter: output, usd_per_million: 0.000000001}",
        "- {meter: call, usd_per_thousand: 12}",
        "- {meter: requests, amount: 9, window_seconds: 60}",
        "- latest\n",
    ):
        assert written in text
    before = everything()
    apply(text)
    assert everything() == before
    assert export.as_yaml(export.export()) == text


def test_a_plan_shows_prices_as_people_read_them(db: None) -> None:
    rows.user("ann")
    apply(EVERY_FIELD)
    rest = ", input above 200000 1.25, output 0.000000001, call 12"
    assert planned(EVERY_FIELD.replace("0.0375", "0.04")) == [
        "~ price vendor/gpt",
        f"    rates: input 0.0375{rest} -> input 0.04{rest}",
    ]


def test_an_alias_moves_when_it_is_taken_out_first(db: None) -> None:
    apply(HEAD + "models: [{name: a, aliases: [x]}, {name: b}]\n")
    moved = HEAD + "models: [{name: a, aliases: []}, {name: b, aliases: [x]}]\n"
    assert problems(moved) == [(2, "The alias 'x' belongs to model 'a' already.")]
    apply(moved, prune=True)
    assert str(ModelAlias.objects.get().model) == "b"
    assert problems(HEAD + "models: [{name: x}]\n") == [
        (2, "'x' is an alias of model 'b': take it out there first."),
    ]
    apply(HEAD + "models: [{name: x, aliases: [a, b]}]\n", prune=True)
    assert list(ModelAlias.objects.values_list("model__name", "name")) == [("x", "a"), ("x", "b")]


def test_a_key_keeps_a_value(db: None) -> None:
    apply(WHOLE)
    referring = WHOLE.replace("value_env: VENDOR_KEY", 'reference: "file:/run/secrets/vendor"')
    assert planned(referring) == ["~ host key vendor/main", "    reference: '' -> 'file:/run/secrets/vendor'"]
    apply(referring)
    assert services.host_key_opens(host_key=HostKey.objects.get())
    HostKey.objects.update(sealed_value=b"", value_fingerprint="")
    without = WHOLE.replace(", value_env: VENDOR_KEY", "")
    assert problems(without) == [
        (16, "The key has no value without its `reference`: name one in `value_env`."),
    ]
    apply(WHOLE)
    assert services.host_key_opens(host_key=HostKey.objects.get())


texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=40)


@given(
    descriptions=st.lists(texts, min_size=2, max_size=4),
    name=texts.filter(str.strip),
    headers=st.dictionaries(
        st.sampled_from(["x-a", "x-true", "1", "null", "x-b"]), st.sampled_from(["yes", "1", "", "a: b", "#x", "null"])
    ),
    models=st.lists(st.sampled_from(["*", "-a*", "1", "true", "gpt-4o", "a/b:c@d", "0x1f", "1e3"]), max_size=5),
    schedule=st.lists(st.integers(1, 604_800), max_size=5),
    expires_at=st.none() | st.datetimes(timezones=st.timezones()),
)
@hypothesis_settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_is_stored_goes_there_and_back(
    catalog: rows.Catalog, *, descriptions, name, headers, models, schedule, expires_at
) -> None:
    for row, text in zip((catalog.project, catalog.host, catalog.target, catalog.model), descriptions, strict=False):
        row.description = text
        row.save()
    Project.objects.update(name=name)
    Policy.objects.update(models=models)
    Target.objects.update(headers=headers, retry_schedule_seconds=schedule)
    RelayKey.objects.update(expires_at=expires_at)
    text = export.as_yaml(export.export())
    assert planned(text, prune=True) == []


def test_a_plan_says_old_and_new_and_no_secret(db: None) -> None:
    apply(WHOLE)
    changed = (
        WHOLE.replace("amount: 600", "amount: 700")
        .replace("rate_limit: calls", "rate_limit: null")
        .replace("VENDOR_KEY}", "VENDOR_KEY_2}")
        .replace("x-tenant: blue", "x-token: classified")
        .replace("name: Shop", "name: Store")
    )
    lines = planned(changed)
    assert [line for line in lines if line.startswith("~")] == [
        "~ rate limit calls",
        "~ policy all",
        "~ host key vendor/main",
        "~ project shop",
        "~ target shop/v1/orders/billing",
    ]
    assert "    rate_limit: 'calls' -> none" in lines
    assert "    name: 'Shop' -> 'Store'" in lines
    assert "    headers: [x-tenant] -> [x-token]" in lines
    assert "    value_env: 'VENDOR_KEY' -> 'VENDOR_KEY_2'" in lines
    assert not re.search("classified|another-value|vendor-key-value", "\n".join(lines))
    apply(changed)
    assert planned(changed) == []


def test_a_target_gets_a_secret_when_none_is_given_and_keeps_it(db: None) -> None:
    without = WHOLE.replace("                signing_secret_env: HOOK_SECRET\n", "")
    apply(without)
    secret = services.target_signing_secret_reveal(target=Target.objects.get())
    assert secret.startswith("whsec_")
    assert planned(without) == []
    apply(WHOLE)
    assert services.target_signing_secret_reveal(target=Target.objects.get()) == rows.SIGNING_SECRET


def test_a_key_without_a_token_is_minted_and_shown_once(db: None) -> None:
    without = WHOLE.replace("token_env: APP_TOKEN, ", "")
    (minted,) = apply(without)
    assert minted.path == ("shop", "app")
    assert bytes(RelayKey.objects.get().token_hash) == tokens.hash_token(minted.token)
    assert apply(without) == []
    assert minted.token not in repr(minted)


def test_nothing_is_deleted_unless_asked(db: None) -> None:
    apply(WHOLE)
    smaller = """
        version: 1
        policies: []
        models:
          - name: gpt
        projects:
          - slug: shop
            name: Shop
            lines: []
            relay_keys: []
    """
    assert planned(smaller) == []
    assert planned(smaller, prune=True) == ["- relay key shop/app (revoked)", "- line shop/v1", "- policy all"]


def test_prune_refuses_to_take_what_is_in_use_and_undoes_the_rest(db: None) -> None:
    apply(WHOLE)
    before = everything()
    with pytest.raises(document.DocumentError, match="policy all cannot be deleted: it is used by relay key shop/app"):
        apply("version: 1\npolicies: []\nhosts: []\n", prune=True)
    assert everything() == before


def test_prune_leaves_parts_alone_that_are_not_given(db: None) -> None:
    apply(WHOLE)
    apply("version: 1\nprojects: [{slug: shop, name: Shop, lines: []}]\n", prune=True)
    assert Line.objects.count() == 0
    assert (Policy.objects.count(), RelayKey.objects.filter(revoked_at=None).count()) == (1, 1)


def test_a_revoked_name_is_not_taken_again(db: None) -> None:
    apply(WHOLE)
    access.relay_key_revoke(relay_key=RelayKey.objects.get())
    (problem,) = problems(WHOLE)
    assert problem == (36, "A key of this name was revoked, and that is for good. Choose another name.")
    assert "relay_keys" not in export.as_yaml(export.export())


def test_a_change_between_plan_and_apply_is_noticed(db: None) -> None:
    wanted = document.read(WHOLE)
    shown = plan.make(wanted, ENVIRONMENT)
    Project.objects.create(slug="shop", name="Somebody was faster")
    before = everything()
    with pytest.raises(document.DocumentError, match="changed since the plan was made"):
        plan.apply(wanted, ENVIRONMENT, shown)
    assert everything() == before


VALUE_OR_REFERENCE = "`value_env`, the variable that holds its value, or a `reference` to where it is kept"
BAD = {
    "empty": ("", [(1, "The document is empty. Start it with `version: 1`.")]),
    "not a mapping": ("- 1\n", [(1, "Write a catalog document as `name: value` lines.")]),
    "no version": ("hosts: []\n", [(1, "Write `version: 1`: it is the version of this format.")]),
    "another version": ("version: 2\n", [(1, "Write `version: 1`: it is the version of this format.")]),
    "unknown part": (HEAD + "host: []\n", [(2, "a catalog document has no field `host`. Did you mean `hosts`?")]),
    "unknown field": (
        HEAD + "models:\n  - name: a\n    ownd_by: b\n",
        [(4, "a model has no field `ownd_by`. Did you mean `owned_by`?")],
    ),
    "duplicate field": (
        HEAD + "models:\n  - name: a\n    name: b\n",
        [(4, "`name` is here twice; first on line 3.")],
    ),
    "duplicate entry": (
        HEAD + "models:\n  - name: a\n  - name: a\n",
        [(4, "model 'a' is here twice; first on line 3.")],
    ),
    "missing name": (HEAD + "models:\n  - owned_by: b\n", [(3, "A model needs `name`.")]),
    "missing url": (HEAD + "hosts:\n  - slug: a\n", [(3, "A host needs `base_url`.")]),
    "wrong type": (
        HEAD + "models:\n  - name: [a]\n",
        [(3, "Write text here; put it in quotes if YAML would read it otherwise.")],
    ),
    "number for text": (
        HEAD + "models:\n  - name: 12\n",
        [(3, "Write text here; put it in quotes if YAML would read it otherwise.")],
    ),
    "text for number": (
        HEAD + "hosts:\n  - slug: a\n    base_url: http://127.0.0.1/\n    total_timeout_ms: soon\n",
        [(4, "base_url: Leave out the slash at the end and any query."), (5, "Write a whole number.")],
    ),
    "text for truth": (
        HEAD + "models:\n  - name: a\n    is_enabled: maybe\n",
        [(4, "Write true or false.")],
    ),
    "hexadecimal": (
        HEAD + "hosts:\n  - slug: a\n    base_url: http://127.0.0.1\n    total_timeout_ms: 0x10\n",
        [(5, "Write a whole number. In decimal, please.")],
    ),
    "dangling reference": (
        HEAD + "policies:\n  - slug: a\n    rate_limit: b\n",
        [(4, "There is no rate limit 'b', here or in the catalog.")],
    ),
    "dangling host": (
        HEAD + "models:\n  - name: a\n    bindings:\n      - {host: b, wire_shape: openai_chat, upstream_name: c}\n",
        [(5, "There is no host 'b', here or in the catalog.")],
    ),
    "unknown shape": (
        HEAD + "hosts:\n  - {slug: b, base_url: 'http://127.0.0.1'}\nmodels:\n  - name: a\n    bindings:\n"
        "      - {host: b, wire_shape: telepathy, upstream_name: c}\n",
        [(7, "wire_shape: Value 'telepathy' is not a valid choice.")],
    ),
    "out of bounds": (
        HEAD + "hosts:\n  - {slug: b, base_url: 'http://127.0.0.1', idle_timeout_ms: 99999999999}\n",
        [(3, "idle_timeout_ms: Ensure this value is less than or equal to 2147483647.")],
    ),
    "rule": (
        HEAD + "rate_limits:\n  - slug: a\n    rules:\n      - {meter: requests, amount: 5}\n",
        [(5, "A rule needs `window_seconds`.")],
    ),
    "rule of nothing": (
        HEAD + "rate_limits:\n  - slug: a\n    rules:\n      - {meter: requests, amount: 0, window_seconds: 1}\n",
        [(5, "rules: amount is a whole number from 1 to 9007199254740991.")],
    ),
    "naive time": (
        HEAD + "projects:\n  - slug: a\n    name: a\n    relay_keys:\n      - name: k\n        scopes: [relay]\n"
        "        expires_at: 2030-01-01 10:00\n",
        [(8, "Write a time with its zone, such as 2027-01-31T12:00:00Z.")],
    ),
    "no scope": (
        HEAD + "projects:\n  - slug: a\n    name: a\n    relay_keys:\n      - name: k\n",
        [(6, "A relay key needs `scopes`.")],
    ),
    "new host key without a value": (
        HEAD + "hosts:\n  - slug: a\n    base_url: http://127.0.0.1\n    keys:\n      - name: k\n",
        [(6, f"A new host key needs {VALUE_OR_REFERENCE}.")],
    ),
    "unknown capability": (
        HEAD + "models:\n  - name: a\n    capabilities:\n      tols: true\n      images: maybe\n      documents: null\n"
        "      sampling_limits: none\n",
        [
            (5, "capabilities has no field `tols`. Did you mean `tools`?"),
            (6, "Write true or false."),
        ],
    ),
    "a capability's word": (
        HEAD + "models:\n  - name: a\n    capabilities: {sampling_limits: none}\n",
        [(4, "capabilities: sampling_limits is one of any, one, nothing.")],
    ),
    "rates": (
        HEAD + "prices:\n  - slug: a\n    rates:\n      - {meter: inptu, usd_per_million: 1}\n"
        "      - {meter: input, usd_per_thousand: 1}\n      - {meter: input, usd_per_million: 0.0000000001}\n"
        "      - {meter: input, usd_per_million: -1}\n      - {meter: input, usd_per_milion: 1}\n"
        "      - {meter: call, usd_per_thousand: .inf}\n",
        [
            (5, f"A meter is one of {', '.join(PriceMeter)}."),
            (6, "A rate for input has its price in `usd_per_million`, and in nothing else."),
            (
                7,
                "This cannot be a price in USD: a price is stored to the billionth of a USD, and this one is finer.",
            ),
            (8, "This cannot be a price in USD: write a price such as 1.25."),
            (9, "A rate for input has its price in `usd_per_million`, and in nothing else."),
            (9, "a rate has no field `usd_per_milion`. Did you mean `usd_per_million`?"),
            (10, "This cannot be a price in USD: write a price such as 1.25."),
        ],
    ),
    "one rate twice": (
        HEAD + "prices:\n  - slug: a\n    rates:\n      - {meter: input, usd_per_million: 1}\n"
        "      - {meter: input, usd_per_million: 2}\n",
        [(5, "rates: input above 0 tokens is here twice.")],
    ),
    "fallbacks": (
        HEAD + "policies:\n  - slug: a\n    fallbacks:\n      - {models: [a], when: [any_failure]}\n"
        "  - slug: b\n    fallbacks: [{models: [a], when: [boredom], then: [b]}]\n",
        [
            (5, "A fallback needs `then`."),
            (7, f"fallbacks: 'boredom': a condition is one of {', '.join(nouns.FallbackCondition)}."),
        ],
    ),
    "burst of a window": (
        HEAD + "rate_limits:\n  - slug: a\n    rules:\n"
        "      - {meter: requests, amount: 5, window_seconds: 1, burst: 2}\n",
        [(5, f"rules: An algorithm is one of {', '.join(nouns.Algorithm)}.")],
    ),
    "a reference that is the secret": (
        HEAD
        + "hosts:\n  - slug: a\n    base_url: http://127.0.0.1\n    keys:\n      - {name: k, reference: sk-oops}\n",
        [(6, "reference: Write env:NAME, file:/path or vault:URL#field.")],
    ),
    "dangling price": (
        HEAD + "hosts:\n  - {slug: b, base_url: 'http://127.0.0.1'}\nmodels:\n  - name: a\n    bindings:\n"
        "      - {host: b, wire_shape: gemini, upstream_name: c, pricing: d}\n",
        [(7, "There is no price 'd', here or in the catalog.")],
    ),
    "nobody": (
        HEAD + "projects:\n  - slug: a\n    name: a\n    relay_keys:\n"
        "      - {name: k, scopes: [relay], user: nobody}\n",
        [(6, "There is no user 'nobody'. People are made in the admin.")],
    ),
    "an alias that is a model": (
        HEAD + "models:\n  - name: a\n    aliases: [b]\n  - name: b\n",
        [(4, "'b' is the name of a model: an alias of it would never count.")],
    ),
    "an alias of two models": (
        HEAD + "models:\n  - name: a\n    aliases: [x]\n  - name: b\n    aliases: [{name: x}]\n",
        [(6, "The alias 'x' belongs to model 'a' already.")],
    ),
    "variable not set": (
        HEAD + "hosts:\n  - slug: a\n    base_url: http://127.0.0.1\n    keys:\n      - {name: k, value_env: NONE}\n"
        "      - {name: l, value_env: EMPTY}\n",
        [(6, "The environment variable NONE is not set."), (7, "The environment variable EMPTY is not set.")],
    ),
    "secret in place of its variable": (
        HEAD
        + "hosts:\n  - slug: a\n    base_url: http://127.0.0.1\n    keys:\n      - {name: k, value_env: sk-oops}\n",
        [(6, "Write the name of an environment variable here, never the secret itself.")],
    ),
    "bad token": (
        HEAD + "projects:\n  - slug: a\n    name: a\n    relay_keys:\n"
        "      - {name: k, scopes: [relay], token_env: NOT_A_TOKEN}\n"
        "      - {name: l, scopes: [relay], token_env: TEST_TOKEN}\n",
        [
            (6, "NOT_A_TOKEN: Not a relay key: one looks like rk_live_ or rk_test_ and 50 letters and digits."),
            (7, "TEST_TOKEN: This is a test key and the entry says live."),
        ],
    ),
    "one token twice": (
        HEAD + "projects:\n  - slug: a\n    name: a\n    relay_keys:\n"
        "      - {name: k, scopes: [relay], token_env: APP_TOKEN}\n"
        "      - {name: l, scopes: [relay], token_env: APP_TOKEN}\n",
        [(7, "APP_TOKEN: The key on line 6 has the same token.")],
    ),
    "header of the relay": (
        HEAD
        + "projects:\n  - slug: a\n    name: a\n    lines:\n      - slug: v1\n        endpoints:\n          - slug: e\n"
        "            targets:\n              - name: t\n                url: http://127.0.0.1\n"
        "                headers:\n                  webhook-id: x\n",
        [(13, "headers: webhook-id is written by the relay on every delivery and cannot be set for a target.")],
    ),
    "private address": (
        HEAD
        + "projects:\n  - slug: a\n    name: a\n    lines:\n      - slug: v1\n        endpoints:\n          - slug: e\n"
        "            targets:\n              - name: t\n                url: http://10.0.0.1/x\n",
        None,
    ),
    "anchor": (HEAD + "models:\n  - &a {name: a}\n  - *a\n", None),
    "alias bomb": (HEAD + "a: &a [x, x]\nb: &b [*a, *a]\nc: [*b, *b]\n", None),
    "tag": (HEAD + "models: !!python/object/apply:os.system ['true']\n", None),
    "two documents": (HEAD + "---\n" + HEAD, None),
    "deep": (HEAD + "models: " + "[" * 40 + "]" * 40 + "\n", None),
    "not yaml": (HEAD + "models: [\n", None),
    "nul": (HEAD + 'models:\n  - {name: a, description: "\\0"}\n', None),
    "nul byte": (HEAD + "models:\n  - {name: a\0}\n", None),
}
LINES = {"private address": 11, "anchor": 3, "alias bomb": 2, "tag": 2, "two documents": 2, "deep": 2, "not yaml": 3,
         "nul": 3, "nul byte": 3}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_a_bad_document_is_refused_with_its_lines(name: str, db: None) -> None:
    text, expected = BAD[name]
    found = problems(text)
    if expected is None:
        assert [line for line, _ in found] == [LINES[name]]
    else:
        assert found == expected
    assert all(section.model._default_manager.count() == 0 for section in SECTIONS.values())


def test_every_problem_is_reported_at_once(db: None) -> None:
    text = HEAD + "models:\n  - nam: a\n  - name: b\n    is_enabled: 1\npolicies:\n  - slug: B\n    rate_limit: none\n"
    assert [line for line, _ in problems(text)] == [3, 3, 5, 7, 8]


def test_a_document_is_text_of_a_bounded_size() -> None:
    with pytest.raises(document.DocumentError, match="larger than"):
        document.read(b"#" * (document.MAX_BYTES + 1))
    with pytest.raises(document.DocumentError, match="line 2: This is not UTF-8"):
        document.read(b"version: 1\n\xff\n")


def test_a_row_that_is_refused_late_undoes_the_rest(db: None) -> None:
    """Two projects cannot have keys with one token: only the database knows, when one of them is there already."""
    apply(WHOLE)
    before = everything()
    text = HEAD + (
        "models: [{name: extra}]\nprojects:\n  - slug: other\n    name: Other\n    relay_keys:\n"
        "      - {name: k, scopes: [relay], token_env: APP_TOKEN}\n"
    )
    with pytest.raises(document.DocumentError, match=r"line 7: relay key: .*already exists"):
        apply(text)
    assert everything() == before


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A document on disk, with its variables in the environment."""
    for name, value in ENVIRONMENT.items():
        monkeypatch.setitem(settings.ENVIRONMENT, name, value)
    path = tmp_path / "catalog.yaml"
    path.write_text(WHOLE)
    return path


def run(*arguments: str) -> str:
    output = io.StringIO()
    call_command("catalog", *arguments, stdout=output)
    return output.getvalue()


def test_the_command_shows_a_plan_and_needs_a_yes(file: Path, db: None) -> None:
    with pytest.raises(CommandError, match="Add --yes"):
        run("apply", str(file))
    assert Project.objects.count() == 0
    with pytest.raises(SystemExit) as differs:
        run("diff", str(file))
    assert differs.value.code == 2
    assert "11 to create, 0 to change, 0 to delete." in run("apply", str(file), "--yes")
    assert run("diff", str(file)) == "No changes: the catalog is as the document says.\n"
    exported = file.with_name("exported.yaml")
    exported.write_text(run("export"))
    assert run("diff", str(exported), "--prune") == "No changes: the catalog is as the document says.\n"


def test_the_command_reports_what_it_cannot_read(file: Path, db: None) -> None:
    file.write_text("version: 1\nmodel: []\n")
    with pytest.raises(CommandError, match="nothing was changed:\nline 2: a catalog document has no field `model`"):
        run("apply", str(file), "--yes")
    with pytest.raises(CommandError, match="cannot be read: No such file"):
        run("diff", str(file.with_name("absent.yaml")))


def test_the_example_in_the_docs_is_true(db: None) -> None:
    page = (ROOT / "docs" / "catalog-yaml.md").read_text(encoding="utf-8")
    (example,) = re.findall(r"```yaml\n(version: 1\n.*?)```", page, re.DOTALL)
    environment = {"EXAMPLE_VENDOR_KEY": "x", "EXAMPLE_SIGNING_SECRET": rows.SIGNING_SECRET, "EXAMPLE_RELAY_KEY": TOKEN}
    wanted = document.read(example)
    plan.apply(wanted, environment, plan.make(wanted, environment))
    assert not plan.make(wanted, environment, prune=True)


FRAGMENTS = [
    pytest.param(fragment, id=f"{page.stem}-{number}")
    for page in sorted((ROOT / "docs").glob("*.md"))
    for number, fragment in enumerate(re.findall(r"```yaml\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL))
    if not fragment.startswith(("version:", "# .github/"))  # whole documents, and other files
]


@pytest.mark.parametrize("fragment", FRAGMENTS)
def test_a_fragment_in_the_docs_is_true(db: None, fragment: str) -> None:
    """Endpoints of a line, or targets of an endpoint."""
    if fragment.startswith("targets:"):
        fragment = "endpoints:\n  - slug: of-the-docs\n" + textwrap.indent(fragment, "    ")
    example = "version: 1\nprojects:\n  - slug: demo\n    name: Demo\n    lines:\n      - slug: v1\n"
    environment = dict.fromkeys(re.findall(r"_env: (\w+)", fragment), "x")
    wanted = document.read(example + textwrap.indent(fragment, "        "))
    plan.apply(wanted, environment, plan.make(wanted, environment))
    assert not plan.make(wanted, environment, prune=True)


def test_the_demo_catalog_is_a_good_document(db: None) -> None:
    wanted = document.read((ROOT / "standalone" / "demo.yaml").read_bytes())
    environment = {
        "DEMO_VENDOR_API_KEY": "x",
        "DEMO_SINK_SECRET": rows.SIGNING_SECRET,
        "RELAY_BOOTSTRAP_RELAY_KEY": TOKEN,
    }
    plan.apply(wanted, environment, plan.make(wanted, environment))
    assert not plan.make(wanted, environment, prune=True)


def moved_to_another_master_key(settings) -> None:
    settings.MASTER_KEYS = (bytes(32),)
    services.sealer.cache_clear()


def test_a_document_seals_again_what_a_lost_master_key_had_sealed(db: None, settings) -> None:
    apply(WHOLE)
    moved_to_another_master_key(settings)
    try:
        value = f"fingerprint {HostKey.objects.get().value_fingerprint}"
        assert planned(WHOLE) == [
            "~ host key vendor/main",
            f"    value: {value} -> {value}",
            "~ target shop/v1/orders/billing",
            "    signing secret: (secret) -> (secret)",
        ]
        apply(WHOLE)
        assert planned(WHOLE) == []
        assert services.host_key_opens(host_key=HostKey.objects.get())
        assert services.target_signing_secret_reveal(target=Target.objects.get()) == rows.SIGNING_SECRET
    finally:
        services.sealer.cache_clear()


@pytest.mark.parametrize(
    ("old", "new", "line"),
    [
        ("2099-01-01T00:00:00Z", "9999-12-31T23:59:59-23:59", 37),  # the year 10000 in UTC
        ("2099-01-01T00:00:00Z", "0001-01-01T00:00:00+23:59", 37),  # and 1 BC
        ("- slug: v1", '- slug: "v1\\n"', 26),
        ("  - name: gpt", '  - name: "gpt\\n"', 19),
        ('models: ["*", "-secret-*"]', 'models: ["*", "-secret\\n"]', 10),
        ("slug: vendor", 'slug: "vendor\\u0085"', 13),
    ],
)
def test_what_no_process_could_read_or_match_is_refused(old: str, new: str, line: int, db: None) -> None:
    assert WHOLE.count(old) == 1
    with pytest.raises(document.DocumentError) as refused:
        apply(WHOLE.replace(old, new))
    assert line in {problem.line for problem in refused.value.problems}
    assert not Project.objects.exists()


def test_a_secret_file_that_cannot_be_read_is_named(db: None) -> None:
    environment = FileAwareMapping(env={**ENVIRONMENT, "VENDOR_KEY_FILE": "/nowhere/canary"})
    wanted = document.read(WHOLE)
    with pytest.raises(document.DocumentError) as refused:
        plan.make(wanted, environment)
    assert [problem.text for problem in refused.value.problems] == [
        "The file that VENDOR_KEY_FILE names cannot be read."
    ]
