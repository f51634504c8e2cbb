"""`/hooks/stripe`: what the provider tells. The signature is looked at before anything else, the body read once.

200: it was acted on, or is none of ours. 400: it is forged or older than 300 s. 500: it does not say what our top-up
says; nothing was written, and the provider sends it again.
"""

import logging
import time

from django.http import Http404, HttpRequest, JsonResponse
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_POST

from relay_admin.access.acting import Via, acting_as
from relay_admin.ledger.providers.base import EventForgedError, ProviderError
from relay_admin.ledger.providers.stripe import provider
from relay_admin.ledger.topups import EventMismatchError, event_apply
from relay_contract.logs import log_fields

logger = logging.getLogger(__name__)

MAX_BODY_BYTES = 65_536


@csrf_exempt
@require_POST
def stripe(request: HttpRequest) -> JsonResponse:
    """404 without keys."""
    stripe_now = provider()
    if stripe_now is None:
        raise Http404
    body = request.read(MAX_BODY_BYTES + 1)
    if len(body) > MAX_BODY_BYTES:
        return JsonResponse({"error": "body_too_large"}, status=413)
    try:
        event = stripe_now.read(request.headers, body, time.time())
        with acting_as(Via.API, stripe_now.name):
            outcome = event_apply(event) if event else "ignored"
    except EventForgedError as error:
        logger.warning("payment_event_forged", extra=log_fields(verdict=str(error)))
        return JsonResponse({"error": "signature", "verdict": str(error)}, status=400)
    except (EventMismatchError, ProviderError) as error:
        logger.exception("payment_event_refused", extra=log_fields(reason=str(error)))
        return JsonResponse({"error": "refused"}, status=500)
    return JsonResponse({"outcome": outcome})
