"""Tools of who may do what: the caller, projects, relay keys; and who did what."""

from relay_admin.control_api import audit, relay_keys
from relay_admin.control_api.nouns.kinds import PROJECTS
from relay_admin.mcp.schemas import ANY, FLAG, ID, SLUG, TEXT, answer, or_null, page, record
from relay_admin.mcp.tools.tool import Tool

_KEY = {"key": ID}
_KEY_NOTES = {
    "key": "The id of a relay key, as list_relay_keys tells it.",
    "policy": "The slug of a policy: which models it reaches.",
    "scopes": "relay: send to endpoints; inference: call models; control: manage the project by the API.",
}
_SHOWN = answer(relay_keys.RelayKeyJson)
_SHOWN_ONCE = record(**_SHOWN["properties"], token=TEXT)
_PROJECT = {"id": ID, "slug": TEXT, "name": TEXT, "isArchived": FLAG, "role": or_null(TEXT), "userBudget": ANY}

WHO = (
    Tool(
        "who_am_i",
        "Says who is calling, and with which permissions or scopes.",
        "GET",
        "/auth/whoami",
        record(via=TEXT),
    ),
    Tool(
        "list_projects",
        "Lists the projects that the caller may see, with their role in each.",
        "GET",
        "/api/v1/projects",
        page(record(**_PROJECT)),
        PROJECTS.query,
    ),
    Tool(
        "read_project",
        "Reads a project, with what the caller may spend in it.",
        "GET",
        "/api/v1/projects/{project}",
        record(**_PROJECT, ownBudget=ANY),
        path={"project": SLUG},
        finds="list_projects",
    ),
)

TOOLS = (
    Tool(
        "list_relay_keys",
        "Lists relay keys, newest first, without their tokens.",
        "GET",
        "/api/v1/relay-keys",
        page(_SHOWN),
        relay_keys.RelayKeysQuery,
        finds="list_projects",
    ),
    Tool(
        "read_relay_key",
        "Reads a relay key, without its token.",
        "GET",
        "/api/v1/relay-keys/{key}",
        _SHOWN,
        path=_KEY,
        notes=_KEY_NOTES,
        finds="list_relay_keys",
    ),
    Tool(
        "mint_relay_key",
        "Mints a relay key, the bearer of an app at the edge; its token is in this answer and never again.",
        "POST",
        "/api/v1/relay-keys",
        _SHOWN_ONCE,
        relay_keys.NewRelayKeyBody,
        notes={**_KEY_NOTES, "mode": "live, or test: of test money."},
        finds="list_projects",
    ),
    Tool(
        "change_relay_key",
        "Changes the fields of a relay key that are sent, and no others.",
        "PATCH",
        "/api/v1/relay-keys/{key}",
        _SHOWN,
        relay_keys.RelayKeyBody,
        path=_KEY,
        notes=_KEY_NOTES,
        finds="list_relay_keys",
        destroys=True,
        repeats=True,
    ),
    Tool(
        "rotate_relay_key",
        "Mints a relay key's successor, its token told this once; the old one works on beside it for an overlap.",
        "POST",
        "/api/v1/relay-keys/{key}/rotate",
        _SHOWN_ONCE,
        relay_keys.RelayKeyRotateBody,
        path=_KEY,
        notes=_KEY_NOTES,
        finds="list_relay_keys",
    ),
    Tool(
        "revoke_relay_key",
        "Ends a relay key at once and for good.",
        "POST",
        "/api/v1/relay-keys/{key}/revoke",
        _SHOWN,
        path=_KEY,
        notes=_KEY_NOTES,
        finds="list_relay_keys",
        destroys=True,
        repeats=True,
    ),
    Tool(
        "read_audit_log",
        "Lists who changed what, when and by which door, newest first.",
        "GET",
        "/api/v1/audit",
        page(answer(audit.AuditEventJson)),
        audit.AuditQuery,
        notes={"via": "The door by which the change came; agents' is mcp.", "who": "The name of a user."},
        finds="list_projects",
    ),
)
