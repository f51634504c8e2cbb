"""What mails say: subject and plain text. Pure."""

from relay_admin.access.models import MailKind

_IGNORE = "If it was not you who asked, ignore this mail: nothing has changed."
_END = "\n\n-- \nRelay at {control}\n"
_SUBJECTS = {
    MailKind.SIGN_UP: "Finish signing up",
    MailKind.RESET: "Set a new password",
    MailKind.VERIFY: "Confirm your e-mail address",
    MailKind.INVITATION: "You are invited",
    MailKind.CHANGED_PASSWORD: "Your password has changed",
    MailKind.CHANGED_ADDRESS: "Your e-mail address has changed",
}
_TEXTS = {
    MailKind.SIGN_UP: f"To make your account, open this link within a day:\n\n{{link}}\n\n{_IGNORE}",
    MailKind.RESET: f"To set a new password, open this link within an hour. It works once:\n\n{{link}}\n\n{_IGNORE}",
    MailKind.VERIFY: f"""To confirm that {{address}} is your address, open this link within a day, in the browser that
you are signed in with:\n\n{{link}}\n\n{_IGNORE}""",
    MailKind.INVITATION: """You are invited to use Relay. To accept, open this link:\n\n{link}\n
If you do not know who invited you, ignore this mail.""",
    MailKind.CHANGED_PASSWORD: """The password of your account has changed, and its other sessions have ended.
If that was not you, set a new one:\n\n{link}""",
    MailKind.CHANGED_ADDRESS: """Your account has another e-mail address now, and mails no longer go to {address}.
If that was not you, ask whoever runs this relay.""",
}
_HAS_ACCOUNT = """Somebody, perhaps you, wanted to use {address} for an account at this relay.
It is the address of one already. Sign in with it, or set a new password:\n\n{link}"""
_LOW_BALANCE = """The {whose} has {left} credits left. You wanted to be told below {limit}.
The next mail of this kind comes after it was filled and fell again.

What it has: {link}"""
PATHS = {
    MailKind.SIGN_UP: "/account/sign-up/{token}",
    MailKind.RESET: "/account/reset/{token}",
    MailKind.VERIFY: "/account/address/{token}",
    MailKind.INVITATION: "/account/invitation/{token}",
}
_RESET_PATH = "/account/reset"


def text_of(kind: MailKind, *, control: str, address: str, token: str = "") -> tuple[str, str]:
    """Subject and text. `control`: where the control plane is, without a slash at its end."""
    path = PATHS.get(kind, _RESET_PATH).format(token=token)
    return _SUBJECTS[kind], _filled(_TEXTS[kind], control, address, path)


def has_account_text(*, control: str, address: str) -> tuple[str, str]:
    """For the owner of an address that somebody wanted to sign up with, or to change theirs to."""
    return "You have an account already", _filled(_HAS_ACCOUNT, control, address, _RESET_PATH)


def low_balance_text(*, control: str, whose: str, left: str, limit: str, path: str) -> tuple[str, str]:
    """`whose`: the wallet, which the page at `path` shows; amounts in credits."""
    told = _LOW_BALANCE.format(whose=whose, left=left, limit=limit, link=f"{control}{path}")
    return "Credits are running low", told + _END.format(control=control)


def _filled(text: str, control: str, address: str, path: str) -> str:
    return (text + _END).format(control=control, address=address, link=control + path)
