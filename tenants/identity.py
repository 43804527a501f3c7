"""Who is asking: API key, guest session or staff session -> tenant, roles, actor, in the order of D9.

A guest session counts on `GUEST_PAGES` and, without any sign of staff, on the API; staff pages open to staff sessions alone.
Sockets keep the cookies of their handshake as `Cookie` values and ask `standing_of` again and again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import import_module
from types import SimpleNamespace
from typing import Any

from django.conf import settings
from django.contrib import auth
from django.http import HttpRequest
from django.utils import timezone

from . import queries, scope
from .credentials import hashed, parse_bearer
from .models import ApiKey, GuestSession, LinkSecret, Membership, Person, Tenant
from .permissions import PERSON, SIGNED_IN, STRANGER, Actor

API = "/api/"
STAFF_PAGES = "/t/"
GUEST_PAGES = ("/join/", "/my/")
TENANT_HEADER = "Cleac-Tenant"
GUEST_COOKIE = "cleac_guest"
GUEST, STAFF = "guest", "staff"


@dataclass(frozen=True)
class Identity:
    """Who asks, for which tenant, and what they showed for it: a `key`, a `session` (staff or guest) or nothing.

    `person` is filled in by the middleware once the tenant's scope is open; `guest` is the session of a guest.
    """

    credential: str = ""
    actor: Actor | None = None
    roles: frozenset[str] = field(default_factory=lambda: frozenset({STRANGER}))
    tenant: Tenant | None = None
    membership: Membership | None = None
    person: Person | None = None
    scopes: tuple[str, ...] = ()
    guest: GuestSession | None = None


def identify(request: HttpRequest) -> Identity:
    """API key, then guest session, then staff session. A key or session that is unknown, ended or revoked is nobody."""
    if request.path.startswith(API):
        secret = parse_bearer(request.headers.get("Authorization", ""))
        if secret is not None:
            return _by_key(queries.key_by_hash(hashed(secret)))
        slug = request.headers.get(TENANT_HEADER, "")
        return _by_session(request, slug) if slug else _by_guest_session(request) or _by_session(request, "")
    if request.path.startswith(STAFF_PAGES):
        return _by_session(request, request.path.split("/")[2])
    if request.path.startswith(GUEST_PAGES):
        found = _by_guest_session(request)
        if found is not None:
            return found
    if request.user.is_authenticated:
        return Identity("session", roles=scope.roles_of(request.user))
    return Identity()


def _by_key(key: ApiKey | None) -> Identity:
    now = timezone.now()
    if key is None or key.revoked_at or (key.expires_at and key.expires_at <= now):
        return Identity()
    ApiKey.objects.filter(pk=key.pk).exclude(last_used_on=now.date()).update(last_used_on=now.date())
    return Identity("key", Actor.api_key(key), frozenset(), key.tenant, scopes=tuple(key.scopes))


def _by_guest_session(request: HttpRequest) -> Identity | None:
    session = _living_guest_session(request.COOKIES.get(GUEST_COOKIE, ""))
    if session is None:
        return None
    actor = Actor("person", str(session.person_id), str(session.tenant_id))
    return Identity("session", actor, frozenset({PERSON}), session.tenant, guest=session)


def _living_guest_session(token: str) -> GuestSession | None:
    session = queries.guest_session_by_hash(hashed(token)) if token else None
    if session is None or session.ended_at is not None or session.expires_at <= timezone.now() or session.link.stolen:
        return None
    return session


def _by_session(request: HttpRequest, slug: str) -> Identity:
    if not request.user.is_authenticated:
        return Identity()
    membership = scope.membership_of(request.user, slug)
    if membership is None:
        return Identity("session", roles=frozenset({SIGNED_IN}))
    actor = Actor("person", str(membership.person_id), str(membership.tenant_id))
    return Identity("session", actor, frozenset({membership.role}), membership.tenant, membership)


def identity_of(request: HttpRequest) -> Identity:
    """What the middleware found out about this request."""
    found: Identity = getattr(request, "identity", None) or Identity()
    return found


# Sockets


@dataclass(frozen=True)
class Cookie:
    """One session that a browser showed in a handshake. `ref` names it without giving it away: 64 hex digits."""

    kind: str
    secret: str = field(repr=False)

    @property
    def ref(self) -> str:
        return hashlib.sha256(f"{self.kind}:{self.secret}".encode()).hexdigest()


@dataclass(frozen=True)
class Standing:
    """Who a session stands for in a tenant now, with which role; `link` is what a guest came by."""

    actor: Actor
    role: str
    link: LinkSecret | None = None


def cookies_of(cookies: Mapping[str, str]) -> list[Cookie]:
    """The sessions among a browser's cookies."""
    named = {GUEST: cookies.get(GUEST_COOKIE, ""), STAFF: cookies.get(settings.SESSION_COOKIE_NAME, "")}
    return [Cookie(kind, secret) for kind, secret in named.items() if secret]


def session_ref(request: HttpRequest) -> str:
    """The `ref` of the session by which this request was identified; a ticket is bound to it."""
    if identity_of(request).guest is not None:
        return Cookie(GUEST, request.COOKIES[GUEST_COOKIE]).ref
    return Cookie(STAFF, request.session.session_key or "").ref


def standing_of(cookie: Cookie, tenant: Tenant) -> Standing | None:
    """What the session is worth in this tenant now; None once it has ended, or its user or membership is gone."""
    if cookie.kind == GUEST:
        session = _living_guest_session(cookie.secret)
        if session is None or session.tenant_id != tenant.pk:
            return None
        return Standing(Actor("person", str(session.person_id), str(tenant.pk)), PERSON, session.link)
    user = _user_of(cookie.secret)
    membership = queries.membership_in(tenant, user) if user is not None else None
    if membership is None:
        return None
    return Standing(Actor("person", str(membership.person_id), str(tenant.pk)), membership.role)


class _Held(dict[str, Any]):
    """What a session holds, for a socket. The session itself belongs to the page, whose next request ends or renews it; a look writes nothing."""

    def flush(self) -> None:
        """The session is worth nothing any more."""
        self.clear()

    def cycle_key(self) -> None:
        """A new key could not be told to the browser."""


def _user_of(session_key: str) -> Any:
    """The user of a living staff session, by the same checks that a page request makes, or None."""
    store = import_module(settings.SESSION_ENGINE).SessionStore(session_key)
    user: Any = auth.get_user(SimpleNamespace(session=_Held(store.load())))  # type: ignore[arg-type]  # reason: all that it uses
    return user if user.is_authenticated else None
