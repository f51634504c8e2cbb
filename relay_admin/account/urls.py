"""Addresses of `/account/`. Tokens are made by us: nothing longer is looked up."""

from django.urls import path, register_converter

from relay_admin.account import addresses, balance, invitations, oidc, passwords, sessions, sign_in, sign_up

app_name = "account"


class TokenConverter:
    """Text that may be a token of a link."""

    regex = r"[0-9A-Za-z_-]{16,128}"

    def to_python(self, value: str) -> str:
        """As it is."""
        return value

    def to_url(self, value: str) -> str:
        """As it is."""
        return value


register_converter(TokenConverter, "token")

urlpatterns = [
    path("", sign_in.home, name="home"),
    path("sign-in", sign_in.sign_in, name="sign-in"),
    path("sign-out", sign_in.sign_out, name="sign-out"),
    path("sign-up", sign_up.ask, name="sign-up"),
    path("sign-up/<token:token>", sign_up.finish, name="sign-up-finish"),
    path("invitation/<token:token>", invitations.accept, name="invitation"),
    path("reset", passwords.ask, name="reset"),
    path("reset/<token:token>", passwords.reset, name="reset-finish"),
    path("password", passwords.change, name="password"),
    path("address", addresses.ask, name="address"),
    path("address/<token:token>", addresses.confirm, name="address-confirm"),
    path("oidc", oidc.connect, name="oidc"),
    path("oidc/begin", oidc.begin, name="oidc-begin"),
    path("oidc/callback", oidc.callback, name="oidc-callback"),
    path("balance", balance.balance, name="balance"),
    path("sessions", sessions.sessions, name="sessions"),
]
