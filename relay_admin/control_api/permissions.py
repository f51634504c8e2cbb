"""Model permissions as DRF permission classes: the same rights as in the admin."""

from rest_framework.permissions import BasePermission
from rest_framework.request import Request
from rest_framework.views import APIView


def requires(*permissions: str) -> type[BasePermission]:
    """A permission class for callers who hold all of these, each `app.codename`."""

    class HasPermissions(BasePermission):
        message = f"This needs the permission {', '.join(permissions)}."

        def has_permission(self, request: Request, _view: APIView) -> bool:
            return request.user.is_authenticated and request.user.has_perms(permissions)

    return HasPermissions
