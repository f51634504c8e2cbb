"""What mails say: subject and plain text. Pure."""

from relay_admin.access.models import MailKind

_IGNORE = "If it was not you who asked, ignore this mail: nothing has changed."
_END = "\n\n-- \nRelay at {control}\n"

_TEXTS: dict[str, tuple[str, str]] = {
    MailKind.SIGN_UP: (
        "Finish signing up",
        f"To make your account, open this link within a day and choose a password:\n\n{{link}}\n\n{_IGNORE}",
    ),
    MailKind.RESET: (
        "Set a new password",
        f"To set a new password, open this link within an hour. It works once:\n\n{{link}}\n\n{_IGNORE}",
    ),
    MailKind.VERIFY: (
        "Confirm your e-mail address",
        "To confirm that {address} is your address, open this link within a day, in the browser that you are"
        f" signed in with:\n\n{{link}}\n\n{_IGNORE}",
    ),
    MailKind.INVITATION: (
        "You are invited",
        "You are invited to use Relay. To accept, open this link:\n\n{link}\n\nIf you do not know who invited you,"
        " ignore this mail.",
    ),
    MailKind.PASSWORD_CHANGED: (
        "Your password has changed",
        "The password of your account has changed, and its other sessions have ended. If that was not you, set a new"
        " one:\n\n{link}",
    ),
    MailKind.ADDRESS_CHANGED: (
        "Your e-mail address has changed",
        "Your account has another e-mail address now, and mails no longer go to {address}. If that was not you, ask"
        " whoever runs this relay.",
    ),
}
HAS_ACCOUNT = (
    "You have an account already",
    "Somebody, perhaps you, wanted to use {address} for an account at this relay. It is the address of one already."
    " Sign in with it, or set a new password:\n\n{link}",
)
PATHS = {
    MailKind.SIGN_UP: "/account/sign-up/{token}",
    MailKind.RESET: "/account/reset/{token}",
    MailKind.VERIFY: "/account/address/{token}",
    MailKind.INVITATION: "/account/invitation/{token}",
}
_RESET_PATH = "/account/reset"


def text_of(kind: MailKind, *, control: str, address: str, token: str = "") -> tuple[str, str]:
    """Subject and text. `control`: where the control plane is, without a slash at its end."""
    return _filled(_TEXTS[kind], control, address, PATHS.get(kind, _RESET_PATH).format(token=token))


def has_account_text(*, control: str, address: str) -> tuple[str, str]:
    """For the owner of an address that somebody wanted to sign up with, or to change theirs to."""
    return _filled(HAS_ACCOUNT, control, address, _RESET_PATH)


def _filled(texts: tuple[str, str], control: str, address: str, path: str) -> tuple[str, str]:
    subject, text = texts
    return subject, (text + _END).format(control=control, address=address, link=control + path)
