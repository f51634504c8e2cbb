"""Tools of who is in a project, and as what."""

from relay_admin.control_api import invitations, members
from relay_admin.mcp.schemas import ID, OBJECT, SLUG, TEXT, answer, page, record
from relay_admin.mcp.tools.tool import Tool

_PROJECT = {"project": SLUG}
_MEMBERS = "/api/v1/projects/{project}/members"
_MEMBER = answer(members.MemberJson)
_ONE = {**_PROJECT, "member": ID}
_NOTES = {
    "member": "The id of a member, as list_members tells it.",
    "hasOwnBudget": "Whether `budget` counts in place of what the project gives each user; true and null is none.",
}

TOOLS = (
    Tool(
        "list_members",
        "Lists who is in a project, and as what.",
        "GET",
        _MEMBERS,
        page(_MEMBER),
        members.MembersQuery,
        path=_PROJECT,
        finds="list_projects",
    ),
    Tool(
        "add_member",
        "Puts a user into a project at once, which operators may; others invite_member.",
        "POST",
        _MEMBERS,
        _MEMBER,
        members.MemberBody,
        path=_PROJECT,
        notes={"username": "The name of a user that there is."},
        finds="list_projects",
    ),
    Tool(
        "invite_member",
        "Invites somebody into a project by mail; the link is in this answer too, and never again.",
        "POST",
        "/api/v1/projects/{project}/invitations",
        record(id=ID, email=TEXT, role=TEXT, link=TEXT),
        invitations.InvitationBody,
        path=_PROJECT,
        finds="list_projects",
    ),
    Tool(
        "change_member",
        "Gives a member another role or budget; what is not sent stays.",
        "PATCH",
        _MEMBERS + "/{member}",
        _MEMBER,
        members.MemberChangeBody,
        path=_ONE,
        notes=_NOTES,
        finds="list_members",
        destroys=True,
        repeats=True,
    ),
    Tool(
        "remove_member",
        "Takes a member out of a project.",
        "DELETE",
        _MEMBERS + "/{member}",
        OBJECT,
        path=_ONE,
        notes={"member": _NOTES["member"]},
        finds="list_members",
        destroys=True,
    ),
)
