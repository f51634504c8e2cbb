"""The admin's pages of calls to models: `call.py`, and what narrows their list down: `filters.py`."""

from relay_admin.traffic.admin.call import CallAdmin

__all__ = ["CallAdmin"]
