"""What an application may ask users for, in the words they read."""

SCOPES = {
    "inference": "Call models, at your expense",
    "account": "See your name and your balance",
    "offline_access": "Go on doing so while you are away, until you revoke it",
}
DEFAULT_SCOPES = ("inference",)
OFFLINE = "offline_access"
ACCOUNT = "account"
