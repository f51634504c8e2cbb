"""What an application may ask users for, in the words they read."""

SCOPES = {
    "inference": "Call models, at your expense",
    "account": "See your name, your balance, and what you used and paid for",
    "control:read": "See its project as your role there may, as a developer at most: endpoints, keys, traffic, content",
    "control": "Change what a developer of its project may: endpoints, targets, test keys, replays",
    "offline_access": "Go on doing so while you are away, until you revoke it",
}
INFERENCE = "inference"
DEFAULT_SCOPES = (INFERENCE,)
OFFLINE = "offline_access"
ACCOUNT = "account"
CONTROL_READ = "control:read"
CONTROL = "control"
AT_CONTROL = frozenset({ACCOUNT, CONTROL_READ, CONTROL})
"""What means something at the control plane."""
