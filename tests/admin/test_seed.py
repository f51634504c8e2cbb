"""`catalog seed`: what vendors offer becomes rows, and whose a field is when the data changes."""

import io
import re
from datetime import date, time
from decimal import Decimal
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import connection
from genai_prices import data as genai
from genai_prices.types import (
    ClauseEquals,
    ConditionalPrice,
    ModelInfo,
    ModelPrice,
    Provider,
    StartDateConstraint,
    Tier,
    TieredPrices,
    TimeOfDateConstraint,
)

from relay_admin.catalog import export, prices, services
from relay_admin.catalog.models import Host, HostBinding, Model, ModelAlias, Pricing, SeededName
from relay_admin.catalog.seed import data, overlay, seeding, vendors
from relay_contract import pricing
from relay_contract.nouns import Capabilities, capabilities_from_json
from relay_contract.usage import Usage

TODAY = date(2026, 11, 21)
EVERY = tuple(data.known())


def run(*arguments: str) -> str:
    output = io.StringIO()
    call_command("catalog", "seed", *arguments, stdout=output)
    return output.getvalue()


def rates(slug: str) -> dict[tuple[str, int], str]:
    """(meter, above) -> USD as people read it."""
    stored = data.read(EVERY, TODAY).rows["prices"][slug,]["rates"]
    return {
        (rate["meter"], rate["above_tokens"]): prices.usd_text(rate["meter"], rate["nanousd_per_million"])
        for rate in stored
    }


def test_the_data_is_the_one_that_was_looked_at() -> None:
    """The golden prices below are of this version: look at them again when it changes."""
    assert data.read((), TODAY).version == "0.2.3"
    assert len(EVERY) == 47


GOLDEN = {
    "openai/gpt-5": {
        ("input", 0): "1.25",
        ("cache_read", 0): "0.125",
        ("output", 0): "10",
        ("server_tool", 0): "10",
    },
    "openai/gpt-4o": {
        ("input", 0): "2.5",
        ("cache_read", 0): "1.25",
        ("output", 0): "10",
        ("server_tool", 0): "10",
    },
    "anthropic/claude-opus-4-6": {  # tiers until 2026-03-12
        ("input", 0): "5",
        ("cache_read", 0): "0.5",
        ("cache_write_5m", 0): "6.25",
        ("cache_write_1h", 0): "10",
        ("output", 0): "25",
        ("server_tool", 0): "10",
    },
    "google/gemini-2.5-flash": {
        ("input", 0): "0.3",
        ("cache_read", 0): "0.03",
        ("input_audio", 0): "1",
        ("output", 0): "2.5",
        ("server_tool", 0): "35",
    },
    "perplexity/sonar": {("input", 0): "1", ("output", 0): "1", ("call", 0): "12"},
}


@pytest.mark.parametrize("slug", GOLDEN)
def test_well_known_prices(slug: str) -> None:
    assert rates(slug) == GOLDEN[slug]


def test_a_tier_is_stored_as_vendors_mean_it() -> None:
    """Claude Sonnet 4.5: 3 and 15 USD up to 200,000 tokens of prompt, 6 and 22.50 above it, for all of them."""
    stored = data.read(("anthropic",), TODAY).rows["prices"]["anthropic/claude-sonnet-4-5",]["rates"]
    found = pricing.rates_from_json(stored)
    at_most, above = Usage(input_tokens=200_000, output_tokens=1_000), Usage(input_tokens=200_001, output_tokens=1_000)
    assert pricing.cost_nanousd(found, at_most) == 200_000 * 3_000 + 1_000 * 15_000
    assert pricing.cost_nanousd(found, above) == 200_001 * 6_000 + 1_000 * 22_500


def priced(*listed: ConditionalPrice) -> dict[str, int]:
    model = ModelInfo(id="m", match=ClauseEquals(equals="m"), prices=list(listed))
    vendor = Provider(id="v", name="V", api_pattern="", models=[model])
    found = data.read(("v",), TODAY, [vendor]).rows["prices"]["v/m",]["rates"]
    return {rate["meter"]: rate["nanousd_per_million"] for rate in found}


def usd(amount: str) -> ModelPrice:
    return ModelPrice(input_mtok=Decimal(amount))


def test_the_price_of_the_day_counts_and_of_its_hours_the_dearest() -> None:
    first, second = ConditionalPrice(prices=usd("1")), ConditionalPrice(StartDateConstraint(TODAY), prices=usd("2"))
    later = ConditionalPrice(StartDateConstraint(date(2026, 11, 22)), prices=usd("9"))
    at_night = ConditionalPrice(TimeOfDateConstraint(time(0), time(6)), prices=usd("0.5"))
    by_day = ConditionalPrice(TimeOfDateConstraint(time(6), time(0)), prices=usd("3"))
    assert priced(first, second, later) == {"input": 2 * 10**9}
    assert priced(first, at_night) == {"input": 10**9}
    assert priced(first, at_night, by_day) == {"input": 3 * 10**9}
    assert priced(first, by_day, second) == {"input": 2 * 10**9}
    assert priced(later) == {"input": 9 * 10**9}


def test_binary_noise_is_rounded_and_small_prices_are_exact() -> None:
    assert priced(ConditionalPrice(prices=usd("0.18000000000000002"))) == {"input": 180_000_000}
    assert priced(ConditionalPrice(prices=usd("0.0375"))) == {"input": 37_500_000}
    tiers = TieredPrices(base=Decimal("0.1"), tiers=[Tier(start=200_000, price=Decimal("0.2"))])
    model = ModelInfo(id="m", match=ClauseEquals(equals="m"), prices=ModelPrice(output_mtok=tiers))
    found = data.read(("v",), TODAY, [Provider(id="v", name="V", api_pattern="", models=[model])])
    assert found.rows["prices"]["v/m",]["rates"] == [
        {"meter": "output", "nanousd_per_million": 10**8, "above_tokens": 0},
        {"meter": "output", "nanousd_per_million": 2 * 10**8, "above_tokens": 200_000},
    ]


def test_every_number_is_whole_and_every_row_may_be_stored(db: None) -> None:
    wanted = data.read(EVERY, TODAY)
    counted = {name: len(part) for name, part in wanted.rows.items()}
    assert counted == {"prices": 2105, "hosts": 20, "models": 996, "bindings": 1145}
    numbers = [rate["nanousd_per_million"] for row in wanted.rows["prices"].values() for rate in row["rates"]]
    assert {type(number) for number in numbers} == {int}
    for path, row in wanted.rows["prices"].items():
        Pricing(slug=path[0], **row).full_clean(exclude=["template"], validate_unique=False)


def test_our_addresses_are_the_vendors(db: None) -> None:
    """The data tells hosts by their address, and must know ours."""
    patterns = {provider.id: provider.api_pattern for provider in genai.providers}
    for vendor in vendors.VENDORS.values():
        assert re.match(patterns[vendor.id], vendor.base_url), vendor.id
        Host(slug=vendor.id, base_url=vendor.base_url).full_clean(exclude=["template"])


def test_shapes_of_models() -> None:
    found = data.read(("openai", "anthropic", "google"), TODAY).rows["bindings"]
    by_model: dict[str, set[str]] = {}
    for model, _host, shape in found:
        by_model.setdefault(model, set()).add(shape)
    assert by_model["gpt-5"] == {"openai_chat", "openai_responses"}
    assert by_model["gpt-5-pro"] == {"openai_responses"}
    assert by_model["claude-opus-4-6"] == {"anthropic_messages"}
    assert by_model["gemini-2.5-pro"] == {"gemini"}
    assert not {"text-embedding-3-small", "whisper-1", "gpt-image-1", "tts-1", "davinci", "gpt-realtime"} & set(
        by_model
    )


def everything() -> dict[str, list[dict[str, Any]]]:
    return {model.__name__: list(model._default_manager.order_by("pk").values())
            for model in (Host, Model, Pricing, HostBinding, ModelAlias, SeededName)}  # fmt: skip


def test_seeding_twice_changes_nothing(db: None) -> None:
    said = run("--provider", "openai", "--provider", "anthropic")
    assert "hosts: 2 new." in said
    before = everything()
    binding = HostBinding.objects.get(model__name="claude-opus-4-6")
    assert (str(binding.host), binding.wire_shape, str(binding.pricing)) == (
        "anthropic",
        "anthropic_messages",
        "anthropic/claude-opus-4-6",
    )
    assert capabilities_from_json(binding.model.capabilities) == Capabilities(context_tokens=1_000_000)
    assert Host.objects.get(slug="openai").is_enabled
    assert Model.objects.filter(is_enabled=False).count() == 0
    assert "Nothing changed." in run("--provider", "openai", "--provider", "anthropic")
    assert everything() == before


def test_a_row_is_the_same_whoever_else_is_seeded(db: None) -> None:
    run("--provider", "together")
    alone = Model.objects.get(name="openai/gpt-oss-120b").template
    run("--provider", "groq")
    assert Model.objects.get(name="openai/gpt-oss-120b").template == alone
    assert sorted(
        HostBinding.objects.filter(model__name="openai/gpt-oss-120b").values_list("host__slug", flat=True)
    ) == [
        "groq",
        "together",
    ]


def test_a_dry_run_changes_nothing(db: None) -> None:
    before = everything()
    assert "dry run" in run("--dry-run")
    assert everything() == before


def test_models_may_come_disabled(db: None) -> None:
    run("--provider", "deepseek", "--no-enable")
    assert not Model.objects.filter(is_enabled=True).exists()
    assert Host.objects.get().is_enabled
    Model.objects.update(is_enabled=True)
    assert "Nothing changed." in run("--provider", "deepseek", "--no-enable")


def test_a_vendor_that_is_not_there_is_named(db: None) -> None:
    with pytest.raises(CommandError, match="There is no provider opnai in the data"):
        run("--provider", "opnai")
    assert not SeededName.objects.exists()


def test_a_vendor_without_an_address_is_seeded_as_prices(db: None) -> None:
    run("--provider", "azure")
    assert Pricing.objects.filter(slug__startswith="azure/").exists()
    assert (Host.objects.count(), Model.objects.count()) == (0, 0)


def older(wanted: data.Wanted) -> data.Wanted:
    """The same, as if an older version had other values for gpt-5."""
    price = wanted["prices"]["openai/gpt-5",]
    cheaper = [{**rate, "nanousd_per_million": rate["nanousd_per_million"] // 2} for rate in price["rates"]]
    model = {**wanted["models"]["gpt-5",], "capabilities": {"context_tokens": 1000}}
    host = {**wanted["hosts"]["openai",], "base_url": "https://old.example.com/v1"}
    return {
        **wanted,
        "prices": {**wanted["prices"], ("openai/gpt-5",): {**price, "rates": cheaper}},
        "models": {**wanted["models"], ("gpt-5",): model},
        "hosts": {**wanted["hosts"], ("openai",): host},
    }


def test_what_an_operator_changed_stays_and_the_rest_follows(db: None) -> None:
    wanted = data.read(("openai",), TODAY).rows
    seeding.apply(older(wanted))
    mine = [{"meter": "input", "nanousd_per_million": 1, "above_tokens": 0}]
    Pricing.objects.filter(slug="openai/gpt-5").update(rates=mine)
    Model.objects.filter(name="gpt-5").update(capabilities={"context_tokens": 1000, "tools": True}, owned_by="me")
    done = seeding.apply(wanted)
    assert Pricing.objects.get(slug="openai/gpt-5").rates == mine
    model = Model.objects.get(name="gpt-5")
    assert model.capabilities == {"context_tokens": 400_000, "tools": True}
    assert model.owned_by == "me"
    assert Host.objects.get(slug="openai").base_url == "https://api.openai.com/v1"
    assert done.sections["prices"].kept == {("openai/gpt-5",): ("rates",)}
    assert done.sections["models"].kept == {("gpt-5",): ("owned_by",)}
    assert done.sections["models"].changed["gpt-5",].taken == ("capabilities.context_tokens",)
    before = everything()
    assert not seeding.apply(wanted)
    assert everything() == before
    assert seeding.template_differences(model) == {
        "capabilities.tools": (True, None),
        "owned_by": ("me", "openai"),
    }
    assert seeding.template_restore(row=model) == ("capabilities.tools", "owned_by")
    assert Model.objects.get(name="gpt-5").capabilities == {"context_tokens": 400_000}
    assert seeding.template_differences(Model.objects.get(name="gpt-5")) == {}


def test_what_was_deleted_stays_deleted(db: None) -> None:
    run("--provider", "deepseek")
    name = "deepseek-chat"
    Model.objects.get(name=name).delete()
    Pricing.objects.get(slug="deepseek/deepseek-v3.2").delete()
    assert HostBinding.objects.get(model__name="deepseek-v3.2").pricing is None
    before = everything()
    said = run("--provider", "deepseek")
    assert f"- model {name} was deleted; --restore makes it again" in said
    assert everything() == before
    run("--provider", "deepseek", "--restore")
    assert HostBinding.objects.filter(model__name=name).exists()


def test_what_people_made_is_theirs(db: None) -> None:
    host = Host.objects.create(slug="deepseek", base_url="https://proxy.example.com/v1")
    Model.objects.create(name="deepseek-chat", owned_by="us")
    ModelAlias.objects.create(model=Model.objects.create(name="other"), name="deepseek-reasoner")
    said = run("--provider", "deepseek")
    assert "! host deepseek was made by people" in said
    assert "! model deepseek-chat was made by people" in said
    assert "! model deepseek-reasoner was made by people" in said
    host.refresh_from_db()
    assert (host.base_url, host.template) == ("https://proxy.example.com/v1", None)
    assert not HostBinding.objects.filter(model__name="deepseek-chat").exists()
    assert not Model.objects.filter(name="deepseek-reasoner").exists()
    assert HostBinding.objects.get(model__name="deepseek-v3.2").host == host


def test_a_key_is_all_that_is_missing(db: None) -> None:
    run("--provider", "anthropic")
    services.host_key_create(host=Host.objects.get(), name="main", reference="env:ANTHROPIC_API_KEY")
    assert Host.objects.get().is_enabled
    assert not HostBinding.objects.filter(is_enabled=False).exists()


def test_all_vendors_take_few_statements(db: None, django_assert_max_num_queries: Any) -> None:
    wanted = data.read(EVERY, TODAY).rows
    with django_assert_max_num_queries(80):
        seeding.apply(wanted)
    with django_assert_max_num_queries(20):
        assert not seeding.apply(wanted)
    assert SeededName.objects.count() == sum(len(part) for part in wanted.values())
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM catalog_hostbinding WHERE pricing_id IS NULL")
        assert cursor.fetchone() == (sum(row["pricing"] is None for row in wanted["bindings"].values()),)
    assert len(export.as_yaml(export.export())) < 4 * 1024 * 1024


@pytest.mark.parametrize(
    ("current", "old", "new", "changes", "kept"),
    [
        ({"a": 1}, {"a": 1}, {"a": 2}, {"a": 2}, ()),
        ({"a": 3}, {"a": 1}, {"a": 2}, {}, ("a",)),
        ({"a": 2}, {"a": 1}, {"a": 2}, {}, ()),
        ({"capabilities": {}}, {"capabilities": {}}, {"capabilities": {"tools": True}},
         {"capabilities": {"tools": True}}, ()),
        ({"capabilities": {"tools": False, "audio": True}}, {"capabilities": {"audio": True}},
         {"capabilities": {"tools": True}}, {"capabilities": {"tools": False}}, ("capabilities.tools",)),
    ],
)  # fmt: skip
def test_an_overlay(current: Any, old: Any, new: Any, changes: Any, kept: Any) -> None:
    laid = overlay.lay_over(current, old, new)
    assert (laid.changes, laid.kept) == (changes, kept)
