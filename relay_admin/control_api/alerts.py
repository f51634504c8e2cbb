"""`/api/v1/alerts`: the rules of alerts, and what was told by them."""

from typing import Any

from django.shortcuts import get_object_or_404
from rest_framework import serializers
from rest_framework.request import Request as Call
from rest_framework.response import Response
from rest_framework.views import APIView

from relay_admin.control_api.answers import Rows, answers
from relay_admin.control_api.paging import Query
from relay_admin.control_api.permissions import requires
from relay_admin.control_api.wire import CamelCaseSerializer, ChoiceField, Strict, read
from relay_admin.deliveries.models import (
    MAX_ALERT_WINDOW_SECONDS,
    REMIND_SECONDS,
    REMINDER_REFUSAL,
    AlertEvent,
    AlertRule,
    is_reminder,
)

MAX_EVENTS = 200


class AlertRuleJson(CamelCaseSerializer):
    """A rule. `project` and `endpoint` are ids."""

    class Meta:
        model = AlertRule
        fields = [
            "id",
            "kind",
            "project",
            "target_id",
            "threshold",
            "window_seconds",
            "remind_seconds",
            "endpoint",
            "is_enabled",
        ]


class AlertRuleBody(Strict, serializers.ModelSerializer):
    """What makes or changes a rule."""

    serializer_choice_field = ChoiceField

    targetId = serializers.IntegerField(  # noqa: N815 - as on the wire
        source="target_id", min_value=1, max_value=2**63 - 1, allow_null=True, required=False
    )
    threshold = serializers.IntegerField(min_value=0, max_value=2**31 - 1, default=0)
    windowSeconds = serializers.IntegerField(  # noqa: N815 - as on the wire
        source="window_seconds", min_value=1, max_value=MAX_ALERT_WINDOW_SECONDS, default=300
    )
    remindSeconds = serializers.IntegerField(source="remind_seconds", default=REMIND_SECONDS)  # noqa: N815 - as above
    isEnabled = serializers.BooleanField(source="is_enabled", default=True)  # noqa: N815 - as on the wire

    class Meta:
        model = AlertRule
        fields = ["kind", "project", "targetId", "threshold", "windowSeconds", "remindSeconds", "endpoint", "isEnabled"]

    def validate_remindSeconds(self, seconds: int) -> int:  # noqa: N802 - named for its field
        """As the admin's form has it."""
        if not is_reminder(seconds):
            raise serializers.ValidationError(REMINDER_REFUSAL)
        return seconds


class EventsQuery(Query):
    """Query of the events."""

    open = serializers.BooleanField(default=False)


class AlertEventJson(CamelCaseSerializer):
    """Something that is or was wrong. `closedAt` null: it still is."""

    kind = serializers.CharField(source="rule.kind")

    class Meta:
        model = AlertEvent
        fields = [
            "id",
            "rule",
            "kind",
            "subject",
            "opened_at",
            "last_seen_at",
            "told_at",
            "reminder_count",
            "closed_at",
            "request_id",
            "details",
        ]


class RulesView(APIView):
    """All rules, and making one."""

    def get_permissions(self) -> list[Any]:
        """By what is asked."""
        return [requires(f"deliveries.{'view' if self.request.method == 'GET' else 'add'}_alertrule")()]

    @answers(Rows(AlertRuleJson, "items"))
    def get(self, _call: Call) -> Response:
        """The rules, by id."""
        return Response({"items": AlertRuleJson(AlertRule.objects.order_by("id"), many=True).data})

    @answers({201: AlertRuleJson})
    def post(self, call: Call) -> Response:
        """A new rule."""
        rule = AlertRuleBody(data=call.data)
        rule.is_valid(raise_exception=True)
        return Response(AlertRuleJson(rule.save()).data, status=201)


class RuleView(APIView):
    """One rule."""

    def get_permissions(self) -> list[Any]:
        """By what is asked."""
        verb = {"GET": "view", "DELETE": "delete"}.get(str(self.request.method), "change")
        return [requires(f"deliveries.{verb}_alertrule")()]

    @answers(AlertRuleJson)
    def get(self, _call: Call, rule_id: int) -> Response:
        """As it is."""
        return Response(AlertRuleJson(get_object_or_404(AlertRule, pk=rule_id)).data)

    @answers(AlertRuleJson)
    def patch(self, call: Call, rule_id: int) -> Response:
        """With these fields changed."""
        rule = AlertRuleBody(get_object_or_404(AlertRule, pk=rule_id), data=call.data, partial=True)
        rule.is_valid(raise_exception=True)
        return Response(AlertRuleJson(rule.save()).data)

    @answers()
    def delete(self, _call: Call, rule_id: int) -> Response:
        """Gone with its events; nothing is told of that."""
        get_object_or_404(AlertRule, pk=rule_id).delete()
        return Response(status=204)


class EventsView(APIView):
    """The newest events; `?open=true`: what is wrong now."""

    permission_classes = [requires("deliveries.view_alertevent")]

    @answers(Rows(AlertEventJson, "items"))
    def get(self, call: Call) -> Response:
        """At most MAX_EVENTS."""
        events = AlertEvent.objects.select_related("rule").order_by("-opened_at", "-id")
        if read(EventsQuery, call.query_params)["open"]:
            events = events.filter(closed_at=None)
        return Response({"items": AlertEventJson(events[:MAX_EVENTS], many=True).data})
