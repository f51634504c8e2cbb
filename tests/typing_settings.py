"""Settings for mypy's Django plugin, which reads models and never connects: values of the right shape, none of use."""

import base64
import os

os.environ.update(
    {
        "DATABASE_URL": "postgresql://nobody:nothing@127.0.0.1:1/none",
        "REDIS_URL": "redis://127.0.0.1:1/0",
        "RELAY_SECRET_KEY": "not-a-key",
        "RELAY_MASTER_KEY": base64.b64encode(bytes(32)).decode(),
    }
)

from relay_admin.settings import *  # noqa: F403
