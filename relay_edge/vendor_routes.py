"""From an address of the vendors' APIs, or of a raw call to a host, to its handler. No I/O."""

from relay_edge.auth import Authenticator
from relay_edge.catalog.holder import Catalog
from relay_edge.count_tokens import CountTokens
from relay_edge.host_passthrough import HostPassthrough
from relay_edge.inference import Handler, Inference
from relay_edge.metrics import Metrics
from relay_edge.model_list import ModelList


class VendorRoutes:
    """Every address that a key with the scope `inference` may call."""

    def __init__(self, catalog: Catalog, authenticator: Authenticator, inference: Inference, metrics: Metrics) -> None:
        models = ModelList(catalog, authenticator, metrics)
        self.PATHS: dict[str, Handler] = {**inference.ROUTES, **CountTokens(inference).ROUTES, **models.ROUTES}
        self.PREFIXES: dict[str, Handler] = {**models.PREFIXES, **HostPassthrough(inference).PREFIXES}
        """How addresses begin whose rest names something."""

    def below(self, path: str) -> Handler | None:
        """The handler of an address that is none of `PATHS`."""
        return next((handler for prefix, handler in self.PREFIXES.items() if path.startswith(prefix)), None)
