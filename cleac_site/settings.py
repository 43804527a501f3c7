"""Environment or secret file -> settings.

`Environment` is the one typed list of what an operator can set; the rest of this file turns it into Django's names.
`docs/operations.md` names every field, and a house test holds the two together.
"""

from __future__ import annotations

import os
import secrets
from datetime import timedelta
from pathlib import Path
from typing import Any, Literal, Self
from urllib.parse import urlsplit

import dj_database_url
from csp.constants import NONE, SELF
from django.core.exceptions import ImproperlyConfigured
from django.utils.translation import gettext_lazy as _
from pydantic import Field, SecretStr, ValidationError, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from calls.media.addresses import as_told
from calls.media.turn import servers

BASE_DIR = Path(__file__).resolve().parent.parent
SECRETS = {"secret_key": "CLEAC_SECRET_KEY", "pipe_key": "CLEAC_PIPE_KEY", "master_key": "CLEAC_MASTER_KEY"}
# Addresses hold passwords, so they too may be in files.
ADDRESSES = {"database_url": "DATABASE_URL", "keys_database_url": "CLEAC_KEYS_DATABASE_URL", "redis_url": "REDIS_URL", "email_url": "EMAIL_URL"}
SCHEMES = {
    "database_url": ("postgresql", "postgres", "sqlite"),
    "keys_database_url": ("postgresql", "postgres", "sqlite"),
    "redis_url": ("redis", "rediss", "unix"),
    "email_url": ("console", "smtp", "smtp+tls"),
    "public_url": ("http", "https"),
}


class Environment(BaseSettings):
    """What an operator sets. Secrets are also read from the file named by `<NAME>_FILE`; in dev they are made once, mode 600."""

    model_config = SettingsConfigDict(env_prefix="CLEAC_", extra="ignore", populate_by_name=True)

    env: Literal["dev", "production"] = "dev"
    data: Path = Path("var")
    public_url: str = "http://127.0.0.1:8000"
    contact_email: str = "contact@example.org"
    mail_from: str = "Cleac <no-reply@example.org>"
    email_url: str = Field(default="console://", validation_alias="EMAIL_URL")
    database_url: str = Field(default="", validation_alias="DATABASE_URL")
    keys_database_url: str = Field(default="", validation_alias="CLEAC_KEYS_DATABASE_URL")
    redis_url: str = Field(default="", validation_alias="REDIS_URL")
    trusted_proxies: int = 0
    demo_meetings: bool = True
    media_udp_host: str = "127.0.0.1"
    media_udp_port: int = Field(default=0, ge=0, le=65535)
    media_tcp: bool = True
    media_path: Literal["auto", "native", "python"] = "auto"
    media_public_ip: str = ""
    media_last_n: int = Field(default=0, ge=0, le=100)
    media_control_host: str = "127.0.0.1"
    media_control_port: int = Field(default=0, ge=0, le=65535)
    media_control_advertise: str = Field(default="", pattern=r"^[0-9A-Za-z.:-]*$", max_length=70)
    media_workers: int = Field(default=0, ge=0, le=64)
    media_capacity: int = Field(default=50_000, ge=1)
    turn_urls: str = ""
    turn_secret: SecretStr = SecretStr("")
    secret_key: SecretStr = SecretStr("")
    pipe_key: SecretStr = SecretStr("")
    master_key: SecretStr = SecretStr("")

    @model_validator(mode="after")
    def resolve(self) -> Self:
        """Make paths absolute, fill secrets, refuse what would be unsafe in production."""
        self.data = self.data.resolve()
        for name, variable in ADDRESSES.items():
            if os.environ.get(f"{variable}_FILE") and variable not in os.environ:
                setattr(self, name, Path(os.environ[f"{variable}_FILE"]).read_text().strip())
        for name, schemes in SCHEMES.items():
            if getattr(self, name):
                check_address(ADDRESSES.get(name, f"CLEAC_{name.upper()}"), getattr(self, name), schemes)
        parts = urlsplit(self.public_url)
        if not parts.hostname or parts.path not in ("", "/") or parts.query or parts.fragment:
            raise ValueError("CLEAC_PUBLIC_URL is a scheme, a host and perhaps a port, for example https://meet.example.org")
        self.public_url = self.public_url.rstrip("/")
        self._check_media()
        for name, variable in SECRETS.items():
            if not getattr(self, name).get_secret_value():
                setattr(self, name, SecretStr(self._secret(variable)))
        if self.env == "production":
            self._refuse_unsafe()
        self.database_url = self.database_url or f"sqlite:///{self.data / 'db.sqlite3'}"
        self.keys_database_url = self.keys_database_url or f"sqlite:///{self.data / 'keys.sqlite3'}"
        return self

    def _check_media(self) -> None:
        for variable, read, text in (("CLEAC_MEDIA_PUBLIC_IP", as_told, self.media_public_ip), ("CLEAC_TURN_URLS", servers, self.turn_urls)):
            try:
                read(text)
            except ValueError as error:
                raise ValueError(f"{variable}: {error}") from None
        named = os.environ.get("CLEAC_TURN_SECRET_FILE")
        if named and not self.turn_secret.get_secret_value():
            self.turn_secret = SecretStr(Path(named).read_text().strip())
        if bool(self.turn_urls) != bool(self.turn_secret.get_secret_value()):
            raise ValueError("set CLEAC_TURN_URLS and CLEAC_TURN_SECRET together: a TURN server without its secret is of no use")

    def _secret(self, variable: str) -> str:
        named = os.environ.get(f"{variable}_FILE")
        if named:
            return Path(named).read_text().strip()
        if self.env == "production":
            raise ValueError(f"set {variable} or {variable}_FILE: production makes no secrets of its own")
        return made_once(self.data / "secrets" / variable.lower())

    def _refuse_unsafe(self) -> None:
        needed = {"DATABASE_URL": self.database_url, "CLEAC_KEYS_DATABASE_URL": self.keys_database_url, "REDIS_URL": self.redis_url}
        # Printed mail would leave addresses and personal links in the log.
        needed |= {"EMAIL_URL": "" if urlsplit(self.email_url).scheme == "console" else self.email_url}
        missing = [name for name, value in needed.items() if not value]
        if missing:
            raise ValueError(f"set {', '.join(missing)}: production takes no stand-in for a server")
        if urlsplit(self.public_url).scheme != "https":
            raise ValueError("set CLEAC_PUBLIC_URL to an https address: cameras and cookies need TLS")
        short = [variable for name, variable in SECRETS.items() if len(getattr(self, name).get_secret_value()) < 32]
        if short:
            raise ValueError(f"{', '.join(short)}: at least 32 characters are needed")


def check_address(variable: str, address: str, schemes: tuple[str, ...]) -> None:
    """Raises ValueError for what is no address of this kind. It may hold a password, so only the setting's name is told."""
    try:
        parts = urlsplit(address)
        known = parts.scheme in schemes and address.startswith(f"{parts.scheme}://") and (parts.port is None or parts.port > 0)
    except ValueError:
        known = False
    if not known:
        raise ValueError(f"{variable} is no address that begins with {' or '.join(f'{scheme}://' for scheme in schemes)}")


def made_once(path: Path) -> str:
    """The secret kept in `path`, made on first use. Two processes that start together agree on one value."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    draft = path.with_suffix(f".{os.getpid()}")
    draft.touch(mode=0o600)
    draft.write_text(secrets.token_urlsafe(48))
    try:
        os.link(draft, path)
    except FileExistsError:
        pass
    finally:
        draft.unlink()
    return path.read_text().strip()


def loaded() -> Environment:
    try:
        return Environment()
    except ValidationError as error:
        first = error.errors()[0]
        name = "_".join(str(part) for part in first["loc"]) or "settings"
        raise ImproperlyConfigured(f"{name}: {first['msg'].removeprefix('Value error, ')}") from None
    except OSError as error:
        raise ImproperlyConfigured(f"CLEAC_DATA or a secret file cannot be used: {error.strerror}: {error.filename}") from None


CLEAC = loaded()
DEV = CLEAC.env == "dev"
DEBUG = False
SECRET_KEY = CLEAC.secret_key.get_secret_value()
PUBLIC = urlsplit(CLEAC.public_url)
ALLOWED_HOSTS = [PUBLIC.hostname or "localhost"] + (["127.0.0.1", "localhost"] if DEV else [])
CSRF_TRUSTED_ORIGINS = [f"{PUBLIC.scheme}://{PUBLIC.netloc}"]

INSTALLED_APPS = [
    "cleac_site",
    "compliance",
    "tenants",
    "consent",
    "calls",
    "recordings",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.sites",
    "servestatic.runserver_nostatic",
    "django.contrib.staticfiles",
    "allauth",
    "allauth.account",
    "axes",
    "channels",
    "csp",
    "rest_framework",
    "drf_spectacular",
    "drf_standardized_errors",
]
MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "servestatic.middleware.ServeStaticMiddleware",
    "csp.middleware.CSPMiddleware",
    "django_permissions_policy.PermissionsPolicyMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.locale.LocaleMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "allauth.account.middleware.AccountMiddleware",
    "tenants.middleware.TenancyMiddleware",
    "axes.middleware.AxesMiddleware",
]
ROOT_URLCONF = "cleac_site.urls"
ASGI_APPLICATION = "cleac_site.asgi.application"
SITE_ID = 1
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
                "cleac_site.context.site",
            ]
        },
    }
]


def database(url: str, *, test_name: str | None) -> dict[str, Any]:
    """Django's dictionary for one address. SQLite gets WAL and immediate transactions, so that writers queue instead of failing."""
    config: dict[str, Any] = dict(dj_database_url.parse(url, conn_max_age=60))
    if config["ENGINE"].endswith("sqlite3"):
        pragmas = "PRAGMA journal_mode=WAL;PRAGMA synchronous=NORMAL;PRAGMA foreign_keys=ON;"
        config["CONN_MAX_AGE"] = 0
        config["OPTIONS"] = {"transaction_mode": "IMMEDIATE", "timeout": 20, "init_command": pragmas}
    if test_name:
        config["TEST"] = {"NAME": test_name}
    return config


_test_name = os.environ.get("CLEAC_TEST_DATABASE_NAME")
DATABASES = {
    "default": database(CLEAC.database_url, test_name=_test_name),
    "keys": database(CLEAC.keys_database_url, test_name=_test_name and f"{_test_name}_keys"),
}
DATABASE_ROUTERS = ["tenants.routers.KeysRouter"]
ATOMIC_REQUESTS = False  # tenants.scope opens the one transaction of a request

AUTH_USER_MODEL = "tenants.User"
AUTHENTICATION_BACKENDS = [
    "axes.backends.AxesStandaloneBackend",
    "allauth.account.auth_backends.AuthenticationBackend",
]
PASSWORD_HASHERS = ["django.contrib.auth.hashers.Argon2PasswordHasher"]
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator", "OPTIONS": {"min_length": 12}},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
    {"NAME": "django.contrib.auth.password_validation.UserAttributeSimilarityValidator"},
]
LOGIN_URL = "account_login"
LOGIN_REDIRECT_URL = "home"
ACCOUNT_ADAPTER = "tenants.accounts.Adapter"
ACCOUNT_FORMS = {"signup": "tenants.accounts.SignupForm"}
ACCOUNT_LOGIN_METHODS = {"email"}
ACCOUNT_SIGNUP_FIELDS = ["email*", "password1*", "password2*"]
ACCOUNT_USER_MODEL_USERNAME_FIELD = None
ACCOUNT_EMAIL_VERIFICATION = "mandatory"
ACCOUNT_EMAIL_SUBJECT_PREFIX = ""
ACCOUNT_LOGOUT_REDIRECT_URL = "front"
ACCOUNT_PREVENT_ENUMERATION = True
ACCOUNT_SESSION_REMEMBER = True
AXES_HANDLER = "tenants.lockout.Lockout"  # the library's own keep addresses, browsers and what was typed
AXES_FAILURE_LIMIT = 5
AXES_COOLOFF_TIME = timedelta(minutes=15)
AXES_LOCKOUT_TEMPLATE = "429.html"
AXES_HTTP_RESPONSE_CODE = 429
AXES_VERBOSE = False
AXES_CLIENT_IP_CALLABLE = "tenants.throttle.address_of"
MIGRATION_MODULES = {"axes": None}  # it has no tables here

SESSION_ENGINE = "tenants.sessions"
SESSION_COOKIE_HTTPONLY = True
SESSION_COOKIE_SAMESITE = "Lax"
SESSION_COOKIE_AGE = 12 * 3600
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = not DEV
CSRF_COOKIE_SAMESITE = "Lax"
SECURE_SSL_REDIRECT = not DEV
SECURE_HSTS_SECONDS = 0 if DEV else 365 * 24 * 3600
SECURE_HSTS_INCLUDE_SUBDOMAINS = not DEV
SECURE_REDIRECT_EXEMPT = [r"^healthz$", r"^readyz$"]
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https") if CLEAC.trusted_proxies else None
SECURE_REFERRER_POLICY = "same-origin"  # "no-referrer" would make browsers send Origin: null with our own forms
SECURE_CROSS_ORIGIN_OPENER_POLICY = "same-origin"
X_FRAME_OPTIONS = "DENY"
CONTENT_SECURITY_POLICY = {
    "DIRECTIVES": {
        "default-src": [NONE],
        "script-src": [SELF],
        "style-src": [SELF],
        "img-src": [SELF, "data:"],
        "font-src": [SELF],
        "connect-src": [SELF, f"{'wss' if PUBLIC.scheme == 'https' else 'ws'}://{PUBLIC.netloc}"],
        "media-src": [SELF, "blob:"],
        "worker-src": [SELF],
        "manifest-src": [SELF],
        "form-action": [SELF],
        "frame-ancestors": [NONE],
        "base-uri": [NONE],
    }
}
PERMISSIONS_POLICY: dict[str, str | list[str]] = {
    "camera": "self",
    "microphone": "self",
    "display-capture": "self",
    "autoplay": "self",
    "fullscreen": "self",
    "picture-in-picture": "self",
    "geolocation": [],
    "usb": [],
    "payment": [],
}
DATA_UPLOAD_MAX_MEMORY_SIZE = 1024 * 1024
DATA_UPLOAD_MAX_NUMBER_FIELDS = 200

LANGUAGE_CODE = "en"
LANGUAGES = [("en", _("English"))]
LOCALE_PATHS = [BASE_DIR / "cleac_site" / "locale"]
USE_TZ = True
TIME_ZONE = "UTC"

STATIC_URL = "static/"
STATIC_ROOT = BASE_DIR / "static-collected"
_static = "django.contrib.staticfiles.storage.StaticFilesStorage" if DEV else "cleac_site.staticfiles.HashedStorage"
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {"BACKEND": _static},
}
SERVESTATIC_USE_FINDERS = DEV
SERVESTATIC_AUTOREFRESH = False

CACHES = (
    {
        "default": {
            "BACKEND": "django.core.cache.backends.redis.RedisCache",
            "LOCATION": CLEAC.redis_url,
            "KEY_PREFIX": "cleac",
            "OPTIONS": {"socket_connect_timeout": 2, "socket_timeout": 2},  # seconds: a limit is never worth a page that hangs
        }
    }
    if CLEAC.redis_url
    else {"default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}}
)
CHANNEL_LAYERS = {
    "default": {
        "BACKEND": "calls.consumers.layer.Notes",
        # Seconds: nobody's socket waits longer for a Redis that does not answer.
        "CONFIG": {"hosts": [{"address": CLEAC.redis_url, "socket_connect_timeout": 2, "socket_timeout": 2}]},
    },
}

_mail = urlsplit(CLEAC.email_url)
EMAIL_BACKEND = f"django.core.mail.backends.{'smtp' if _mail.scheme.startswith('smtp') else 'console'}.EmailBackend"
EMAIL_HOST, EMAIL_PORT = _mail.hostname or "localhost", _mail.port or 25
EMAIL_HOST_USER, EMAIL_HOST_PASSWORD = _mail.username or "", _mail.password or ""
EMAIL_USE_TLS = _mail.scheme == "smtp+tls"
DEFAULT_FROM_EMAIL = CLEAC.mail_from

REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": [],
    "DEFAULT_PERMISSION_CLASSES": [],
    "DEFAULT_SCHEMA_CLASS": "tenants.schema.Schema",
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    "DEFAULT_PARSER_CLASSES": ["rest_framework.parsers.JSONParser"],
    "EXCEPTION_HANDLER": "tenants.base_views.problem_handler",
    "UNAUTHENTICATED_USER": None,
}
DRF_STANDARDIZED_ERRORS = {"EXCEPTION_FORMATTER_CLASS": "tenants.base_views.ProblemFormatter"}
# RFC 9457, as `tenants.base_views` writes it.
PROBLEM = {
    "type": "object",
    "description": "RFC 9457. `code` says for programs what `title` says for people; `errors` has one item for each value at fault.",
    "required": ["type", "title", "status", "code"],
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "code": {"type": "string"},
        "errors": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["code", "detail", "attr"],
                "properties": {"code": {"type": "string"}, "detail": {"type": "string"}, "attr": {"type": ["string", "null"]}},
            },
        },
    },
}
SPECTACULAR_SETTINGS = {
    "TITLE": "Cleac",
    "DESCRIPTION": "Consented video meetings: meetings, invitations, decisions, recordings and requests of one tenant.",
    "VERSION": "1",
    "OAS_VERSION": "3.1.1",
    "SERVE_INCLUDE_SCHEMA": False,
    "COMPONENT_SPLIT_REQUEST": True,
    "APPEND_COMPONENTS": {"schemas": {"Problem": PROBLEM}},
    "ENUM_NAME_OVERRIDES": {
        "MeetingState": "calls.models.Meeting.State",
        "CallState": "calls.models.Call.State",
        "RecordingState": "recordings.models.Recording.State",
    },
}

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"line": {"()": "cleac_site.log_lines.Line", "format": "%(asctime)s %(levelname)s %(name)s %(message)s"}},
    "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "line"}},
    "root": {"handlers": ["stderr"], "level": "INFO"},
    "loggers": {
        "daphne": {"level": "WARNING"},
        "django.channels.server": {"level": "WARNING"},  # its lines carry addresses
        "axes": {"level": "CRITICAL"},  # its lines carry e-mail addresses
    },
}
