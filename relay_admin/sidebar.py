"""What django-unfold shows around the admin's pages: name, look and the sidebar, grouped by what people come to do."""

from typing import TYPE_CHECKING, Any, cast

from django.http import HttpRequest
from django.templatetags.static import static
from django.urls import reverse_lazy

if TYPE_CHECKING:
    from relay_admin.access.models import User

MOST_COUNTED_FAILURES = 1000
"""The badge stops counting here: it is on every page."""


def failure_count(request: HttpRequest) -> str:
    """The badge beside "Failure queue"; empty when there is nothing to do or to see."""
    from relay_admin.deliveries.models import DeadDelivery  # noqa: PLC0415 (settings are read before models exist)
    from relay_contract.intake import DeliveryState  # noqa: PLC0415

    if not cast("User", request.user).has_perm("deliveries.view_delivery"):
        return ""
    dead = DeadDelivery.objects.filter(state=DeliveryState.DEAD).order_by()
    count = dead[:MOST_COUNTED_FAILURES].count()
    return "" if count == 0 else f"{count}+" if count == MOST_COUNTED_FAILURES else str(count)


def _item(title: str, icon: str, model: str, about: str, permission: str = "", **more: Any) -> dict[str, Any]:
    """`about` is the start page's sentence: unfold passes on what it does not know. Shown to who may view `model`."""
    app, name = model.split(".")
    wanted = permission or f"{app}.view_{name}"
    return {
        "title": title,
        "icon": icon,
        "about": about,
        "link": reverse_lazy(f"admin:{app}_{name}_changelist"),
        "permission": lambda request: request.user.has_perm(wanted),
        **more,
    }


def _page(title: str, icon: str, name: str, about: str, permission: str = "") -> dict[str, Any]:
    """A page that is no list of rows; without `permission` everybody's."""
    return {
        "title": title,
        "icon": icon,
        "about": about,
        "link": reverse_lazy(name),
        "permission": lambda request: not permission or request.user.has_perm(permission),
    }


def _group(title: str, *items: dict[str, Any]) -> dict[str, Any]:
    return {"title": title, "separator": True, "collapsible": False, "items": list(items)}


UNFOLD: dict[str, Any] = {
    "SITE_TITLE": "Relay",
    "SITE_HEADER": "Relay",
    "SITE_SUBHEADER": "control plane",
    "SITE_SYMBOL": "cell_tower",
    "SITE_URL": "/admin/",
    "SITE_FAVICONS": [
        {"rel": "icon", "type": "image/svg+xml", "href": lambda _request: static("relay/favicon.svg")},
    ],
    "SHOW_VIEW_ON_SITE": False,
    "LOGIN": {"form": "relay_admin.access.login_form.LoginForm"},
    "ACCOUNT": {
        "navigation": [
            {"title": "My sessions", "link": reverse_lazy("sessions")},
            {"title": "My applications", "link": reverse_lazy("account-applications")},
            {"title": "Change password", "link": reverse_lazy("admin:password_change")},
        ]
    },
    "DASHBOARD_CALLBACK": "relay_admin.home.page.context",
    "STYLES": [lambda _request: static("relay/admin.css")],
    "SCRIPTS": [lambda _request: static("relay/admin.js")],
    "BORDER_RADIUS": "6px",
    "COLORS": {
        # Teal: green, amber and red are taken by the states of a delivery. From 600 on a step darker than Tailwind's,
        # so that text on it, and in it, has the contrast that WCAG asks for.
        "primary": {
            "50": "#f0fdfa",
            "100": "#ccfbf1",
            "200": "#99f6e4",
            "300": "#5eead4",
            "400": "#2dd4bf",
            "500": "#14b8a6",
            "600": "#0f766e",
            "700": "#115e59",
            "800": "#134e4a",
            "900": "#0c3f3c",
            "950": "#042f2e",
        },
    },
    "SIDEBAR": {
        "show_search": True,
        "navigation": [
            _group(
                "Traffic",
                _item(
                    "Request log",
                    "receipt_long",
                    "deliveries.request",
                    "Every call to a relay endpoint, accepted or refused, with its deliveries and attempts.",
                ),
                _item(
                    "Deliveries",
                    "local_shipping",
                    "deliveries.delivery",
                    "One for each request and target: pending, sending, delivered or dead.",
                ),
                _item(
                    "Failure queue",
                    "error",
                    "deliveries.deaddelivery",
                    "Deliveries that gave up. Find out why, and replay them.",
                    permission="deliveries.view_delivery",
                    badge="relay_admin.sidebar.failure_count",
                    badge_variant="danger",
                ),
                _item(
                    "Model calls",
                    "query_stats",
                    "traffic.call",
                    "Every call to a model: who made it, which host answered, what it used and what it cost.",
                ),
                _page(
                    "Shadow report",
                    "compare_arrows",
                    "shadows",
                    "How the answers of shadow targets compare with those of the targets they copy.",
                    "deliveries.view_delivery",
                ),
                _page(
                    "Test console",
                    "terminal",
                    "console",
                    "Send a call or a chat through a key, and watch the answer come.",
                    "access.add_relaykey",
                ),
                _item("Replay batches", "replay", "deliveries.replaybatch", "Who replayed what, and what was refused."),
                _item("Alerts", "notifications", "deliveries.alertevent", "What is or was wrong, and since when."),
                _item("Alert rules", "rule", "deliveries.alertrule", "What your operators are told of, and where."),
            ),
            _group(
                "Relay endpoints",
                _item(
                    "Projects",
                    "folder",
                    "catalog.project",
                    "An app or tenant: what keys, lines and endpoints belong to.",
                ),
                _page(
                    "Catalog graph",
                    "account_tree",
                    "catalog-graph",
                    "What refers to what, from projects to targets and policies to host keys, and what is not well.",
                    "catalog.view_project",
                ),
                _page(
                    "Import and export",
                    "swap_vert",
                    "catalog-document",
                    "The catalog as a YAML document: download it, or see what one would change and apply it.",
                    "catalog.change_target",
                ),
                _item("Lines", "linear_scale", "catalog.line", "Versions of a project's API, such as v1."),
                _item("Endpoints", "call_split", "catalog.endpoint", "Addresses that your apps post to."),
                _item(
                    "Targets",
                    "my_location",
                    "catalog.target",
                    "Where an endpoint's calls are delivered, how often they are tried, and how they are signed.",
                ),
            ),
            _group(
                "Inference",
                _item("Models", "neurology", "catalog.model", "The names that callers ask for."),
                _item(
                    "Host bindings",
                    "link",
                    "catalog.hostbinding",
                    "Which host serves a model, in which wire shape and under which name.",
                ),
                _item("Hosts", "dns", "catalog.host", "Vendors' APIs, with their timeouts."),
                _item("Prices", "sell", "catalog.pricing", "What hosts ask for models, in USD per million tokens."),
                _item(
                    "Host keys",
                    "vpn_key",
                    "catalog.hostkey",
                    "The credentials that calls to hosts go out with. Written, never read.",
                ),
                _page(
                    "Resolve",
                    "alt_route",
                    "resolve",
                    "Where a key's call for a model would go, and why nowhere else.",
                    "access.view_relaykey",
                ),
                _item(
                    "Breakers",
                    "electrical_services",
                    "traffic.breakerevent",
                    "Host keys and bindings that are left alone for a while because they failed, and what opened them.",
                ),
            ),
            _group(
                "Money",
                _item(
                    "Accounts",
                    "account_balance_wallet",
                    "ledger.account",
                    "What projects have and the relay earned, what moved, and the trial balance. Grant credits here.",
                ),
                _item(
                    "Top-ups",
                    "payments",
                    "ledger.topup",
                    "Credits that were paid for, with a provider or outside, and what was refunded.",
                ),
                _item(
                    "Credit codes", "redeem", "ledger.creditcode", "Codes that give their holders credits, once each."
                ),
                _item("Invoices", "description", "ledger.invoice", "What moved on a wallet in a month."),
                _page(
                    "Reconciliation",
                    "balance",
                    "money",
                    "What is kept twice, compared each night, and what did not add up.",
                    "ledger.view_account",
                ),
            ),
            _group(
                "Access",
                _item("Relay keys", "key", "access.relaykey", "What apps call with. Mint and revoke them here."),
                _item("Policies", "policy", "catalog.policy", "Which models a key reaches."),
                _item(
                    "Rate limits",
                    "speed",
                    "catalog.ratelimit",
                    "How many calls, and how many at once, for keys, policies, projects and endpoints.",
                ),
                _item("Applications", "apps", "access.oauthapplication", "Programs that users may let call for them."),
                _item("Authorizations", "handshake", "access.authorization", "Which application which user allowed."),
                _item("Admin tokens", "badge", "access.admintoken", "What scripts call the control API with."),
                _item("Users", "person", "access.user", "People who sign in here."),
                _item("Invitations", "mail", "access.invitation", "Who is asked into a project, or to sign up."),
                _item("Groups", "group", "auth.group", "What those people may do: operators, support, viewers."),
                _item("Sessions", "devices", "access.session", "Who is signed in, from where, and since when."),
                _page("My sessions", "co_present", "sessions", "Where you are signed in, and how to end that."),
                _item("Audit log", "manage_search", "access.auditevent", "Who changed what, when, and from where."),
            ),
        ],
    },
}
