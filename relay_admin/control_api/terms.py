"""`/api/v1/projects/{project}/terms`: what a project marks up, and how that is shared. In millionths."""

from datetime import datetime
from typing import Any, TypedDict

from rest_framework import serializers, status
from rest_framework.request import Request as Call
from rest_framework.response import Response
from rest_framework.views import APIView

from relay_admin.access.roles import Act
from relay_admin.access.scoping import one_of
from relay_admin.catalog.models import Project
from relay_admin.control_api.answers import Page, answers
from relay_admin.control_api.paging import Query, page_of
from relay_admin.control_api.permissions import actor_in, requires
from relay_admin.control_api.wire import Strict, read
from relay_admin.ledger import terms
from relay_admin.ledger.models import Terms
from relay_contract.ledger import MAX_MARKUP_PPM, MILLION

MAX_PAGE = 200
_SEES = "ledger.view_account"


class TermsBody(Strict):
    """New terms, whole."""

    markupPpm = serializers.IntegerField(min_value=0, max_value=MAX_MARKUP_PPM, source="markup_ppm")  # noqa: N815
    ownerPpm = serializers.IntegerField(min_value=0, max_value=MILLION, source="owner_ppm")  # noqa: N815
    referralPpm = serializers.IntegerField(  # noqa: N815
        min_value=0, max_value=MILLION, source="referral_ppm", default=0
    )


class TermsJson(TypedDict):
    """Terms, in millionths."""

    id: int
    markupPpm: int
    ownerPpm: int
    referralPpm: int
    byUserId: int | None
    at: datetime


class TermsQuery(Query):
    """`after` is the `next` of the page before."""

    after = serializers.IntegerField(min_value=1, max_value=2**63 - 1, required=False)
    limit = serializers.IntegerField(min_value=1, max_value=MAX_PAGE, default=50)


class TermsView(APIView):
    """GET a project's terms, newest first: the first are those in force. POST sets others."""

    def get_permissions(self) -> list[Any]:
        """Seeing is one right, setting another."""
        return [requires(_SEES, *([terms.PERMISSION] if self.request.method == "POST" else []))()]

    @answers(Page(TermsJson))
    def get(self, call: Call, project: str) -> Response:
        """`{"results": [...], "next": id or null}`."""
        wanted = read(TermsQuery, call.query_params)
        rows = Terms.objects.filter(project_id=_project(call, project).pk).order_by("-pk")
        if "after" in wanted:
            rows = rows.filter(pk__lt=wanted["after"])
        page, more = page_of(rows, wanted["limit"])
        return Response({"results": [_json(row) for row in page], "next": page[-1].pk if more else None})

    @answers({201: TermsJson}, name="setProjectTerms")
    def post(self, call: Call, project: str) -> Response:
        """201 with the new terms."""
        body = read(TermsBody, call.data)
        made = terms.terms_set(project=_project(call, project), by=call.user, **body)
        return Response(_json(made), status=status.HTTP_201_CREATED)


def _project(call: Call, slug: str) -> Project:
    """Raises Http404."""
    return one_of(Project, actor_in(call), Act.SEE_MONEY, slug=slug)


def _json(row: Terms) -> TermsJson:
    return {
        "id": row.pk,
        "markupPpm": row.markup_ppm,
        "ownerPpm": row.owner_ppm,
        "referralPpm": row.referral_ppm,
        "byUserId": row.by_id,
        "at": row.at,
    }
