"""The admin's test console: one call through the real edge, watched as it comes. `docs/test-console.md`."""
