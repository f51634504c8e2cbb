"""Django's settings, read once from the environment. `.env.example` describes every variable.

The only place that uses django-environ: it imports Django, so the edge and the workers read theirs through
`relay_contract.env`, which also reads here whatever all of them must understand alike.
"""

from pathlib import Path

import environ

from relay_admin import sidebar
from relay_contract.env import Env as ContractEnv

env = environ.FileAwareEnv()
BASE_DIR = Path(__file__).resolve().parent.parent

SECRET_KEY = env.str("RELAY_SECRET_KEY")
_contract_env = ContractEnv(env.ENVIRON)
MASTER_KEY = _contract_env.key32("RELAY_MASTER_KEY")
EGRESS_ALLOW = _contract_env.networks("RELAY_EGRESS_ALLOW")
_contract_env.done()

CONTROL_URL = env.str("RELAY_CONTROL_URL", default="http://127.0.0.1:8081").rstrip("/")
EDGE_URL = env.str("RELAY_EDGE_URL", default="http://127.0.0.1:8080").rstrip("/")
EDGE_DATABASE_URL = env.str("RELAY_EDGE_DATABASE_URL", default="")
RETENTION_DAYS = env.int("RELAY_RETENTION_DAYS", default=30)
BOOTSTRAP_ADMIN_USERNAME = env.str("RELAY_BOOTSTRAP_ADMIN_USERNAME", default="admin")
BOOTSTRAP_ADMIN_PASSWORD = env.str("RELAY_BOOTSTRAP_ADMIN_PASSWORD", default="")
BOOTSTRAP_ADMIN_TOKEN = env.str("RELAY_BOOTSTRAP_ADMIN_TOKEN", default="")
# Where catalog documents find the secrets that they refer to by name (`value_env`).
ENVIRONMENT = env.ENVIRON

_control_host = CONTROL_URL.split("//", 1)[-1].split("/", 1)[0].rsplit(":", 1)[0]
ALLOWED_HOSTS = env.list("RELAY_CONTROL_HOSTS", default=[]) or [_control_host, "127.0.0.1", "localhost"]
CSRF_TRUSTED_ORIGINS = [CONTROL_URL]
_is_https = CONTROL_URL.startswith("https://")
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
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.postgres",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "rest_framework",
    "relay_admin.access",
    "relay_admin.catalog",
    "relay_admin.deliveries",
]
AUTH_USER_MODEL = "access.User"
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.UserAttributeSimilarityValidator"},
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator", "OPTIONS": {"min_length": 12}},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
]

MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
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
DATABASES = {
    "default": env.db("DATABASE_URL")
    | {
        "ENGINE": "django.db.backends.postgresql",
        "CONN_MAX_AGE": 0,
        "CONN_HEALTH_CHECKS": True,  # a pooled connection may have ended with a restarted Postgres
        "OPTIONS": {"pool": {"min_size": 1, "max_size": 12, "timeout": 10}},
    },
}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
REDIS_URL = env.str("REDIS_URL")

REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": [
        "relay_admin.control_api.authentication.AdminTokenAuthentication",
        "rest_framework.authentication.SessionAuthentication",
    ],
    "DEFAULT_PERMISSION_CLASSES": ["rest_framework.permissions.IsAuthenticated"],
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    "DEFAULT_PARSER_CLASSES": ["rest_framework.parsers.JSONParser"],
    "EXCEPTION_HANDLER": "relay_admin.control_api.errors.handle",
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
LOGIN_URL = "admin:login"
UNFOLD = sidebar.UNFOLD

LOGGING_CONFIG = None  # asgi.py and the workers call relay_contract.logs.configure
LOG_LEVEL = env.str("RELAY_LOG_LEVEL", default="INFO")
