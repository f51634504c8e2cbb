"""Forms of who is in a project."""

from typing import Any

from django import forms

from relay_admin.access.models import Membership
from relay_admin.access.roles import GIVEN, Role
from relay_admin.account.forms import AddressForm
from relay_admin.catalog.models import Project

ROLES = {
    Role.ADMIN: "admin: everything but handing the project over",
    Role.DEVELOPER: "developer: traffic and its content, test keys, endpoints",
    Role.SUPPORT: "support: traffic and its content, replays, the wallet to read",
    Role.VIEWER: "viewer: traffic, without content",
}
_CHOICES = [(str(role), ROLES[role]) for role in GIVEN]


class RoleForm(forms.Form):
    """A role that members give, beside the one that is held: nobody becomes more by saving what they were shown."""

    role = forms.ChoiceField(choices=_CHOICES)

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        held = self.initial.get("role")
        if held and held not in GIVEN:
            role = self.fields["role"]
            assert isinstance(role, forms.ChoiceField)
            role.choices = [(held, f"{held}: as now"), *_CHOICES]


class InviteForm(AddressForm, RoleForm):
    """Whom, and as what."""

    field_order = ["email", "role"]

    def __init__(self, data: Any = None) -> None:
        super().__init__(data, initial={"role": str(Role.DEVELOPER)})


class TransferForm(forms.Form):
    """To whom; the project's short name, typed, says that it is meant."""

    member = forms.ModelChoiceField(None, label="New owner", empty_label=None)
    slug = forms.CharField(
        label="The project's short name, to confirm",
        max_length=63,
        widget=forms.TextInput(attrs={"autocomplete": "off", "autocapitalize": "none", "spellcheck": "false"}),
    )

    def __init__(self, project: Project, data: Any = None) -> None:
        super().__init__(data)
        self._project = project
        member = self.fields["member"]
        assert isinstance(member, forms.ModelChoiceField)
        others = Membership.objects.filter(project=project).exclude(role=str(Role.OWNER)).select_related("user")
        member.queryset = others.order_by("user__email")
        member.label_from_instance = lambda one: f"{one.user.email} ({one.role})"  # type: ignore[method-assign]

    def clean_slug(self) -> str:
        """Raises ValidationError for another."""
        typed: str = self.cleaned_data["slug"]
        if typed != self._project.slug:
            raise forms.ValidationError(f"Type {self._project.slug}.")
        return typed
