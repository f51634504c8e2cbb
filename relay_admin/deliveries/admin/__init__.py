"""Admin pages of the traffic, one file a noun. Read-only, but for the replay action."""

from relay_admin.deliveries.admin import attempt, delivery, replay_batch, request

__all__ = ["attempt", "delivery", "replay_batch", "request"]
