"""What the home's lines to paste name: an endpoint and a model that there are. A look-up or three each."""

from relay_admin.catalog.models import Endpoint, HostBinding
from relay_contract.nouns import WireShape
from relay_contract.pricing import PriceMeter


def endpoint() -> Endpoint | None:
    """One that takes calls; None where none does."""
    enabled = Endpoint.objects.filter(is_enabled=True, line__is_enabled=True, line__project__is_archived=False)
    return enabled.select_related("line__project").first()


def model() -> str | None:
    """One that talks, on a host that has a key before one that has none; None while no host serves any."""
    served = HostBinding.objects.filter(is_enabled=True, model__is_enabled=True, wire_shape=WireShape.OPENAI_CHAT)
    # Hosts of this shape serve embeddings too, which have no price for output.
    chats = served.filter(pricing__rates__contains=[{"meter": PriceMeter.OUTPUT}])
    with_key = chats.filter(host__is_enabled=True, host__keys__is_enabled=True)
    for rows in (with_key, chats, served):
        if (name := rows.order_by("model__name").values_list("model__name", flat=True).first()) is not None:
            return name
    return None
