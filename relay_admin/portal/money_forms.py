"""Forms of the portal's wallets."""

from collections.abc import Sequence
from typing import Any

from django import forms

from relay_admin.ledger.amounts import price_text
from relay_admin.ledger.packs import Pack
from relay_contract.ids import uuid7


class CodeForm(forms.Form):
    """A credit code."""

    code = forms.CharField(
        label="Code", max_length=64, widget=forms.TextInput(attrs={"autocomplete": "off", "spellcheck": "false"})
    )


class PackForm(forms.Form):
    """What is bought. `id` makes a form that is sent twice one top-up."""

    pack = forms.ChoiceField(label="How much")
    id = forms.UUIDField(widget=forms.HiddenInput)

    def __init__(self, packs: Sequence[Pack], data: Any = None) -> None:
        super().__init__(data, initial={"id": uuid7()})
        self._packs = {str(pack): pack for pack in packs}
        field = self.fields["pack"]
        assert isinstance(field, forms.ChoiceField)
        field.choices = [
            (name, f"{pack.credits:,} credits for {price_text(pack.price_minor, pack.currency)}")
            for name, pack in self._packs.items()
        ]

    @property
    def chosen(self) -> Pack:
        """Of a valid form."""
        return self._packs[self.cleaned_data["pack"]]
