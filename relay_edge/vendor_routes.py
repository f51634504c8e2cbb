"""From an address of the vendors' APIs, or of a raw call to a host, to its handler. No I/O."""

from aiohttp import web

from relay_contract.errors import NotFound
from relay_edge.auth import Authenticator
from relay_edge.catalog.holder import Catalog
from relay_edge.count_tokens import CountTokens
from relay_edge.error_shapes import ErrorShape
from relay_edge.host_passthrough import HostPassthrough
from relay_edge.inference import Handler, Inference
from relay_edge.metrics import Metrics
from relay_edge.model_list import ModelList
from relay_edge.protocols.anthropic_messages import VERSION_HEADER
from relay_edge.reply import request_id_of, send_error

_VENDORS = ("/v1/", "/openai/", "/anthropic/")
_ANTHROPIC = ("/anthropic/", "/v1/messages")
_NOT_SERVED = "The relay does not serve this address. What hosts have besides is reached by /passthrough/{host}/{path}."


class VendorRoutes:
    """Every address that a key with the scope `inference` may call."""

    def __init__(self, catalog: Catalog, authenticator: Authenticator, inference: Inference, metrics: Metrics) -> None:
        models = ModelList(catalog, authenticator, metrics)
        self.PATHS: dict[str, Handler] = {**inference.ROUTES, **CountTokens(inference).ROUTES, **models.ROUTES}
        self.PREFIXES: dict[str, Handler] = {**models.PREFIXES, **HostPassthrough(inference).PREFIXES}
        """How addresses begin whose rest names something."""
        self._metrics = metrics.surfaces["other"]

    def below(self, path: str) -> Handler | None:
        """The handler of an address that is none of `PATHS`."""
        for prefix, handler in self.PREFIXES.items():
            if path.startswith(prefix):
                return handler
        return self._not_served if path.startswith(_VENDORS) else None

    async def _not_served(self, request: web.BaseRequest) -> web.StreamResponse:
        """404 in the words of the vendor whose address it is, so that its SDK can read them."""
        is_anthropic = VERSION_HEADER in request.headers or request.raw_path.startswith(_ANTHROPIC)
        self._metrics.done(NotFound.status, 0.0)
        shape = ErrorShape.ANTHROPIC if is_anthropic else ErrorShape.OPENAI
        return send_error(request, NotFound(_NOT_SERVED), shape, request_id_of(request))
