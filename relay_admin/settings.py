"""Django's settings, read once from the environment. `.env.example` describes every variable.

A mistake ends the process with a list of all of them: whoever imports this is about to start, and has no use for a
traceback. The only place that uses django-environ, which imports Django; the edge and the workers do without it.
"""

from pathlib import Path
from urllib.parse import urlsplit

import environ

from relay_admin import sidebar
from relay_admin.ledger import packs
from relay_contract.env import ConfigurationError, Env

_LOOPBACK = ("127.0.0.1", "localhost", "::1")
BASE_DIR = Path(__file__).resolve().parent.parent

_env = Env(environ.Env.ENVIRON)
SECRET_KEY = _env.secret("RELAY_SECRET_KEY")
MASTER_KEYS = _env.master_keys()
EGRESS_ALLOW = _env.networks("RELAY_EGRESS_ALLOW")
CONTROL_URL = _env.url("RELAY_CONTROL_URL", ("http", "https"), "http://127.0.0.1:8081").rstrip("/")
_port = _env.integer("RELAY_PORT", 8080, 1, 65_535)
EDGE_URL = _env.url("RELAY_EDGE_URL", ("http", "https"), f"http://127.0.0.1:{_port}").rstrip("/")
EDGE_INTERNAL_URL = _env.url("RELAY_EDGE_INTERNAL_URL", ("http", "https"), EDGE_URL).rstrip("/")
EDGE_DATABASE_URL = _env.url("RELAY_EDGE_DATABASE_URL", default="")
REDIS_URL = _env.url("REDIS_URL", ("redis", "rediss", "unix"))
BOOTSTRAP_ADMIN_USERNAME = _env.text("RELAY_BOOTSTRAP_ADMIN_USERNAME", "admin")
BOOTSTRAP_ADMIN_PASSWORD = _env.secret("RELAY_BOOTSTRAP_ADMIN_PASSWORD", "")
BOOTSTRAP_ADMIN_TOKEN = _env.secret("RELAY_BOOTSTRAP_ADMIN_TOKEN", "")
REPLAY_CHARGE = _env.text("RELAY_REPLAY_CHARGE", "first_free", ("first_free", "free", "half", "full"))
STRIPE_SECRET_KEY = _env.secret("RELAY_STRIPE_SECRET_KEY", "")
STRIPE_WEBHOOK_SECRET = _env.secret("RELAY_STRIPE_WEBHOOK_SECRET", None if STRIPE_SECRET_KEY else "")
STRIPE_URL = _env.url("RELAY_STRIPE_URL", ("https", "http"), "https://api.stripe.com").rstrip("/")
_no_packs: tuple[packs.Pack, ...] = ()
CREDIT_PACKS = _env.parsed("RELAY_CREDIT_PACKS", _no_packs, packs.EXPECTED, packs.read_packs)
SIGNUP_GIFT_CREDITS = _env.integer("RELAY_SIGNUP_GIFT_CREDITS", 0, 0, 1_000_000)
API_CALLS_PER_MINUTE = _env.integer("RELAY_API_CALLS_PER_MINUTE", 3_000, 0, 1_000_000)
LOG_LEVEL = _env.text("RELAY_LOG_LEVEL", "INFO", ("DEBUG", "INFO", "WARNING", "ERROR"))
MAIL_URL = _env.url("RELAY_MAIL_URL", ("smtp", "smtps"), "")
MAIL_FROM = _env.mailbox("RELAY_MAIL_FROM", None if MAIL_URL else "")
SIGNUP = _env.text("RELAY_SIGNUP", "invite", ("off", "invite", "open"))
if SIGNUP == "open" and not MAIL_URL:
    _env.refuse("RELAY_SIGNUP is open and RELAY_MAIL_URL is not set: addresses are proved by mail; set it, or `invite`")
OIDC_ISSUER = _env.url("RELAY_OIDC_ISSUER", ("https", "http"), "")
OIDC_CLIENT_ID = _env.text("RELAY_OIDC_CLIENT_ID", None if OIDC_ISSUER else "")
OIDC_CLIENT_SECRET = _env.secret("RELAY_OIDC_CLIENT_SECRET", None if OIDC_ISSUER else "")
OIDC_FOR = _env.text("RELAY_OIDC_FOR", "customers", ("staff", "customers", "both"))
OIDC_DOMAINS = frozenset(_env.text("RELAY_OIDC_DOMAINS", "").lower().replace(",", " ").split())
if OIDC_ISSUER and OIDC_FOR != "customers" and not OIDC_DOMAINS:
    _env.refuse(
        "RELAY_OIDC_DOMAINS is not set: it names the e-mail domains whose people become staff by RELAY_OIDC_FOR"
    )
if OIDC_ISSUER.startswith("http:") and urlsplit(OIDC_ISSUER).hostname not in _LOOPBACK:
    _env.refuse("RELAY_OIDC_ISSUER is wrong; expected https, since who listens in could sign in as anybody")
if STRIPE_URL.startswith("http:") and urlsplit(STRIPE_URL).hostname not in _LOOPBACK:
    _env.refuse("RELAY_STRIPE_URL is wrong; expected https, since Stripe's secret key is sent there")
SPILL_FOLDER = _env.text("RELAY_SPILL_DIR", "")
_database_url = _env.url("DATABASE_URL")
_control_hosts = _env.text("RELAY_CONTROL_HOSTS", "").replace(",", " ").split()
try:
    _env.done()
except ConfigurationError as _mistakes:
    raise SystemExit(str(_mistakes)) from None

# Where catalog documents find the secrets that they refer to by name (`value_env`).
ENVIRONMENT = environ.FileAwareEnv.ENVIRON

_control = urlsplit(CONTROL_URL)
_control_name = _control.hostname or ""
_control_host = f"[{_control_name}]" if ":" in _control_name else _control_name
# Loopback always: health checks ask there, whatever the public names are.
ALLOWED_HOSTS = [*(_control_hosts or [_control_host]), "127.0.0.1", "localhost"]
CSRF_TRUSTED_ORIGINS = [f"{_control.scheme}://{_control.netloc}"]
_is_https = _control.scheme == "https"
SESSION_ENGINE = "relay_admin.access.sessions"
SESSION_COOKIE_HTTPONLY = True
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = _is_https
SESSION_COOKIE_SAMESITE = CSRF_COOKIE_SAMESITE = "Lax"
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https") if _is_https else None
SECURE_HSTS_SECONDS = 31_536_000 if _is_https else 0
SECURE_CONTENT_TYPE_NOSNIFF = True
SECURE_REFERRER_POLICY = "same-origin"
X_FRAME_OPTIONS = "DENY"
DEBUG = False

INSTALLED_APPS = [
    "unfold",
    "unfold.contrib.filters",
    "django.contrib.admin",
    "relay_admin.access.apps.GroupsConfig",  # django.contrib.auth
    "django.contrib.contenttypes",
    "django.contrib.postgres",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "rest_framework",
    "drf_spectacular",
    "drf_spectacular_sidecar",
    "oauth2_provider",
    "relay_admin.access.apps.AccessConfig",
    "relay_admin.catalog",
    "relay_admin.ledger",
    "relay_admin.deliveries",
    "relay_admin.traffic",
    "relay_admin.portal",
]
AUTH_USER_MODEL = "access.User"
AUTHENTICATION_BACKENDS = ["relay_admin.access.throttle.ThrottledBackend"]
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.UserAttributeSimilarityValidator"},
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator", "OPTIONS": {"min_length": 12}},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
]

MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "relay_admin.content_policy.content_policy",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "relay_admin.cache_policy.cache_policy",
    "relay_admin.access.session_middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "relay_admin.access.request_actor.request_actor",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]
ROOT_URLCONF = "relay_admin.urls"
ASGI_APPLICATION = "relay_admin.asgi.application"
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "relay_admin" / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ],
        },
    },
]

# Under ASGI each request runs in its own thread, so connections come from psycopg's pool and not from CONN_MAX_AGE.
_database = environ.Env.db_url_config(_database_url)
DATABASES = {
    "default": _database
    | {
        "ENGINE": "django.db.backends.postgresql",
        "CONN_MAX_AGE": 0,
        "CONN_HEALTH_CHECKS": True,  # a pooled connection may have ended with a restarted Postgres
        # With what the URL asks for behind its `?`: sslmode above all.
        "OPTIONS": {**_database.get("OPTIONS", {}), "pool": {"min_size": 1, "max_size": 12, "timeout": 10}},
    },
}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": [
        "relay_admin.control_api.authentication.BearerAuthentication",
        "rest_framework.authentication.SessionAuthentication",
    ],
    "DEFAULT_PERMISSION_CLASSES": ["rest_framework.permissions.IsAuthenticated"],
    "DEFAULT_THROTTLE_CLASSES": ["relay_admin.control_api.rate.CallerRate"],
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    "DEFAULT_PARSER_CLASSES": ["relay_admin.control_api.wire.JsonBody"],
    "EXCEPTION_HANDLER": "relay_admin.control_api.errors.handle",
    "DEFAULT_SCHEMA_CLASS": "relay_admin.control_api.reference.auto_schema.RelaySchema",
}
SPECTACULAR_SETTINGS = {
    "TITLE": "Relay control API",
    "DESCRIPTION": "What operators do in the admin and members in the portal, for programs.",
    "VERSION": "1",
    "OAS_VERSION": "3.1.1",
    "COMPONENT_SPLIT_REQUEST": True,
    "POSTPROCESSING_HOOKS": ["relay_admin.control_api.reference.tidy.without_marks"],
    "ENUM_GENERATE_CHOICE_DESCRIPTION": False,
    "ENABLE_DJANGO_DEPLOY_CHECK": False,  # it makes the whole document; a test does
}

OAUTH2_PROVIDER_APPLICATION_MODEL = "access.OAuthApplication"
OAUTH2_PROVIDER_GRANT_MODEL = "access.Grant"
OAUTH2_PROVIDER_ACCESS_TOKEN_MODEL = "access.AccessToken"  # noqa: S105  # a model's label
OAUTH2_PROVIDER_REFRESH_TOKEN_MODEL = "access.RefreshToken"  # noqa: S105
# The toolkit's own; grants, scopes and lives are in `access/oauth/`.
OAUTH2_PROVIDER = {
    "PKCE_REQUIRED": True,
    "ROTATE_REFRESH_TOKEN": True,
    "REFRESH_TOKEN_REUSE_PROTECTION": True,
    "ALLOWED_REDIRECT_URI_SCHEMES": ["https"],
    "COMPLIANT_BCP_RFC9700_IMPLICIT_GRANT": True,
    "COMPLIANT_BCP_RFC9700_PASSWORD_GRANT": True,
    "COMPLIANT_BCP_RFC9700_PKCE_METHOD": True,
    "COMPLIANT_BCP_RFC9700_PKCE_REQUIRED": True,
    "COMPLIANT_BCP_RFC9700_ACCESS_TOKEN_TRANSPORT": True,
    "COMPLIANT_BCP_RFC9700_AUTHZ_RESPONSE_ISS": True,
    "COMPLIANT_BCP_RFC9700_TOKEN_STORAGE": True,
    "COMPLIANT_BCP_RFC9700_REFRESH_TOKEN": True,
    "COMPLIANT_BCP_RFC9700_REDIRECT_URI_SCHEME": True,
    "COMPLIANT_BCP_RFC9700_REDIRECT_URI_MATCHING": True,
}

LANGUAGE_CODE = "en"
TIME_ZONE = "UTC"
USE_I18N = True
FORMAT_MODULE_PATH = ["relay_admin.formats"]
USE_TZ = True
# WhiteNoise finds the files in the packages when the process starts: there is no collectstatic to forget.
STATIC_URL = "/static/"
STATICFILES_DIRS = [BASE_DIR / "relay_admin" / "static"]
WHITENOISE_USE_FINDERS = True
WHITENOISE_ROOT = BASE_DIR / "relay_admin" / "root"  # what browsers ask for at the root: /favicon.ico
LOGIN_URL = "/account/sign-in"
LOGIN_REDIRECT_URL = "admin:index"
UNFOLD = sidebar.UNFOLD

LOGGING_CONFIG = None  # asgi.py and the workers call relay_contract.logs.configure
