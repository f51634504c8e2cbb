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
    "members/<int:member_number>/remove": "members/{member}/remove",
    "invitations/<int:invitation_number>/take-back": "invitations/{invitation}/take-back",
    "settings": "settings",
    "settings/leave": "settings/leave",
    "settings/transfer": "settings/transfer",
}
PORTAL_ROUTES = {f"portal/projects/<str:project>/{route}": HOME + filled for route, filled in _OF_PROJECT.items()}
