"""Every route of the portal with a parameter -> how it is filled (`test_strangers.Ids`)."""

HOME = "/portal/projects/{project}/"
_OF_PROJECT = {
    "": "",
    "keys": "keys",
    "keys/new": "keys/new",
    "keys/<int:key_number>": "keys/{relay_key}",
    "keys/<int:key_number>/rotate": "keys/{relay_key}/rotate",
    "keys/<int:key_number>/revoke": "keys/{relay_key}/revoke",
    "members": "members",
    "members/<int:member_number>": "members/{member}",
    "members/budget": "members/budget",
    "members/<int:member_number>/budget": "members/{member}/budget",
    "members/<int:member_number>/remove": "members/{member}/remove",
    "invitations/<int:invitation_number>/take-back": "invitations/{invitation}/take-back",
    "settings": "settings",
    "settings/leave": "settings/leave",
    "settings/transfer": "settings/transfer",
    "usage": "usage",
    "wallet": "wallet",
    "calls": "calls",
    "calls/<uuid:call_id>": "calls/{call}",
    "requests": "requests",
    "requests/<uuid:request_id>": "requests/{request}",
    "failures": "failures",
    "failures/replay": "failures/replay?delivery={delivery}",
    "failures/replays/<int:batch_id>": "failures/replays/{batch}",
    "failures/replays/<int:batch_id>/<slug:word>": "failures/replays/{batch}/pause",
}
_OF_WALLET = {
    "": "",
    "/entries.csv": "/entries.csv",
    "/codes": "/codes",
    "/top-ups": "/top-ups",
    "/top-ups/<uuid:source>": "/top-ups/{request}",
    "/invoices/<int:invoice_id>": "/invoices/{wallet}",
    "/invoices/<int:invoice_id>/csv": "/invoices/{wallet}/csv",
}
PORTAL_ROUTES = {f"portal/projects/<str:project>/{route}": HOME + filled for route, filled in _OF_PROJECT.items()}
PORTAL_ROUTES |= {
    f"portal/wallets/<int:wallet_id>{route}": f"/portal/wallets/{{wallet}}{filled}"
    for route, filled in _OF_WALLET.items()
}
PORTAL_ROUTES["portal/calls/<uuid:call_id>"] = "/portal/calls/{call}"
