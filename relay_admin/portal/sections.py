"""A project's sections in the portal, in the order of the navigation, each with what opens it. Pure.

A section is shown once its view is in `urls.py` under the section's name, with the project's slug as its argument.
"""

from dataclasses import dataclass

from relay_admin.access.roles import ACTS, Act, Role


@dataclass(frozen=True, slots=True)
class Section:
    """`name`: of its view. Views of pages below it are named `{name}-...`; `also`: other such beginnings."""

    name: str
    title: str
    act: Act
    also: tuple[str, ...] = ()

    @property
    def view(self) -> str:
        """For `{% url %}`."""
        return f"portal:{self.name}"

    def is_open_to(self, role: Role) -> bool:
        """Whether the navigation shows it."""
        return self.act in ACTS[role]


SECTIONS = (
    Section("project", "Overview", Act.SEE_PROJECT),
    Section("usage", "Usage", Act.SEE_TRAFFIC),
    Section("calls", "Calls", Act.SEE_TRAFFIC),
    Section("requests", "Requests", Act.SEE_TRAFFIC),
    Section("failures", "Failure queue", Act.SEE_TRAFFIC),
    Section("wallet", "Wallet", Act.SEE_MONEY),
    Section("keys", "Keys", Act.OWN_KEYS, also=("key",)),
    Section("members", "Members", Act.MANAGE_MEMBERS, also=("member", "invitation")),
    Section("settings", "Settings", Act.SEE_PROJECT),
)
