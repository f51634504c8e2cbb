"""`/api/v1/lines/{project}/{line}/...`: a line's draft, what it would change, its publication, and its revisions.

Documents keep the catalog's own names (`docs/catalog-yaml.md`), so that what is read here can be applied there.
"""

from datetime import datetime
from typing import Any, NotRequired, TypedDict

from django.shortcuts import get_object_or_404
from django.utils import timezone
from rest_framework import serializers
from rest_framework.exceptions import NotFound
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from relay_admin.access.roles import Act
from relay_admin.access.scoping import one_of
from relay_admin.catalog.lines import drafts
from relay_admin.catalog.lines.drafts import Diff
from relay_admin.catalog.models import Line, LineDraft, LineRevision
from relay_admin.control_api.answers import answers
from relay_admin.control_api.errors import ProblemJson
from relay_admin.control_api.paging import Query, page_of
from relay_admin.control_api.permissions import actor_in, requires, user_of
from relay_admin.control_api.wire import Strict, read

VIEWING = ("catalog.view_line", "catalog.view_linedraft", "catalog.view_linerevision", "catalog.change_target")
VIEW = requires(*VIEWING, act=Act.MANAGE_ENDPOINTS)
DRAFT = requires(*VIEWING, "catalog.change_linedraft", act=Act.MANAGE_ENDPOINTS)
PUBLISHING = (
    "catalog.change_linedraft",
    "catalog.change_line",
    *(f"catalog.{verb}_{noun}" for verb in ("add", "change", "delete") for noun in ("endpoint", "target")),
)
PUBLISH = requires(*VIEWING, *PUBLISHING, act=Act.MANAGE_ENDPOINTS)
MAX_PAGE = 200
_NUMBER = {"min_value": 1, "max_value": 2**31 - 1}


def _at_least_zero(**options: Any) -> serializers.IntegerField:
    return serializers.IntegerField(min_value=0, max_value=2**31 - 1, **options)


class DraftJson(TypedDict):
    """A line's draft; what runs, with `draftRevision` 0 and nothing of when and by whom, where there is none."""

    revision: int
    draftRevision: int
    baseRevision: int
    document: dict[str, Any]
    updatedBy: NotRequired[str | None]
    updatedAt: NotRequired[datetime]
    publishAt: NotRequired[datetime | None]
    publishError: NotRequired[str]


class ChangedFieldJson(TypedDict):
    """A field as it is and as it would be."""

    name: str
    old: Any
    new: Any


class ChangeJson(TypedDict):
    """A change, as people read it."""

    action: str
    noun: str
    name: str
    fields: list[ChangedFieldJson]
    note: str


class DiffJson(TypedDict):
    """What would change. `problems` stand in the way of publishing."""

    changes: list[ChangeJson]
    problems: list[ProblemJson]


class DraftDiffJson(DiffJson):
    """What publishing the draft would change. `isStale`: the line changed since the draft was made from it."""

    revision: int
    baseRevision: int
    draftRevision: int
    isStale: bool


class RevisionJson(TypedDict):
    """What ran from a time on."""

    number: int
    publishedAt: datetime
    publishedBy: str | None
    source: str
    note: str


class RevisionWithDocumentJson(RevisionJson):
    """And what it was, with what a rollback to it would change now."""

    document: dict[str, Any]
    rollback: DiffJson


class RevisionsJson(TypedDict):
    """A page of revisions. `revision`: the one that runs."""

    revision: int
    results: list[RevisionJson]
    next: int | None


class DraftBody(Strict):
    """Body of PUT: the whole line. `draftRevision` is the draft's that it replaces, 0 where there is none."""

    document = serializers.DictField()
    draftRevision = _at_least_zero()  # noqa: N815  # as on the wire
    baseRevision = serializers.IntegerField(**_NUMBER, required=False)  # noqa: N815


class DraftNumber(Strict):
    """Query of DELETE."""

    draftRevision = serializers.IntegerField(**_NUMBER)  # noqa: N815


class PublishBody(Strict):
    """Body of a publication: at once, or `at` a time; `at: null` takes a plan back."""

    draftRevision = serializers.IntegerField(**_NUMBER)  # noqa: N815
    note = serializers.CharField(max_length=200, required=False, default="", allow_blank=True)
    at = serializers.DateTimeField(required=False, allow_null=True)


class RollbackBody(Strict):
    """Body of a rollback. `revision` is the one that runs, as the caller knows it."""

    revision = serializers.IntegerField(**_NUMBER)
    note = serializers.CharField(max_length=200, required=False, default="", allow_blank=True)


class RevisionsQuery(Query):
    """Query of the list of revisions: those before `before`."""

    before = serializers.IntegerField(**_NUMBER, required=False)
    limit = serializers.IntegerField(min_value=1, max_value=MAX_PAGE, default=50)


class DraftView(APIView):
    """GET, PUT and DELETE the draft."""

    def get_permissions(self) -> Any:
        """Reading takes a right to edit targets: static headers are part of the document."""
        return [VIEW()] if self.request.method == "GET" else [DRAFT()]

    @answers(DraftJson)
    def get(self, request: Request, project: str, line: str) -> Response:
        """The draft; what runs, with `draftRevision` 0, where there is none."""
        found = line_of(request, project, line)
        draft = drafts.draft_of(found)
        if draft is not None:
            return Response(_draft(found, draft))
        return Response(
            {
                "revision": found.revision,
                "draftRevision": 0,
                "baseRevision": found.revision,
                "document": drafts.document_now(found),
            }
        )

    @answers(DraftJson, refuses=(409, 422))
    def put(self, request: Request, project: str, line: str) -> Response:
        """Begin or replace it."""
        given = read(DraftBody, request.data)
        found = line_of(request, project, line)
        draft = drafts.draft_put(
            line=found,
            document=given["document"],
            draft_revision=given["draftRevision"],
            base=given.get("baseRevision"),
            by=user_of(request),
        )
        return Response(_draft(found, draft))

    @answers(refuses=(409,))
    def delete(self, request: Request, project: str, line: str) -> Response:
        """Throw it away."""
        given = read(DraftNumber, request.query_params)
        drafts.draft_discard(line=line_of(request, project, line), draft_revision=given["draftRevision"])
        return Response(status=204)


class DiffView(APIView):
    """GET what publishing the draft would change of what runs now."""

    permission_classes = [VIEW]

    @answers(DraftDiffJson, refuses=(409, 422))
    def get(self, request: Request, project: str, line: str) -> Response:
        """`isStale`: the line changed since the draft was made from it, and it cannot be published so."""
        found = line_of(request, project, line)
        draft = drafts.draft_of(found)
        if draft is None:
            raise NotFound("The line has no draft.")
        return Response(
            {
                "revision": found.revision,
                "baseRevision": draft.base_number,
                "draftRevision": draft.draft_revision,
                "isStale": draft.base_number != found.revision,
                **diff_json(drafts.draft_diff(draft)),
            }
        )


class PublishView(APIView):
    """POST the draft's publication."""

    permission_classes = [PUBLISH]

    @answers({200: RevisionJson, 202: DraftJson}, refuses=(409, 422))
    def post(self, request: Request, project: str, line: str) -> Response:
        """200 with the revision that runs now; 202 with the draft where it is planned."""
        given = read(PublishBody, request.data)
        found = line_of(request, project, line)
        if "at" in given:
            if given["at"] is not None and given["at"] <= timezone.now():
                raise serializers.ValidationError({"at": ["This time is over. Leave `at` out to publish at once."]})
            draft = drafts.draft_schedule(line=found, draft_revision=given["draftRevision"], at=given["at"])
            return Response(_draft(found, draft), status=202)
        revision = drafts.draft_publish(
            line=found, draft_revision=given["draftRevision"], by=user_of(request), note=given["note"]
        )
        return Response(_revision(revision))


class RevisionsView(APIView):
    """GET revisions, newest first."""

    permission_classes = [VIEW]

    @answers(RevisionsJson)
    def get(self, request: Request, project: str, line: str) -> Response:
        """`{"revision": the one that runs, "results": [...], "next": number or null}`."""
        wanted = read(RevisionsQuery, request.query_params)
        found = line_of(request, project, line)
        rows = found.revisions.select_related("published_by").order_by("-number")
        if "before" in wanted:
            rows = rows.filter(number__lt=wanted["before"])
        page, more = page_of(rows, wanted["limit"])
        return Response(
            {
                "revision": found.revision,
                "results": [_revision(one) for one in page],
                "next": page[-1].number if more else None,
            }
        )


class RevisionView(APIView):
    """GET one revision, with its document and what a rollback to it would change now."""

    permission_classes = [VIEW]

    @answers(RevisionWithDocumentJson, refuses=(422,))
    def get(self, request: Request, project: str, line: str, number: int) -> Response:
        found = line_of(request, project, line)
        revision = get_object_or_404(found.revisions, number=number)
        return Response(
            {
                **_revision(revision),
                "document": revision.document,
                "rollback": diff_json(drafts.diff_of(found, revision.document)),
            }
        )


class RollbackView(APIView):
    """POST: publish what a revision was, as a new one."""

    permission_classes = [PUBLISH]

    @answers(RevisionJson, refuses=(409, 422))
    def post(self, request: Request, project: str, line: str, number: int) -> Response:
        """The new revision."""
        given = read(RollbackBody, request.data)
        found = line_of(request, project, line)
        get_object_or_404(found.revisions, number=number)
        revision = drafts.rollback(
            line=found, number=number, revision=given["revision"], by=user_of(request), note=given["note"]
        )
        return Response(_revision(revision))


def line_of(call: Request, project: str, line: str) -> Line:
    """By its address; 404 where the caller has none."""
    return one_of(Line, actor_in(call), Act.MANAGE_ENDPOINTS, "project", project__slug=project, slug=line)


def diff_json(diff: Diff) -> DiffJson:
    """`changes` as people read them; `problems` stand in the way of publishing."""
    return {
        "changes": [
            {
                "action": one.action,
                "noun": one.noun,
                "name": one.name,
                "fields": [{"name": name, "old": old, "new": new} for name, old, new in one.fields],
                "note": one.note,
            }
            for one in diff.changes
        ],
        "problems": [{"place": one.place, "text": one.text} for one in diff.complaints],
    }


def _draft(line: Line, draft: LineDraft) -> DraftJson:
    return {
        "revision": line.revision,
        "draftRevision": draft.draft_revision,
        "baseRevision": draft.base_number,
        "document": draft.document,
        "updatedBy": draft.updated_by.username if draft.updated_by else None,
        "updatedAt": draft.updated_at,
        "publishAt": draft.publish_at,
        "publishError": draft.publish_error,
    }


def _revision(revision: LineRevision) -> RevisionJson:
    return {
        "number": revision.number,
        "publishedAt": revision.published_at,
        "publishedBy": revision.published_by.username if revision.published_by else None,
        "source": revision.source,
        "note": revision.note,
    }
