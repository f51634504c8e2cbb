"""Addresses of the catalog's nouns."""

from collections.abc import Iterator

from django.urls import URLPattern, path

from relay_admin.control_api.nouns import host_keys
from relay_admin.control_api.nouns.kinds import KINDS, Kind
from relay_admin.control_api.nouns.views import views_of


def _of(kind: Kind) -> Iterator[URLPattern]:
    """Rows are known by id; lines and endpoints by the names in their addresses, as their drafts are."""
    every, one, references = views_of(kind)
    named = [f"<str:{name}>" for name, _ in kind.address] or [f"<int:{kind.model._meta.model_name}_id>"]
    row = "/".join(["api/v1", kind.path, *named])
    yield path(f"api/v1/{kind.path}", every.as_view())
    yield path(row, one.as_view())
    yield path(f"{row}/references", references.as_view())


urlpatterns = [
    *(pattern for kind in KINDS for pattern in _of(kind)),
    path("api/v1/host-keys/<int:host_key_id>/rotate", host_keys.RotateView.as_view()),
    path("api/v1/host-keys/<int:row_id>/health", host_keys.HostKeyHealthView.as_view()),
    path("api/v1/host-keys/<int:row_id>/reset", host_keys.HostKeyResetView.as_view()),
    path("api/v1/host-bindings/<int:row_id>/health", host_keys.BindingHealthView.as_view()),
    path("api/v1/host-bindings/<int:row_id>/reset", host_keys.BindingResetView.as_view()),
]
