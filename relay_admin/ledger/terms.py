"""Terms of projects: what their users' calls are marked up by, and who has how much of that. New ones are added, and no
row is changed: calls name the terms that they were charged under."""

from django.core.exceptions import ValidationError
from django.db import transaction

from relay_admin.access.models import User
from relay_admin.catalog.models import Project
from relay_admin.ledger.models import Terms
from relay_contract.ledger import MAX_MARKUP_PPM, MILLION

PERMISSION = "ledger.post_entry"
"""Whoever may post may say how is posted."""


def terms_set(*, project: Project, markup_ppm: int, owner_ppm: int, referral_ppm: int, by: User) -> Terms:
    """Terms of every call that is admitted once the edge has them, a moment later. The project's row gets a copy of the
    mark-up; with that the change is in the audit log. Raises ValidationError."""
    if not 0 <= markup_ppm <= MAX_MARKUP_PPM:
        raise ValidationError({"markup_ppm": f"A mark-up is 0 to {MAX_MARKUP_PPM} millionths of the cost."})
    for name, share in (("owner_ppm", owner_ppm), ("referral_ppm", referral_ppm)):
        if not 0 <= share <= MILLION:
            raise ValidationError({name: f"A share is 0 to {MILLION} millionths."})
    with transaction.atomic():
        locked = Project.objects.select_for_update().get(pk=project.pk)
        terms = Terms.objects.create(
            project_id=locked.pk, markup_ppm=markup_ppm, owner_ppm=owner_ppm, referral_ppm=referral_ppm, by_id=by.pk
        )
        locked.terms_id, locked.markup_ppm = terms.pk, markup_ppm
        locked.save(update_fields=["terms_id", "markup_ppm", "updated_at"])
    return terms
