"""The relay from Python: `Relay`, `AsyncRelay`, `verify_webhook`, and errors that say what clears them."""

from relay_sdk.account import Account, AsyncAccount, NoWallet, Wallet
from relay_sdk.async_client import AsyncRelay
from relay_sdk.calls import Answer
from relay_sdk.client import Relay
from relay_sdk.errors import (
    ApiError,
    BudgetExceeded,
    Forbidden,
    InsufficientCredits,
    InvalidCall,
    PaymentRequired,
    RateLimited,
    RelayError,
    SignInFailed,
    Unauthenticated,
    Unavailable,
    Unreachable,
    UpstreamFailed,
    WebhookError,
)
from relay_sdk.oauth import Application, DeviceCode, Tokens, UserTokens
from relay_sdk.retries import Retries
from relay_sdk.streams import AsyncStream, Stream
from relay_sdk.tokens import AsyncTokenProvider, TokenProvider
from relay_sdk.webhooks import Webhook, sign_webhook, verify_webhook

__version__ = "0.1.0"

__all__ = [
    "Account", "Answer", "ApiError", "Application", "AsyncAccount", "AsyncRelay", "AsyncStream", "AsyncTokenProvider",
    "BudgetExceeded", "DeviceCode", "Forbidden", "InsufficientCredits", "InvalidCall", "NoWallet", "PaymentRequired",
    "RateLimited", "Relay", "RelayError", "Retries", "SignInFailed", "Stream", "TokenProvider", "Tokens",
    "Unauthenticated", "Unavailable", "Unreachable", "UpstreamFailed", "UserTokens", "Wallet", "Webhook",
    "WebhookError", "sign_webhook", "verify_webhook",
]  # fmt: skip
