"""Pages of prices, capabilities, fallbacks, aliases, host keys: what is typed is what is stored."""

from decimal import Decimal
from typing import Any

import pytest
from django.test import Client
from hypothesis import given
from hypothesis import strategies as st

from relay_admin.access.models import RelayKey
from relay_admin.catalog import prices, services
from relay_admin.catalog.capability_form import in_words
from relay_admin.catalog.models import (
    Host,
    HostBinding,
    HostKey,
    Model,
    ModelAlias,
    Policy,
    Pricing,
    RateLimit,
    SeededRow,
)
from relay_admin.catalog.row_fields import FallbacksField, RatesField, RulesField
from relay_contract.nouns import Capabilities, capabilities_from_json, fallbacks_from_json, rules_from_json
from relay_contract.pricing import PriceMeter
from tests.admin import rows
from tests.admin.test_pages import text_of


def change_url(row: Any) -> str:
    return f"/admin/{row._meta.app_label}/{row._meta.model_name}/{row.pk}/change/"


def formset(prefix: str, *forms: dict[str, Any], initial: int = 0) -> dict[str, Any]:
    form: dict[str, Any] = {f"{prefix}-TOTAL_FORMS": len(forms), f"{prefix}-INITIAL_FORMS": initial}
    return form | {f"{prefix}-{index}-{name}": value for index, one in enumerate(forms) for name, value in one.items()}


amounts = st.integers(0, 10**15)


@given(st.sampled_from(list(PriceMeter)), amounts)
def test_a_price_goes_there_and_back(meter: PriceMeter, nanousd: int) -> None:
    assert prices.nanousd_per_million(meter, prices.usd_text(meter, nanousd)) == nanousd
    assert prices.nanousd_per_million(meter, prices.usd(meter, nanousd)) == nanousd
    assert "E" not in prices.usd_text(meter, nanousd)


@pytest.mark.parametrize("text", ["", "x", "-1", "nan", "inf", "1e-10", "0.0000000001", "1" * 30, "1,25"])
def test_what_is_no_price_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"write a price|finer"):
        prices.nanousd_per_million(PriceMeter.INPUT, text)


def test_prices_are_shown_as_people_read_them() -> None:
    assert prices.usd(PriceMeter.INPUT, 10_000_000_000) == Decimal(10)
    assert prices.usd_text(PriceMeter.INPUT, 37_500_000) == "0.0375"
    assert prices.usd_text(PriceMeter.SERVER_TOOL, 10**13) == "10"
    tiers = [
        {"meter": "input", "nanousd_per_million": 1_250_000_000},
        {"meter": "output", "nanousd_per_million": 10**10, "above_tokens": 0},
        {"meter": "output", "nanousd_per_million": 1, "above_tokens": 9},
    ]
    assert prices.summary(tiers) == "1.25 in, 10 out"
    assert prices.summary([{"meter": "call", "nanousd_per_million": 12 * 10**12}]) == "12 per 1,000 calls"
    assert prices.summary([]) == "none"


def test_a_price_is_written_in_rows_of_usd(client_of, catalog: rows.Catalog) -> None:
    client: Client = client_of("operators")
    url = change_url(catalog.pricing)
    assert 'name="rates-0-usd" value="1.25"' in client.get(url).content.decode()
    form = {
        "slug": "vendor/gpt",
        "rates-0-meter": "output",
        "rates-0-usd": "0.0375",
        "rates-0-above_tokens": "",
        "rates-1-meter": "input",
        "rates-1-usd": "2.50",
        "rates-1-above_tokens": "200000",
        "rates-2-meter": "server_tool",
        "rates-2-usd": "10",
        "rates-2-above_tokens": "",
        "rates-3-meter": "input",
        "rates-3-usd": "",
        "rates-3-above_tokens": "",
    }
    assert client.post(url, form).status_code == 302
    stored = [
        {"meter": "input", "nanousd_per_million": 2_500_000_000, "above_tokens": 200_000},
        {"meter": "output", "nanousd_per_million": 37_500_000, "above_tokens": 0},
        {"meter": "server_tool", "nanousd_per_million": 10**13, "above_tokens": 0},
    ]
    assert Pricing.objects.get().rates == stored
    for broken, says in (
        ({"rates-0-usd": "cheap"}, "Rate 1: write a price such as 1.25."),
        ({"rates-1-above_tokens": "many"}, "Rate 2: write a whole number for the tokens."),
        ({"rates-1-meter": "moons"}, "Rate 2: choose a meter."),
        ({"rates-1-meter": "output", "rates-1-above_tokens": ""}, "output above 0 tokens is here twice."),
    ):
        answer = client.post(url, {**form, **broken})
        assert answer.status_code == 200
        assert says in text_of(answer.content)
        assert Pricing.objects.get().rates == stored
    assert "0.0375" in text_of(client_of("viewers").get(url).content)


def test_rules_take_an_algorithm(client_of, catalog: rows.Catalog) -> None:
    client: Client = client_of("operators")
    url = change_url(catalog.rate_limit)
    rule = {"amount": "60", "meter": "requests", "window_seconds": "60", "algorithm": "gcra", "burst": "5"}
    cost = {
        "amount": "10500000",
        "meter": "cost",
        "window_seconds": "86400",
        "algorithm": "sliding_window",
        "burst": "",
    }
    form = (
        {"slug": "calls"} | {f"rules-0-{k}": v for k, v in rule.items()} | {f"rules-1-{k}": v for k, v in cost.items()}
    )
    assert client.post(url, form).status_code == 302
    stored = RateLimit.objects.get().rules
    assert stored == [
        {"meter": "requests", "amount": 60, "window_seconds": 60, "algorithm": "gcra", "burst": 5},
        {"meter": "cost", "amount": 10_500_000, "window_seconds": 86_400},
    ]
    assert len(rules_from_json(stored)) == 2
    listed = text_of(client.get("/admin/catalog/ratelimit/").content)
    assert "60 requests in 60 s (5 at once), 10.5 USD in 86400 s" in listed
    for broken, says in (
        ({"rules-1-burst": "3"}, "Rule 2: what may come at once belongs to a rule that is spread evenly."),
        ({"rules-1-algorithm": "gcra"}, "gcra spreads requests"),
        ({"rules-0-burst": "61"}, "burst is a whole number from 1 to 60."),
    ):
        answer = client.post(url, {**form, **broken})
        assert says in text_of(answer.content)
        assert RateLimit.objects.get().rules == stored
    assert "10.5 USD in 86400 s" in text_of(client_of("viewers").get(url).content)


def test_fallbacks_are_written_in_rows(client_of, catalog: rows.Catalog) -> None:
    client: Client = client_of("operators")
    url = change_url(catalog.policy)
    form = {
        "slug": "all",
        "models": "*",
        "selection": "cost",
        "unpriced": "allow",
        "hold_seconds": "0",
        "is_strict": "on",
        "fallbacks-0-models": "gpt-*, o3",
        "fallbacks-0-when": ["any_failure", "context_length"],
        "fallbacks-0-then": "claude gpt-demo",
        "fallbacks-1-models": "",
        "fallbacks-1-then": "",
    }
    assert client.post(url, form).status_code == 302
    policy = Policy.objects.get()
    assert (policy.selection, policy.is_strict, policy.keeps_affinity) == ("cost", True, False)
    assert policy.fallbacks == [
        {"models": ["gpt-*", "o3"], "when": ["any_failure", "context_length"], "then": ["claude", "gpt-demo"]}
    ]
    fallbacks_from_json(policy.fallbacks)
    page = client.get(url).content.decode()
    assert 'value="gpt-*, o3"' in page
    assert 'value="context_length" checked' in page
    for broken in ({"fallbacks-0-when": []}, {"fallbacks-0-then": ""}, {"fallbacks-0-models": "a*b"}):
        assert client.post(url, {**form, **broken}).status_code == 200
        assert Policy.objects.get().fallbacks == policy.fallbacks
    assert "gpt-*, o3 → claude, gpt-demo" in text_of(client_of("viewers").get(url).content)


@pytest.mark.parametrize(
    ("field", "stored"),
    [
        (RulesField(), {"meter": "tokens", "amount": 5, "window_seconds": 6}),
        (RulesField(), {"meter": "requests", "amount": 5, "window_seconds": 6, "algorithm": "gcra", "burst": 2}),
        (RatesField(), {"meter": "input", "nanousd_per_million": 1, "above_tokens": 7}),
        (FallbacksField(), {"models": ["a"], "when": ["any_failure"], "then": ["b", "c"]}),
    ],
)
def test_rows_go_there_and_back(field: Any, stored: dict[str, Any]) -> None:
    typed = field.prepare_value([stored])
    assert field.prepare_value(typed) == typed
    assert field.clean(typed) == [stored]
    assert not field.has_changed([stored], typed)


def test_a_page_without_the_rows_leaves_them_alone(catalog: rows.Catalog) -> None:
    widget = RatesField().widget
    assert widget.value_omitted_from_data({"slug": "x"}, {}, "rates")
    assert not widget.value_omitted_from_data({"rates-0-usd": ""}, {}, "rates")


def model_form(**columns: Any) -> dict[str, Any]:
    return {"name": "gpt-demo", "owned_by": "us", "is_enabled": "on", **columns}


def test_capabilities_are_fields(client_of, catalog: rows.Catalog) -> None:
    client: Client = client_of("operators")
    url = change_url(catalog.model)
    form = model_form(
        capability_context_tokens="200000",
        capability_tools="yes",
        capability_audio="no",
        capability_images="",
        capability_effort_levels=["low", "high"],
        capability_sampling_limits="one",
    )
    inlines = formset("aliases") | formset("bindings")
    assert client.post(url, form | inlines).status_code == 302
    model = Model.objects.get()
    assert capabilities_from_json(model.capabilities) == Capabilities(
        context_tokens=200_000, tools=True, audio=False, effort_levels=("low", "high"), sampling_limits="one"
    )
    assert "images" not in model.capabilities
    assert in_words(model.capabilities) == "tools, no audio, effort levels: low/high, sampling limits: one"
    offered = client.get(url).context["adminform"].form
    typed = {name: offered[name].value() for name in offered.fields if name.startswith("capability_")}
    again = model_form(**{name: value for name, value in typed.items() if value is not None})
    assert client.post(url, again | inlines).status_code == 302
    assert Model.objects.get().capabilities == model.capabilities
    for broken in ({"capability_context_tokens": "0"}, {"capability_context_tokens": "many"},
                   {"capability_effort_levels": ["low", "infinite"]}, {"capability_tools": "perhaps"}):  # fmt: skip
        assert client.post(url, form | broken | inlines).status_code == 200
        assert Model.objects.get().capabilities == model.capabilities
    assert "200,000" in text_of(client.get("/admin/catalog/model/").content)
    assert "tools, no audio" in text_of(client_of("viewers").get(url).content)


def test_aliases_and_bindings_are_inside_their_model(client_of, catalog: rows.Catalog) -> None:
    client: Client = client_of("operators")
    url = change_url(catalog.model)
    binding = {"host": catalog.host.pk, "wire_shape": "anthropic_messages", "upstream_name": "up", "priority": "1",
               "weight": "2", "pricing": catalog.pricing.pk, "total_timeout_ms": "5"}  # fmt: skip
    form = model_form() | formset("aliases", {"name": "latest"}) | formset("bindings", binding)
    assert client.post(url, form).status_code == 302
    assert str(ModelAlias.objects.get().model) == "gpt-demo"
    added = HostBinding.objects.get(wire_shape="anthropic_messages")
    assert (added.weight, added.pricing, added.total_timeout_ms, added.idle_timeout_ms) == (2, catalog.pricing, 5, None)
    assert "1.25 in" in text_of(client.get("/admin/catalog/hostbinding/").content)
    assert "gpt-demo" in text_of(client.get("/admin/catalog/model/?q=latest").content)

    other = Model.objects.create(name="other")
    collides = model_form(name="other") | formset("aliases", {"name": "gpt-demo"}) | formset("bindings")
    answer = client.post(change_url(other), collides)
    assert "gpt-demo is the name of a model" in text_of(answer.content)
    taken = model_form(name="latest") | formset("aliases") | formset("bindings")
    answer = client.post("/admin/catalog/model/add/", taken)
    assert "latest is an alias of gpt-demo" in text_of(answer.content)
    assert (ModelAlias.objects.count(), Model.objects.count()) == (1, 2)


def test_an_old_page_of_a_model_keeps_what_was_seeded(client_of, catalog: rows.Catalog) -> None:
    client: Client = client_of("operators")
    HostBinding.objects.update(template={"upstream_name": "seeded", "pricing": None})
    binding = {"id": catalog.binding.pk, "model": catalog.model.pk, "host": catalog.host.pk,
               "wire_shape": "openai_chat", "upstream_name": "mine", "priority": "0", "weight": "1"}  # fmt: skip
    form = model_form() | formset("aliases") | formset("bindings", binding, initial=1)
    assert client.post(change_url(catalog.model), form).status_code == 302
    row = HostBinding.objects.get()
    assert (row.upstream_name, row.template) == ("mine", {"upstream_name": "seeded", "pricing": None})


def test_a_host_key_has_a_value_or_a_reference(client_of, catalog: rows.Catalog) -> None:
    client: Client = client_of("operators")
    add = "/admin/catalog/hostkey/add/"
    form = {"host": catalog.host.pk, "name": "second", "is_enabled": "on", "value": "", "reference": ""}
    answer = client.post(add, form)
    assert "This field is required, unless there is a reference." in text_of(answer.content)
    answer = client.post(add, {**form, "reference": "sk-oops"})
    assert "Write env:NAME" in text_of(answer.content)
    assert HostKey.objects.count() == 1
    assert client.post(add, {**form, "reference": "env:VENDOR_KEY"}).status_code == 302
    key = HostKey.objects.get(name="second")
    assert (bytes(key.sealed_value), key.reference) == (b"", "env:VENDOR_KEY")
    url = change_url(key)
    assert client.post(url, {**form, "reference": ""}).status_code == 200
    assert client.post(url, {**form, "value": "sk-real", "reference": ""}).status_code == 302
    key.refresh_from_db()
    assert services.host_key_opens(host_key=key)
    assert client.post(url, form).status_code == 302
    page = text_of(client.get("/admin/catalog/hostkey/").content)
    assert "Read from variable" in page
    assert "Value env" not in page


def test_a_host_page_leads_to_its_next_key(client_of, catalog: rows.Catalog) -> None:
    page = client_of("operators").get(change_url(catalog.host)).content.decode()
    assert f"/admin/catalog/hostkey/add/?host={catalog.host.pk}" in page
    form = {"slug": "vendor", "base_url": catalog.host.base_url, "connect_timeout_ms": "1",
            "first_byte_timeout_ms": "2", "first_token_timeout_ms": "3", "idle_timeout_ms": "4",
            "total_timeout_ms": "5", "passthrough_paths": "/files\n/batches/*"} | formset("keys")  # fmt: skip
    client: Client = client_of("superuser")
    assert client.post(change_url(catalog.host), form).status_code == 302
    host = Host.objects.get()
    assert (host.first_token_timeout_ms, host.passthrough_paths) == (3, ["/files", "/batches/*"])


def test_a_relay_key_may_be_somebody_s(client_of, catalog: rows.Catalog) -> None:
    client: Client = client_of("operators")
    ann = rows.user("ann")
    form = {"project": catalog.project.pk, "name": "hers", "mode": "live", "scopes": ["inference"], "user": ann.pk,
            "pays": "project", "captures_payloads": "on", "policy": "", "rate_limit": ""}  # fmt: skip
    assert client.post("/admin/access/relaykey/add/", form).status_code == 200
    key = RelayKey.objects.get(name="hers")
    assert (key.user, key.captures_payloads) == (ann, True)


@pytest.fixture
def changed(catalog: rows.Catalog) -> Model:
    """A seeded model that an operator has changed."""
    template = {"owned_by": "openai", "description": "GPT", "capabilities": {"context_tokens": 9}}
    Model.objects.update(template=template, owned_by="me", description="GPT", capabilities={"tools": True})
    return Model.objects.get()


def test_a_seeded_row_says_what_differs(client_of, changed: Model) -> None:
    page = text_of(client_of("operators").get(change_url(changed)).content)
    assert "owned by: me here, openai seeded" in page
    assert "tools: yes here, not set seeded" in page
    assert "context tokens: not set here, 9 seeded" in page


def test_a_change_is_taken_back_when_somebody_says_so(client_of, changed: Model) -> None:
    page = f"/admin/catalog/model/{changed.pk}/template/"
    before = Model.objects.values().get()
    assert client_of("viewers").post(page).status_code == 403
    assert client_of("operators").get(page).status_code == 200
    assert Model.objects.values().get() == before
    client: Client = client_of("superuser")
    assert client.post(page).status_code == 302
    row = Model.objects.get()
    assert (row.owned_by, row.capabilities) == ("openai", {"context_tokens": 9})
    assert "As it was seeded." in text_of(client.get(change_url(row)).content)
    assert "Back to the template: capabilities.context_tokens" in text_of(
        client.get(f"/admin/catalog/model/{row.pk}/history/").content
    )


def test_many_changes_are_taken_back_at_once(client_of, changed: Model) -> None:
    client: Client = client_of("operators")
    asked = {"action": "to_template", "_selected_action": str(changed.pk)}
    page = client.post("/admin/catalog/model/", asked)
    assert "gpt-demo: context tokens, tools, owned by" in text_of(page.content)
    assert Model.objects.get().owned_by == "me"
    hidden: dict[str, list[str]] = {}
    for name, value in page.context["hidden"]:
        hidden.setdefault(name, []).append(value)
    assert client.post("/admin/catalog/model/", hidden).status_code == 302
    assert Model.objects.get().owned_by == "openai"
    answer = client.post("/admin/catalog/model/", asked, follow=True)
    assert "None of them differs from its template." in text_of(answer.content)


@pytest.mark.parametrize("model", SeededRow.__subclasses__(), ids=lambda model: model.__name__)
def test_every_seeded_noun_has_the_way_back(model: type[SeededRow], client_of, catalog: rows.Catalog) -> None:
    row = model._default_manager.get()
    client: Client = client_of("operators")
    assert client.get(f"/admin/catalog/{model._meta.model_name}/{row.pk}/template/").status_code == 200
