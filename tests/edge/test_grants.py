"""What a policy's patterns grant, on which hosts."""

from dataclasses import replace

import pytest

from relay_contract.grants import Grants
from tests.edge.nouns import MODEL

MODELS = {
    name: replace(MODEL, name=name, owned_by=owner)
    for name, owner in (
        ("gpt-4", "openai"),
        ("gpt-4o", "openai"),
        ("claude", "anthropic"),
        ("openai/oss", "community"),
        ("claude@2024", "vertex"),
    )
}
GPTS = ["gpt-4", "gpt-4o"]
OPENAIS = [*GPTS, "openai/oss"]


def granted(patterns: tuple[str, ...], host: str) -> list[str]:
    """The models that are granted on a host."""
    grants = Grants(patterns)
    return [name for name, model in MODELS.items() if grants.of(model).takes(host)]


@pytest.mark.parametrize(
    ("patterns", "on_azure", "on_vendor"),
    [
        ((), [], []),
        (("*",), list(MODELS), list(MODELS)),
        (("gpt-4",), ["gpt-4"], ["gpt-4"]),
        (("GPT-4", "gpt", "-"), [], []),
        (("gpt*",), GPTS, GPTS),
        (("openai/*",), OPENAIS, OPENAIS),
        (("openai/oss",), ["openai/oss"], ["openai/oss"]),
        (("openai",), [], []),
        (("open*",), ["openai/oss"], ["openai/oss"]),
        (("gpt-4@azure",), ["gpt-4"], []),
        (("gpt*@azure",), GPTS, []),
        (("*@azure",), list(MODELS), []),
        (("openai/*@azure",), OPENAIS, []),
        (("@azure",), [], []),
        (("claude@2024",), ["claude@2024"], ["claude@2024"]),
        (("claude@2024@azure",), ["claude@2024"], []),
        (("claude@20*",), ["claude@2024"], ["claude@2024"]),
        (("*", "-gpt-4"), [name for name in MODELS if name != "gpt-4"], [name for name in MODELS if name != "gpt-4"]),
        (("-gpt-4", "gpt-4", "gpt-4@azure"), [], []),
        (("gpt-4", "-gpt-4@azure"), [], ["gpt-4"]),
        (("gpt*", "-*@azure", "claude"), [], [*GPTS, "claude"]),
        (("openai/*", "-openai/*@vendor"), OPENAIS, []),
        (("*@azure", "-*@azure", "claude@vendor"), [], ["claude"]),
        (("gpt-4@azure", "gpt-4@vendor"), ["gpt-4"], ["gpt-4"]),
        (("a*c", "*gpt"), [], []),
    ],
)
def test_sets_of_models_on_hosts(patterns: tuple[str, ...], on_azure: list[str], on_vendor: list[str]) -> None:
    assert (granted(patterns, "azure"), granted(patterns, "vendor")) == (on_azure, on_vendor)
    backwards = tuple(reversed(patterns))
    assert (granted(backwards, "azure"), granted(backwards, "vendor")) == (on_azure, on_vendor)


def test_a_host_may_be_spelled_like_the_end_of_a_models_name() -> None:
    """`claude@2024` is a model, and would also be `claude` on a host `2024`: it stands for both."""
    assert granted(("claude@2024",), "2024") == ["claude", "claude@2024"]


@pytest.mark.parametrize(
    ("patterns", "is_open"),
    [((), False), (("gpt-4@azure",), True), (("gpt-4", "-gpt-4@azure"), True), (("gpt-4@azure", "-gpt*"), False)],
)
def test_whether_any_host_may_be_left(patterns: tuple[str, ...], is_open: bool) -> None:
    assert Grants(patterns).of(MODELS["gpt-4"]).is_open is is_open


def test_a_reach_names_the_pattern_that_decides() -> None:
    reach = Grants(("openai/*@azure", "gpt-4", "-gpt*@vendor")).of(MODELS["gpt-4"])
    assert (reach.grant("azure"), reach.denial("azure")) == ("gpt-4", None)
    assert (reach.grant("vendor"), reach.denial("vendor")) == ("gpt-4", "-gpt*@vendor")
