"""The views of every kind: a list, a row, and what refers to it. `views_of` makes those of one kind.

A write goes through `catalog/row_services.py`, which checks what the admin's forms check. Rows are looked up as the
caller may have them before anything else is said, and again under a lock before they are written.
"""

from typing import Any

from django.contrib.admin.models import ADDITION, CHANGE, DELETION
from django.core.exceptions import ObjectDoesNotExist, ValidationError
from django.db import IntegrityError
from django.db.models import ProtectedError
from django.http import Http404
from django.shortcuts import get_object_or_404
from rest_framework import serializers
from rest_framework.exceptions import APIException
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from relay_admin.access.roles import Act
from relay_admin.access.scoping import PATHS, actor_of, rows_of
from relay_admin.catalog import references
from relay_admin.catalog.lines.documents import KEPT
from relay_admin.catalog.references import Reference, references_of
from relay_admin.catalog.row_services import row_change, row_held, row_insert
from relay_admin.control_api.answers import Page, answers
from relay_admin.control_api.errors import ReferencesJson, shape
from relay_admin.control_api.history import note
from relay_admin.control_api.nouns import etags, pages
from relay_admin.control_api.nouns.fields import on_the_wire, wire_name
from relay_admin.control_api.nouns.kinds import Kind
from relay_admin.control_api.permissions import actor_in, user_of
from relay_admin.control_api.wire import read

VERBS = {"POST": "add", "PUT": "change", "PATCH": "change", "DELETE": "delete"}


class Collides(APIException):
    """Somebody else wrote a row of this name at the same moment."""

    status_code = 409
    default_code = "collides"
    default_detail = "Another row has this name by now. Nothing was changed."
    action = "List the kind by that name, and change the row that is there, or choose another name."


def _row(view: Any) -> Any:
    """What a view of a kind answers."""
    return view.kind.json


class KindView(APIView):
    """What the views of a kind share."""

    kind: Kind

    def get_permissions(self) -> list[Any]:
        """As in the admin: seeing, adding, changing and deleting are four rights."""
        return [self.kind.permission(VERBS.get(str(self.request.method), "view"))]

    def row(self, call: Request, verb: str, parts: dict[str, Any]) -> Any:
        """The row at this address. Raises Http404 and PermissionDenied."""
        lookups = dict(self.kind.address) or dict.fromkeys(parts, "pk")
        return self.kind.one(actor_in(call), verb, **{lookups[name]: value for name, value in parts.items()})

    def told(self, call: Request, row: Any, status: int = 200) -> Response:
        """A row as it is stored by now, with its ETag."""
        fresh = get_object_or_404(self.kind.model._default_manager.select_related(*self.kind.related), pk=row.pk)
        return Response(self.shown(call, [fresh])[0], status=status, headers={"ETag": etags.etag_of(fresh)})

    def shown(self, call: Request, rows: list[Any]) -> list[dict[str, Any]]:
        """Static headers are often credentials: who may not edit a target is told their names only."""
        found = [dict(self.kind.json(row).data) for row in rows]
        if any(one.get("headers") for one in found):
            changeable = self.kind.changeable(actor_of(call, self.kind.permission_name("change")), rows)
            for one in found:
                if one["id"] not in changeable:
                    one["headers"] = dict.fromkeys(one["headers"], KEPT)
        return found


class RowsView(KindView):
    """GET rows of the kind; POST makes one."""

    @answers(lambda view: Page(view.kind.json, next=str))
    def get(self, call: Request) -> Response:
        """`{"results": [...], "next": text or null}`."""
        wanted = read(self.kind.query, call.query_params)
        found, following = pages.page(self.kind, self.kind.rows(actor_in(call)), wanted)
        return Response({"results": self.shown(call, found), "next": following})

    @answers({201: _row}, refuses=(409,))
    def post(self, call: Request) -> Response:
        """201 with the row. A field that is left out has its default."""
        body = read(self.kind.new_body, call.data, actor=actor_in(call))
        secrets = {name: body.pop(name) for name in (*self.kind.secrets, *self.kind.new_secrets) if name in body}
        row = self.kind.model(**body)
        try:
            row_insert(row=row, secrets=secrets, by=user_of(call))
        except ValidationError as refused:
            raise on_the_wire(refused) from None
        except IntegrityError:
            raise Collides from None
        note(call, row, ADDITION, "Added.")
        return self.told(call, row, 201)


class RowView(KindView):
    """GET, PUT, PATCH and DELETE one row."""

    @answers({200: _row, 304: None})
    def get(self, call: Request, **parts: Any) -> Response:
        """With its ETag. 304 for one that If-None-Match names."""
        row = self.row(call, "view", parts)
        if etags.is_known(call, row):
            return Response(status=304, headers={"ETag": etags.etag_of(row)})
        return self.told(call, row)

    @answers(_row, refuses=(409, 412, 428))
    def put(self, call: Request, **parts: Any) -> Response:
        """Every field: one that is left out gets its default. Secrets that are left out stay. Needs If-Match."""
        row = self.row(call, "change", parts)
        body = read(self.kind.body, call.data, actor=actor_in(call))
        return self._write(call, row, body, is_replaced=True)

    @answers(_row, refuses=(409, 412))
    def patch(self, call: Request, **parts: Any) -> Response:
        """The fields that were sent, each as a whole."""
        row = self.row(call, "change", parts)
        body = read(self.kind.body, call.data, partial=True, actor=actor_in(call))
        return self._write(call, row, body, is_replaced=False)

    @answers(refuses=(409, 412))
    def delete(self, call: Request, **parts: Any) -> Response:
        """204; 409 with `references` while anything refers to it."""
        found = self.row(call, "delete", parts)
        try:
            with row_held(row=found, by=user_of(call), is_going=True) as row:
                etags.check(call, row)
                if referring := references_of(row):
                    return self._refuse(call, referring)
                note(call, row, DELETION, "Deleted.")
                row.delete()
        except (ObjectDoesNotExist, ProtectedError) as error:
            if isinstance(error, ProtectedError):
                return self._refuse(call, [Reference(one, "") for one in error.protected_objects])
            raise Http404 from None
        return Response(status=204)

    def _write(self, call: Request, found: Any, body: dict[str, Any], *, is_replaced: bool) -> Response:
        secrets = {name: body.pop(name) for name in self.kind.secrets if name in body}
        try:
            with row_held(row=found, by=user_of(call)) as row:
                etags.check(call, row, is_needed=is_replaced)
                self._refuse_fixed(row, body)
                changed = row_change(row=row, changes=body, secrets=secrets)
                if changed:
                    note(call, row, CHANGE, f"Changed {', '.join(changed)}.")
        except ObjectDoesNotExist:
            raise Http404 from None
        except ValidationError as refused:
            raise on_the_wire(refused) from None
        except IntegrityError:
            raise Collides from None
        return self.told(call, found)

    def _refuse_fixed(self, row: Any, body: dict[str, Any]) -> None:
        """Raises ValidationError."""
        for name, text in self.kind.fixed.items():
            if name in body and body.pop(name) != getattr(row, name):
                raise serializers.ValidationError({wire_name(name): [text]})

    def _refuse(self, call: Request, referring: list[Reference]) -> Response:
        said = shape(
            "referred_to",
            f"This {self.kind.section.noun} is still in use. Nothing was deleted.",
            "Change or delete what `references` names first.",
            **references_json(call, referring),
        )
        return Response(said, status=409)


class ReferencesView(KindView):
    """GET what would break without the row."""

    @answers(ReferencesJson)
    def get(self, call: Request, **parts: Any) -> Response:
        """`{"references": [...], "isPartial": whether there are more}`; a delete is refused while there are any."""
        return Response(references_json(call, references_of(self.row(call, "view", parts))))


def references_json(call: Request, referring: list[Reference]) -> dict[str, Any]:
    """Of a row that the caller may not see its kind alone is told."""
    listed = referring[: references.MOST]
    told = [_reference_json(call, one) for one in listed]
    return {"references": told, "isPartial": len(referring) > len(listed)}


def _reference_json(call: Request, one: Reference) -> dict[str, Any]:
    meta = one.row._meta
    seen = _sees(call, one.row)
    return {
        "kind": str(meta.verbose_name).replace(" ", "-"),
        "id": one.row.pk if seen else None,
        "name": str(one.row) if seen else None,
        "field": wire_name(one.field),
    }


def _sees(call: Request, row: Any) -> bool:
    """By a permission of Django's, or by a role in the row's project."""
    actor = actor_of(call, f"{row._meta.app_label}.view_{row._meta.model_name}")
    if row._meta.label_lower not in PATHS:
        return actor.is_operator
    return rows_of(type(row), actor, Act.SEE_TRAFFIC).filter(pk=row.pk).exists()


def views_of(kind: Kind) -> tuple[type[RowsView], type[RowView], type[ReferencesView]]:
    """Classes of their own, which the API's document is drawn from."""
    made = [
        type(f"{kind.noun}{base.__name__}", (base,), {"kind": kind, "__doc__": base.__doc__, "__module__": __name__})
        for base in (RowsView, RowView, ReferencesView)
    ]
    return made[0], made[1], made[2]
