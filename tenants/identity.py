"""Who is asking: API key, guest session or staff session -> tenant, roles, actor, in the order of D9."""

from __future__ import annotations

from dataclasses import dataclass, field

from django.http import HttpRequest
from django.utils import timezone

from . import queries, scope
from .credentials import hashed, parse_bearer
from .models import ApiKey, Membership, Person, Tenant
from .permissions import STRANGER, Actor

API = "/api/"
STAFF_PAGES = "/t/"
TENANT_HEADER = "Cleac-Tenant"


@dataclass(frozen=True)
class Identity:
    """Who asks, for which tenant, and what they showed for it: a `key`, a `session` or nothing."""

    credential: str = ""
    actor: Actor | None = None
    roles: frozenset[str] = field(default_factory=lambda: frozenset({STRANGER}))
    tenant: Tenant | None = None
    membership: Membership | None = None
    person: Person | None = None
    scopes: tuple[str, ...] = ()


def identify(request: HttpRequest) -> Identity:
    """API key, then staff session. A key that is unknown, expired or revoked is nobody."""
    if request.path.startswith(API):
        secret = parse_bearer(request.headers.get("Authorization", ""))
        if secret is not None:
            return _by_key(queries.key_by_hash(hashed(secret)))
        return _by_session(request, request.headers.get(TENANT_HEADER, ""))
    if request.path.startswith(STAFF_PAGES):
        return _by_session(request, request.path.split("/")[2])
    if request.user.is_authenticated:
        return Identity("session", roles=scope.roles_of(request.user))
    return Identity()


def _by_key(key: ApiKey | None) -> Identity:
    now = timezone.now()
    if key is None or key.revoked_at or (key.expires_at and key.expires_at <= now):
        return Identity()
    ApiKey.objects.filter(pk=key.pk).exclude(last_used_on=now.date()).update(last_used_on=now.date())
    return Identity("key", Actor.api_key(key), frozenset(), key.tenant, scopes=tuple(key.scopes))


def _by_session(request: HttpRequest, slug: str) -> Identity:
    if not request.user.is_authenticated:
        return Identity()
    membership = scope.membership_of(request.user, slug)
    if membership is None:
        return Identity("session", roles=frozenset())
    person = membership.person
    return Identity("session", Actor.person(person), frozenset({membership.role}), membership.tenant, membership, person)


def identity_of(request: HttpRequest) -> Identity:
    """What the middleware found out about this request."""
    found: Identity = getattr(request, "identity", None) or Identity()
    return found
