"""The one table: ability -> roles, and who an Actor is.

A route names its ability; what no role holds, nobody may do. A route is public only if its ability is held by `stranger`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

OWNER, ADMIN, HOST, MEMBER, DPO, AUDITOR = "owner", "admin", "host", "member", "dpo", "auditor"
PERSON, STRANGER, OPERATOR = "person", "stranger", "operator"
SIGNED_IN = "signed-in"  # anyone with an account, whether or not some tenant counts them among its people
STAFF = frozenset({OWNER, ADMIN, HOST, MEMBER, DPO, AUDITOR})
EVERYBODY = STAFF | {PERSON, STRANGER, OPERATOR, SIGNED_IN}
ROLES = EVERYBODY

ABILITIES: dict[str, frozenset[str]] = {
    "front.see": EVERYBODY,
    "health.see": EVERYBODY,
    "api.schema": EVERYBODY,
    "account.sign_in": EVERYBODY,
    "account.manage": frozenset({SIGNED_IN}),
    "home.see": frozenset({SIGNED_IN}),
    "tenant.see": STAFF,
    "link.open": EVERYBODY,
    "receipt.check": EVERYBODY,
    "staff_invitation.open": EVERYBODY,
    "staff_invitation.accept": frozenset({SIGNED_IN}),
    "guest.sign_out": frozenset({PERSON}),
    "meeting.join": frozenset({PERSON}),
    "meetings.see": frozenset({OWNER, ADMIN, HOST}),
    "meetings.see_all": frozenset({OWNER, ADMIN}),
    "meetings.write": frozenset({OWNER, ADMIN, HOST}),
    "meetings.attend": frozenset({OWNER, ADMIN, HOST, MEMBER, DPO}),
    "calls.host": frozenset({OWNER, ADMIN, HOST}),
    "recordings.start": frozenset({OWNER, ADMIN, HOST}),
    "recordings.stop": frozenset({OWNER, ADMIN, HOST}),
    "recordings.see": frozenset({OWNER, ADMIN, HOST}),
    "recordings.play": frozenset({OWNER, ADMIN, HOST}),
    "network.test": STAFF | {PERSON},
    "mine.see": STAFF | {PERSON},
    "overview.see": frozenset({OWNER, ADMIN, DPO}),
    "members.see": frozenset({OWNER, ADMIN}),
    "members.write": frozenset({OWNER, ADMIN}),
    "keys.see": frozenset({OWNER, ADMIN}),
    "keys.write": frozenset({OWNER, ADMIN}),
    "customers.see": frozenset({OWNER, ADMIN, HOST, DPO}),
    "decisions.see": frozenset({OWNER, ADMIN, DPO}),
    "requests.see": frozenset({OWNER, DPO}),
    "requests.write": frozenset({OWNER, DPO}),
    "dpo.see": frozenset({OWNER, DPO}),
}

# Routes of libraries carry no ability of their own; a route that is neither here nor of ours is refused.
EXTERNAL_ROUTES: dict[str, str] = {
    "account_login": "account.sign_in",
    "account_confirm_login_code": "account.sign_in",
    "account_logout": "account.sign_in",
    "account_signup": "account.sign_in",
    "account_inactive": "account.sign_in",
    "account_reset_password": "account.sign_in",
    "account_reset_password_done": "account.sign_in",
    "account_reset_password_from_key": "account.sign_in",
    "account_reset_password_from_key_done": "account.sign_in",
    "account_confirm_email": "account.sign_in",
    "account_email_verification_sent": "account.sign_in",
    "account_reauthenticate": "account.manage",
    "account_email": "account.manage",
    "account_change_password": "account.manage",
    "account_set_password": "account.manage",
}

# What an API key may be allowed: scope -> abilities.
SCOPES: dict[str, frozenset[str]] = {
    "tenant:read": frozenset({"tenant.see"}),
    "meetings:read": frozenset({"meetings.see", "meetings.see_all"}),
    "meetings:write": frozenset({"meetings.write"}),
    "recordings:read": frozenset({"recordings.see"}),
    "recordings:write": frozenset({"recordings.start", "recordings.stop"}),
    "decisions:read": frozenset({"decisions.see"}),
    "requests:read": frozenset({"requests.see"}),
    "requests:write": frozenset({"requests.write"}),
}


def may(roles: Iterable[str], ability: str) -> bool:
    """True when one of `roles` holds `ability`. An ability that the table does not name is held by nobody."""
    return not ABILITIES.get(ability, frozenset()).isdisjoint(roles)


def scopes_within(roles: Iterable[str]) -> list[str]:
    """The scopes whose every ability one of `roles` holds: nobody makes a key that may more than its maker."""
    held = list(roles)
    return [scope for scope, abilities in SCOPES.items() if all(may(held, ability) for ability in abilities)]


def key_may(scopes: Iterable[str], ability: str) -> bool:
    """True when one of an API key's scopes covers `ability`."""
    return any(ability in SCOPES.get(scope, ()) for scope in scopes)


class HasTenant(Protocol):
    """A Person or an ApiKey, as far as an Actor needs to know it."""

    @property
    def pk(self) -> object: ...

    @property
    def tenant_id(self) -> object: ...


@dataclass(frozen=True)
class Actor:
    """Who did it, as history remembers: a person, an API key, an operator or a named job. A plain value, safe to log by id."""

    kind: str
    id: str
    tenant_id: str = ""

    @classmethod
    def person(cls, person: HasTenant) -> Actor:
        return cls("person", str(person.pk), str(person.tenant_id))

    @classmethod
    def api_key(cls, key: HasTenant) -> Actor:
        return cls("api_key", str(key.pk), str(key.tenant_id))

    @classmethod
    def operator(cls, name: str) -> Actor:
        return cls("operator", name)

    @classmethod
    def job(cls, name: str) -> Actor:
        return cls("job", name)
