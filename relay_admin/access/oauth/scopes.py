"""What an application may ask users for, in the words they read."""

SCOPES = {
    "inference": "Call models, at your expense",
    "account": "See your name, your balance, and what you used and paid for",
    "offline_access": "Go on doing so while you are away, until you revoke it",
}
INFERENCE = "inference"
DEFAULT_SCOPES = (INFERENCE,)
OFFLINE = "offline_access"
ACCOUNT = "account"
