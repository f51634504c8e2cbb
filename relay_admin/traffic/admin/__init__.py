"""Admin pages of calls to models, one file a noun. Read-only, but for the reset of a breaker."""

from relay_admin.traffic.admin import breaker
from relay_admin.traffic.admin.call import CallAdmin

__all__ = ["CallAdmin", "breaker"]
