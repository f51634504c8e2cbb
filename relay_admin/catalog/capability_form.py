"""The form of a model: each capability a field of its own, of which "not known" is one answer."""

from collections.abc import Mapping
from typing import Any

from django import forms
from django.core.exceptions import ValidationError
from unfold.widgets import (
    UnfoldAdminCheckboxSelectMultipleWidget,
    UnfoldAdminIntegerFieldWidget,
    UnfoldAdminSelectWidget,
)

from relay_admin.catalog import validators
from relay_admin.catalog.models import Model
from relay_contract.nouns import CAPABILITIES, CAPABILITY_WORDS

_UNKNOWN = ("", "not known")
_YES_NO = (_UNKNOWN, ("yes", "yes"), ("no", "no"))
_HELP = {
    "context_tokens": "The largest prompt.",
    "structured_output": "A JSON schema that it is held to.",
    "prefill": "A last turn of the assistant that it goes on from.",
    "thinking_modes": "None ticked: not known.",
    "effort_levels": "None ticked: not known.",
    "sampling_limits": "Of temperature and top_p.",
}

FIELDS = (
    ("capability_context_tokens", "capability_max_output_tokens"),
    ("capability_tools", "capability_structured_output", "capability_images"),
    ("capability_documents", "capability_audio", "capability_prefill"),
    ("capability_reasoning", "capability_sampling_limits"),
    ("capability_thinking_modes",),
    ("capability_effort_levels",),
)
"""As the page lays them out."""


def _field(name: str) -> forms.Field:
    about = {"required": False, "label": name.replace("_", " ").capitalize(), "help_text": _HELP.get(name, "")}
    words = [(word, word) for word in CAPABILITY_WORDS.get(name, ())]
    if name.endswith("_tokens"):
        return forms.IntegerField(min_value=1, widget=UnfoldAdminIntegerFieldWidget(), **about)
    if name == "sampling_limits":
        return forms.ChoiceField(choices=(_UNKNOWN, *words), widget=UnfoldAdminSelectWidget(), **about)
    if words:
        return forms.MultipleChoiceField(choices=words, widget=UnfoldAdminCheckboxSelectMultipleWidget(), **about)
    return forms.ChoiceField(choices=_YES_NO, widget=UnfoldAdminSelectWidget(), **about)


def _shown(value: Any) -> Any:
    return {True: "yes", False: "no"}.get(value) if isinstance(value, bool) else value


def _stored(value: Any) -> Any:
    """None for what is not known."""
    return {"yes": True, "no": False, "": None}.get(value, value) if isinstance(value, str) else value or None


def in_words(capabilities: Mapping[str, Any]) -> str:
    """E.g. `tools, images, no audio, thinking modes: manual`; the context is left to a column of its own."""
    words = []
    for name in CAPABILITIES[1:]:
        value, plain = capabilities.get(name), name.replace("_", " ")
        match value:
            case None:
                continue
            case bool():
                words.append(plain if value else f"no {plain}")
            case list():
                words.append(f"{plain}: {'/'.join(map(str, value))}")
            case _:
                words.append(f"{plain}: {value}")
    return ", ".join(words)


class _CapabilityFields(forms.ModelForm):
    """What puts the stored object into the fields and back."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for name in CAPABILITIES:
            if f"capability_{name}" in self.fields:
                self.fields[f"capability_{name}"].initial = _shown(self.instance.capabilities.get(name))

    def clean(self) -> dict[str, Any]:
        """The object out of the fields. A field that was refused leaves the row as it was."""
        cleaned = super().clean() or self.cleaned_data
        known = {name: _stored(cleaned.get(f"capability_{name}")) for name in CAPABILITIES}
        capabilities = {name: value for name, value in known.items() if value is not None}
        if not self.errors:
            try:
                validators.capabilities(capabilities)
            except ValidationError as error:
                self.add_error(None, error)
            else:
                self.instance.capabilities = capabilities
        return cleaned


ModelForm = type(
    "ModelForm",
    (_CapabilityFields,),
    {
        "__doc__": "A model, and its capabilities as fields.",
        "Meta": type("Meta", (), {"model": Model, "exclude": ("capabilities",)}),
        **{f"capability_{name}": _field(name) for name in CAPABILITIES},
    },
)
