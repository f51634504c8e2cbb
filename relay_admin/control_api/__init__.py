"""The REST API of the control plane, for programs: the same services as the admin, camelCase on the wire."""
