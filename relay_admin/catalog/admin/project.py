"""Pages of projects."""

from django import forms
from django.contrib import admin
from unfold.admin import TabularInline
from unfold.decorators import display

from relay_admin.access.people_admin import MembershipInline
from relay_admin.catalog.admin.base import CatalogAdmin
from relay_admin.catalog.credit_fields import BudgetField, CreditsField, budget_in_words, credits_typed
from relay_admin.catalog.models import Line, Project
from relay_admin.catalog.offered import offered, offered_fieldsets


class LineInline(TabularInline):
    """Lines of a project."""

    model = Line
    fields = ("slug", "is_enabled")
    extra = 0
    show_change_link = True


class ProjectForm(forms.ModelForm):
    """Money in credits."""

    budget = BudgetField(help_text="What all its calls may spend together in a calendar period, UTC. Empty: no budget.")
    user_budget = BudgetField(
        label="Budget of each user",
        help_text="What each user may spend in it, with keys of theirs and through applications. Members may have "
        "another, below. Empty: no budget.",
    )
    pool_cap_microcredits = CreditsField(
        label="Pool cap", help_text="Credits that its pool pays for each user and month. 0: the pool pays for nobody."
    )


@admin.register(Project)
class ProjectAdmin(CatalogAdmin):
    """A tenant."""

    form = ProjectForm
    list_display = ("slug", "name", "is_archived", "rate_limit", "updated_at")
    list_filter = ("is_archived", "rate_limit")
    empty_text = "A project is an app or a tenant. Lines, endpoints and relay keys belong to one."
    search_fields = ("slug", "name", "description")
    autocomplete_fields = offered(Project, ("rate_limit", "test_rate_limit"))
    fieldsets = offered_fieldsets(
        Project,
        (
            (None, ("slug", "name", "is_archived", "rate_limit", "test_rate_limit")),
            ("Relay keys", ("key_life_days", "longest_key_life_days", "endless_keys")),
            ("Money", ("billing", "budget", "user_budget", "pool_cap_microcredits")),
        ),
    )
    inlines = [LineInline, MembershipInline]
    shown_instead = {
        "budget": "budget_text",
        "user_budget": "user_budget_text",
        "pool_cap_microcredits": "pool_cap_text",
    }

    @display(description="budget")
    def budget_text(self, project: Project) -> str:
        """An amount and its period."""
        return budget_in_words(project.budget)

    @display(description="budget of each user")
    def user_budget_text(self, project: Project) -> str:
        """An amount and its period."""
        return budget_in_words(project.user_budget)

    @display(description="pool cap")
    def pool_cap_text(self, project: Project) -> str:
        """Credits for each user and month."""
        return credits_typed(project.pool_cap_microcredits)
