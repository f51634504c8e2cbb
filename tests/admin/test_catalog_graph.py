"""The catalog graph: who sees which half, what is marked, how much is read, how a graph is narrowed and laid out."""

from typing import Any

import pytest
from django.test import Client

from relay_admin.catalog.graph.layout import STEP, TOP, picture
from relay_admin.catalog.graph.nodes import Column, Graph, Key, Node, cut, matching, narrowed, tree
from relay_admin.catalog.models import Host, HostBinding, HostKey, Line, Model, Policy, Project, Target
from relay_admin.redis_link import open_redis
from relay_contract.redis import breakers, keys
from tests.admin import rows

PAGE = "/admin/catalog-graph/"


@pytest.mark.parametrize(
    ("who", "status"), [("anonymous", 302), ("support", 403), ("viewers", 200), ("operators", 200), ("superuser", 200)]
)
def test_who_may_see_it(client_of: Any, catalog: rows.Catalog, who: str, status: int) -> None:
    assert client_of(who).get(PAGE).status_code == status


def test_half_a_right_is_half_a_picture(client: Client, catalog: rows.Catalog) -> None:
    one = rows.user("one")
    nouns = ("project", "line", "endpoint", "target")
    one.user_permissions.add(*(rows.permission(f"catalog.view_{noun}") for noun in nouns))
    client.force_login(one)
    page = client.get(PAGE).content.decode()
    assert "billing" in page
    assert "gpt-up" not in page


def test_every_row_leads_to_its_page(client_of: Any, catalog: rows.Catalog) -> None:
    page = client_of("viewers").get(PAGE).content.decode()
    for row in (
        *(catalog.project, catalog.line, catalog.endpoint, catalog.target, catalog.policy),
        *(catalog.model, catalog.binding, catalog.host, catalog.host_key),
    ):
        assert f'href="/admin/catalog/{row._meta.model_name}/{row.pk}/change/"' in page, row
    assert page.count("<path ") == 3 + 4
    assert rows.HEADER_VALUE not in page
    assert rows.HOST_KEY_VALUE not in page


def test_what_is_not_well_is_marked(client_of: Any, catalog: rows.Catalog, redis_url: str, settings: Any) -> None:
    settings.REDIS_URL = redis_url
    Target.objects.update(is_enabled=False, disabled_reason="gone")
    Project.objects.update(is_archived=True)
    Host.objects.create(slug="empty", base_url="http://127.0.0.1:9/v1")
    stored = (
        '{"state":"half_open","reason":"server_error","since_ms":1,"until_ms":9,"level":1,"host":"vendor","row_id":%d}'
    )
    field = breakers.binding_field(catalog.binding.pk)
    with open_redis() as client:
        client.hset(keys.BREAKERS, field, stored % catalog.binding.pk)
    try:
        page = client_of("operators").get(PAGE).content.decode()
    finally:
        with open_redis() as client:
            client.hdel(keys.BREAKERS, field)
    for words in ("archived", "by the relay: gone, disabled", "no enabled key", "breaker half open: server error"):
        assert words in page


def test_without_redis_it_says_what_it_does_not_know(client_of: Any, catalog: rows.Catalog, settings: Any) -> None:
    settings.REDIS_URL = "redis://127.0.0.1:9/0"
    page = client_of("operators").get(PAGE).content.decode()
    assert "Which breakers are open is not known." in page
    assert "gpt-up" in page


def test_a_project_and_a_name_narrow_it(client_of: Any, catalog: rows.Catalog) -> None:
    other = Project.objects.create(slug="other", name="Other")
    Line.objects.create(project=other, slug="v7")
    Policy.objects.create(slug="elsewhere", models=["other-*"])
    client: Client = client_of("viewers")
    page = client.get(PAGE, {"project": "shop"}).content.decode()
    assert "billing" in page
    assert ">v7<" not in page
    assert "elsewhere" not in page
    page = client.get(PAGE, {"q": "V7"}).content.decode()
    assert ">v7<" in page
    assert "billing" not in page
    assert "Nothing here is called so." in page
    for hostile in (
        {"project": "nope\0", "q": "\0"},
        {"view": "x", "q": "x" * 5000},
        {"q": "<script>alert(1)</script>"},
    ):
        answer = client.get(PAGE, hostile)
        assert answer.status_code == 200
        assert b"<script>alert(1)" not in answer.content


def test_it_costs_as_many_queries_for_many_rows_as_for_one(
    client_of: Any, catalog: rows.Catalog, django_assert_num_queries: Any
) -> None:
    Model.objects.bulk_create(Model(name=f"m-{number:04}") for number in range(60))
    HostBinding.objects.bulk_create(
        HostBinding(model=model, host=catalog.host, wire_shape="openai_chat", upstream_name=model.name)
        for model in Model.objects.filter(name__startswith="m-")
    )
    HostKey.objects.update(is_enabled=False)
    client: Client = client_of("viewers")
    with django_assert_num_queries(15):
        page = client.get(PAGE).content.decode()
    assert "21 more" in page  # models and bindings, of which 40 are shown


def node(label: str, number: int) -> Node:
    return Node((label, number), f"{label}{number}", f"/{label}/{number}")


def small() -> Graph:
    """a1 leads to b1 and b2, a2 to b2, both b to c1; c2 stands alone."""
    edges: list[tuple[Key, Key]] = [
        (("a", 1), ("b", 1)), (("a", 1), ("b", 2)), (("a", 2), ("b", 2)), (("b", 1), ("c", 1)), (("b", 2), ("c", 1)),
    ]  # fmt: skip
    columns = [Column(name, f"/{name}", [node(name, 1), node(name, 2)]) for name in "abc"]
    return Graph("small", columns, edges)


def names(graph: Graph) -> list[str]:
    return [one.label for column in graph.columns for one in column.nodes]


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("A2", ["a2", "b2", "c1"]),
        ("c1", ["a1", "a2", "b1", "b2", "c1"]),
        ("b1", ["a1", "b1", "c1"]),
        ("c2", ["c2"]),
        ("none", []),
    ],
)
def test_what_leads_there_and_where_it_leads_stay(text: str, left: list[str]) -> None:
    assert names(narrowed(small(), matching(small(), text))) == left


def test_a_cut_keeps_what_hangs_together_and_counts_the_rest() -> None:
    shown = cut(small(), 1)
    assert names(shown) == ["a1", "b1", "c1"]
    assert [column.more for column in shown.columns] == [1, 1, 1]


def test_a_tree_opens_each_node_once() -> None:
    items = [(item.depth, item.node.label, item.is_again) for item in tree(small())]
    assert items == [
        (0, "a1", False), (1, "b1", False), (2, "c1", False), (1, "b2", False), (2, "c1", False),
        (0, "a2", False), (1, "b2", True), (0, "c2", False),
    ]  # fmt: skip


def test_a_circle_has_an_end() -> None:
    graph = small()
    graph.edges.append((("c", 1), ("a", 1)))
    assert len(tree(graph)) < 20
    assert names(narrowed(graph, [("a", 1)])) == ["a1", "a2", "b1", "b2", "c1"]


def test_lines_end_at_the_boxes_that_they_join() -> None:
    shown = picture(small())
    assert shown.height == TOP + 2 * STEP
    assert shown.lines[0] == ("M158 51C175 51 175 51 192 51", "")
    assert len({(box.x, box.y) for box in shown.boxes}) == 6


def test_the_worst_is_said_first() -> None:
    one = node("a", 1)
    for tone, note in (("quiet", "disabled"), ("danger", "breaker open"), ("warning", "no key")):
        one.mark(tone, note)
    assert (one.tone, one.note) == ("danger", "breaker open, disabled, no key")
