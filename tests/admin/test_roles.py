"""What each role may do: this table is its documentation, as `docs/members.md` has it."""

from relay_admin.access.roles import ACTS, GIVEN, Act, Role, refusal, roles_with

#                  owner, admin, developer, support, viewer, customer
TABLE = {
    Act.SEE_PROJECT: "xxxxxx",
    Act.SEE_TRAFFIC: "xxxxx-",
    Act.SEE_PAYLOAD: "xxxx--",
    Act.REPLAY: "xxxx--",
    Act.SEE_KEYS: "xxx---",
    Act.MANAGE_TEST_KEYS: "xxx---",
    Act.MANAGE_KEYS: "xx----",
    Act.OWN_KEYS: "xxx--x",
    Act.MANAGE_ENDPOINTS: "xxx---",
    Act.MANAGE_MEMBERS: "xx----",
    Act.SEE_AUDIT: "xx----",
    Act.SEE_MONEY: "xx-x--",
    Act.MANAGE_MONEY: "xx----",
    Act.TRANSFER: "x-----",
}


def test_the_table() -> None:
    assert set(TABLE) == set(Act)
    assert {act: "".join("x" if act in ACTS[role] else "-" for role in Role) for act in Act} == TABLE


def test_nobody_gives_ownership() -> None:
    assert set(Role) - set(GIVEN) == {Role.OWNER, Role.CUSTOMER}


def test_a_refusal_says_who_may() -> None:
    assert roles_with(Act.SEE_AUDIT) == [Role.OWNER, Role.ADMIN]
    assert refusal(Act.SEE_MONEY) == "This needs one of the roles owner, admin, support in the project."
