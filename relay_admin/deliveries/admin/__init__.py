"""Admin pages of the traffic, one file a noun. Read-only, but for the replay action and the rules of alerts."""

from relay_admin.deliveries.admin import alert, attempt, delivery, replay_batch, request

__all__ = ["alert", "attempt", "delivery", "replay_batch", "request"]
