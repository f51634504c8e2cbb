"""What django-unfold shows around the admin's pages: name, look and the sidebar, grouped by what people come to do."""

from typing import Any

from django.http import HttpRequest
from django.templatetags.static import static
from django.urls import reverse_lazy

MOST_COUNTED_FAILURES = 1000
"""The badge stops counting here: it is on every page."""


def failure_count(request: HttpRequest) -> str:
    """The badge beside "Failure queue"; empty when there is nothing to do or to see."""
    from relay_admin.deliveries.models import DeadDelivery  # noqa: PLC0415 (settings are read before models exist)
    from relay_contract.intake import DeliveryState  # noqa: PLC0415

    if not request.user.has_perm("deliveries.view_delivery"):
        return ""
    dead = DeadDelivery.objects.filter(state=DeliveryState.DEAD).order_by()
    count = dead[:MOST_COUNTED_FAILURES].count()
    return "" if count == 0 else f"{count}+" if count == MOST_COUNTED_FAILURES else str(count)


def _item(title: str, icon: str, model: str, permission: str, **more: Any) -> dict[str, Any]:
    return {
        "title": title,
        "icon": icon,
        "link": reverse_lazy(f"admin:{model}_changelist"),
        "permission": lambda request: request.user.has_perm(permission),
        **more,
    }


def _group(title: str, *items: dict[str, Any]) -> dict[str, Any]:
    return {"title": title, "separator": True, "collapsible": False, "items": list(items)}


UNFOLD: dict[str, Any] = {
    "SITE_TITLE": "Relay",
    "SITE_HEADER": "Relay",
    "SITE_SUBHEADER": "control plane, times in UTC",
    "SITE_SYMBOL": "cell_tower",
    "SITE_URL": "/admin/",
    "SITE_FAVICONS": [
        {"rel": "icon", "type": "image/svg+xml", "href": lambda _request: static("relay/favicon.svg")},
    ],
    "SHOW_VIEW_ON_SITE": False,
    "STYLES": [lambda _request: static("relay/admin.css")],
    "SCRIPTS": [lambda _request: static("relay/admin.js")],
    "BORDER_RADIUS": "6px",
    "COLORS": {
        # Teal: green, amber and red are taken by the states of a delivery.
        "primary": {
            "50": "#f0fdfa",
            "100": "#ccfbf1",
            "200": "#99f6e4",
            "300": "#5eead4",
            "400": "#2dd4bf",
            "500": "#14b8a6",
            "600": "#0d9488",
            "700": "#0f766e",
            "800": "#115e59",
            "900": "#134e4a",
            "950": "#042f2e",
        },
    },
    "SIDEBAR": {
        "show_search": True,
        "navigation": [
            _group(
                "Traffic",
                _item("Request log", "receipt_long", "deliveries_request", "deliveries.view_request"),
                _item("Deliveries", "local_shipping", "deliveries_delivery", "deliveries.view_delivery"),
                _item(
                    "Failure queue",
                    "error",
                    "deliveries_deaddelivery",
                    "deliveries.view_delivery",
                    badge="relay_admin.sidebar.failure_count",
                    badge_variant="danger",
                ),
                _item("Replay batches", "replay", "deliveries_replaybatch", "deliveries.view_replaybatch"),
            ),
            _group(
                "Relay endpoints",
                _item("Projects", "folder", "catalog_project", "catalog.view_project"),
                _item("Lines", "linear_scale", "catalog_line", "catalog.view_line"),
                _item("Endpoints", "call_split", "catalog_endpoint", "catalog.view_endpoint"),
                _item("Targets", "my_location", "catalog_target", "catalog.view_target"),
            ),
            _group(
                "Inference",
                _item("Models", "neurology", "catalog_model", "catalog.view_model"),
                _item("Host bindings", "link", "catalog_hostbinding", "catalog.view_hostbinding"),
                _item("Hosts", "dns", "catalog_host", "catalog.view_host"),
                _item("Host keys", "vpn_key", "catalog_hostkey", "catalog.view_hostkey"),
            ),
            _group(
                "Access",
                _item("Relay keys", "key", "access_relaykey", "access.view_relaykey"),
                _item("Policies", "policy", "catalog_policy", "catalog.view_policy"),
                _item("Rate limits", "speed", "catalog_ratelimit", "catalog.view_ratelimit"),
                _item("Admin tokens", "badge", "access_admintoken", "access.view_admintoken"),
                _item("Users", "person", "access_user", "access.view_user"),
                _item("Groups", "group", "auth_group", "auth.view_group"),
            ),
        ],
    },
}
