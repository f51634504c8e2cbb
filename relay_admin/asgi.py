"""The process entry of the control plane: `uvicorn relay_admin.asgi:application`, with uvicorn's own logging off.
Beside Django the MCP server, at /mcp.

Static files are served by WhiteNoise's middleware out of the packages.
"""

import os

from django.core.asgi import get_asgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "relay_admin.settings")
_django = get_asgi_application()

from django.conf import settings  # noqa: E402 (after get_asgi_application, which sets Django up)

from relay_admin.body_limit import BodyLimit  # noqa: E402
from relay_admin.mcp.door import Door  # noqa: E402
from relay_contract import logs  # noqa: E402

logs.configure(settings.LOG_LEVEL, "control")
application = BodyLimit(Door(_django, settings.CONTROL_URL))
