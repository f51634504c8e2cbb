"""`x-relay-tags`, and the rule that each refusal names."""

import pytest

from relay_contract.errors import BadHeader
from relay_edge.tags import read_tags


@pytest.mark.parametrize(
    ("text", "tags"),
    [
        ("", {}),
        ("team=search", {"team": "search"}),
        (" team = search , job=a=b,", {"team": "search", "job": "a=b"}),
        ("empty=", {"empty": ""}),
        ('{"team": "search, ads", "größe": "ü"}', {"team": "search, ads", "größe": "ü"}),
        ("{}", {}),
        (", ".join(f"{'n' * 62}{number:02}={'v' * 256}" for number in range(16)),
         {f"{'n' * 62}{number:02}": "v" * 256 for number in range(16)}),
    ],
)  # fmt: skip
def test_reads(text: str, tags: dict[str, str]) -> None:
    assert read_tags([text]) == tags


@pytest.mark.parametrize(
    ("values", "rule"),
    [
        (["a=1", "b=2"], "send it once"),
        (["a"], "write `name=value, name=value` or a JSON object of strings"),
        (["=a"], "a name is 1 to 64 printable characters"),
        (["n" * 65 + "=a"], "a name is 1 to 64 printable characters"),
        (["a=" + "v" * 257], "a value is 256 printable characters at most"),
        (["a=\tx\ty"], "a value is 256 printable characters at most"),
        (["a=\udcff"], "a value is 256 printable characters at most"),
        (['{"a": "\\u0000"}'], "a value is 256 printable characters at most"),
        (["a=1, a=2"], "each name stands in it once"),
        ([",".join(f"n{number}=v" for number in range(17))], "16 tags at most"),
        (["a=" + "v" * 6000], "it has 5248 characters at most"),
        (["{"], "it is no JSON object"),
        (['{"a": "\udcff"}'], "it is no JSON object"),
        (['{"a":' * 1000], "it is no JSON object"),
        (['{"a": 1}'], "each value of its JSON object is a string"),
    ],
)
def test_refuses(values: list[str], rule: str) -> None:
    with pytest.raises(BadHeader) as refused:
        read_tags(values)
    assert refused.value.public_text == f"The header x-relay-tags cannot be read: {rule}."
