"""Admin pages of the catalog, one file a noun. Forms check, `services` write whatever holds a secret."""

from relay_admin.catalog.admin import endpoint, host, line, model, policy, pricing, project, target

__all__ = ["endpoint", "host", "line", "model", "policy", "pricing", "project", "target"]
