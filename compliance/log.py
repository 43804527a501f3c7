"""The audit log: what happened, by whom and when, so that it can be proven later and forgotten on time.

What must never happen here, and what holds it:

* *An entry is changed, lost or slipped in unseen.* Each entry is a leaf of its tenant's RFC 6962 tree; `verify` recomputes
  every commitment and the whole tree. The ORM refuses every change but `blank` (`compliance.models`), and a blanked entry
  counts only if a later entry, which opens, says that it was blanked.
* *History forks, or something happens without its entry.* `record` refuses to run outside a transaction and locks the
  tenant's head row until the commit: the change, its entry, its index and the new head become visible together or not at
  all. It is the last statement of the writer's transaction, because everybody else of that tenant waits from here on.
* *A person can be read from the log.* Facts are ids, numbers, flags and short code words; what looks like an address,
  a telephone number or prose is refused. The tree holds only salted commitments: with record and salt gone nothing of
  the entry can be guessed from it, and all proofs still hold.
* *One tenant's entry in another's log.* The tenant is that of the open scope; an object or an actor of another is refused.
* *The log vouches for itself.* This module hashes and never signs; it imports no key and no cipher.

The bytes. `record` is a JSON object with the members tenant, index, kind, at, by {kind, id}, on {type, id}, facts; ids are
strings, `at` is RFC 3339 in UTC with three decimals and Z. With R its RFC 8785 form and S a random salt of 32 bytes:

    commitment = SHA-256("cleac/log/entry/v1" || 0x00 || S || R)
    leaf hash  = SHA-256(0x00 || commitment)

Every part before R has a fixed length, so no two (S, R) share an input. The tree is that of `compliance.merkle`.
"""

from __future__ import annotations

import ipaddress
import json
import re
import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum
from hashlib import sha256
from typing import Any, NamedTuple, Protocol
from uuid import UUID

import rfc8785
from django.db import models, router, transaction
from django.db.models import Q
from django.db.transaction import TransactionManagementError
from django_scopes import get_scope
from django_scopes.exceptions import ScopeError

from . import merkle
from .models import LogEntry, LogHead

PREFIX = b"cleac/log/entry/v1\x00"
SALT_SIZE = 32
BLANKED = "log.blanked"

_KIND = re.compile(r"[a-z][a-z0-9_]*\.[a-z][a-z0-9_]*")
_NAME = re.compile(r"[a-z][a-z0-9_]{0,39}")
_WORD = re.compile(r"[!-?A-~]{0,128}")  # visible ASCII without "@"
_TELEPHONE = re.compile(r"\+[0-9().-]{7,20}")
_LIST_LIMIT = 256
_INT_LIMIT = 2**53 - 1  # what every reader of JSON keeps exactly (RFC 8785 section 3.2.2.3)
_encoded = json.JSONEncoder(ensure_ascii=False, sort_keys=True, separators=(",", ":")).encode

Fact = bool | int | str | list[bool | int | str]


class HasKindAndId(Protocol):
    """Whoever acted: `tenants.permissions.Actor`, or anything with these two."""

    @property
    def kind(self) -> str: ...

    @property
    def id(self) -> Any: ...


@dataclass(frozen=True)
class Finding:
    """One fault that `verify` found: `count` entries from `index` on. `index` is None when the head itself is unusable.

    Codes: `missing` no such row; `commitment` record and salt do not hash to the commitment; `columns` record and clear
    columns differ; `blanked` record gone and no entry says so; `frontier` these entries are not those the head was built
    from; `beyond-head` rows after the head; `head` no head, or one of the wrong form.
    """

    code: str
    index: int | None
    count: int = 1


class Standing(NamedTuple):
    """`size` and `root` of a log by its head, and the rows of `entries` that lie below it. `root` is None for an altered head."""

    entries: int
    size: int
    root: bytes | None


def record(kind: str, *, on: models.Model, by: HasKindAndId, at: datetime, **facts: Any) -> LogEntry:
    """Append one entry to the current tenant's log; the last statement of the writer's transaction.

    `kind` is "noun.verb", `on` the saved row it is about, `by` who did it, `at` an aware time (kept to the millisecond).
    Facts are bools, whole numbers, UUIDs, enum members, short code words, or flat lists of them.

    Raises TransactionManagementError outside a transaction, ScopeError outside one tenant's scope, ValueError for
    anything that may not be written.
    """
    using = router.db_for_write(LogEntry)
    if not transaction.get_connection(using).in_atomic_block:
        raise TransactionManagementError("compliance.log.record runs inside the writer's transaction")
    tenant_id = _tenant_id()
    content = _content(kind, on, by, at, facts)
    for owned in (on, by):
        _same_tenant(owned, tenant_id)
    head = _locked_head(tenant_id)
    content |= {"tenant": str(tenant_id), "index": head.size}
    salt = secrets.token_bytes(SALT_SIZE)
    entry = LogEntry(
        tenant_id=tenant_id,
        index=head.size,
        kind=kind,
        at=_to_millisecond(at),
        on_type=content["on"]["type"],
        on_id=content["on"]["id"],
        by_kind=content["by"]["kind"],
        by_id=content["by"]["id"],
        record=content,
        salt=salt,
        commitment=commitment(content, salt),
    )
    entry.save()
    grown = merkle.append(_nodes(head), head.size, entry_hash(entry))
    head.size, head.frontier = head.size + 1, [node.hex() for node in grown]
    head.save(update_fields=["size", "frontier"])
    return entry


def commitment(content: dict[str, Any], salt: bytes) -> bytes:
    """The 32 bytes that commit to a record under a salt; see the top of this file. Raises ValueError for what has no RFC 8785 form."""
    return sha256(PREFIX + salt + canonical(content)).digest()


def canonical(content: Any) -> bytes:
    """The RFC 8785 form. Raises ValueError for what has none.

    Ours are plain records, for which the standard library's encoder, told to sort, writes the same bytes ten times as fast; a gate reads
    many. Whatever else comes along, floats above all, is left to `rfc8785`.
    """
    return _encoded(content).encode() if _is_plain(content) else rfc8785.dumps(content)


def _is_plain(value: Any) -> bool:
    """Made of strings, booleans, whole numbers of 53 bits, lists, and objects whose names are ASCII (other names sort by UTF-16)."""
    kind = type(value)
    if kind is str or kind is bool:
        return True
    if kind is int:
        return bool(abs(value) <= _INT_LIMIT)
    if kind is dict:
        return all(type(name) is str and name.isascii() and _is_plain(member) for name, member in value.items())
    return bool(kind is list and all(map(_is_plain, value)))


def entry_hash(entry: LogEntry) -> bytes:
    """The entry's leaf hash, 32 bytes. It names the entry for ever, also once blanked; journals are bound to it."""
    return merkle.leaf_hash(bytes(entry.commitment))


def opens(entry: LogEntry) -> bool:
    """True when the stored record and salt hash to the commitment. A blanked or altered entry proves nothing about its content."""
    if not isinstance(entry.record, dict) or entry.salt is None or len(entry.salt) != SALT_SIZE:
        return False
    try:
        return commitment(entry.record, bytes(entry.salt)) == bytes(entry.commitment)
    except (ValueError, RecursionError):  # numbers or depths that RFC 8785 has no form for: altered
        return False


def root(tenant: models.Model) -> bytes:
    """Root of the tenant's tree as its head has it; the hash of nothing for an empty log. Raises ValueError for an altered head."""
    return _root(_head(tenant))


def standing(tenant: models.Model) -> Standing:
    """How far the tenant's log has grown, by one look at its head. Raises ScopeError outside this tenant's scope."""
    head = _head(tenant)
    size = head.size if head else 0
    entries = _entries(tenant).filter(index__lt=size).count()
    try:
        return Standing(entries, size, _root(head))
    except ValueError:
        return Standing(entries, size, None)


def leaf_hashes(tenant: models.Model) -> list[bytes]:
    """All leaf hashes of the tenant's log in order of index: what `merkle` makes proofs from."""
    return [merkle.leaf_hash(bytes(value)) for value in _entries(tenant).values_list("commitment", flat=True).iterator()]


def about(person_id: UUID | str) -> Any:
    """Entries of the current tenant that a person made or that name the person as object or as the fact `person`, in order."""
    named = str(person_id)
    own, object_ = Q(by_kind="person", by_id=named), Q(on_type="tenants.person", on_id=named)
    return LogEntry.objects.filter(own | object_ | Q(record__facts__person=named)).order_by("index")


def of_kinds(kinds: Iterable[str]) -> Any:
    """The current tenant's entries of these kinds, in order, by the clear column: whoever replays them asks each whether it `opens`."""
    return LogEntry.objects.filter(kind__in=list(kinds)).order_by("index")


def at_index(index: int) -> LogEntry | None:
    """The current tenant's entry with this number, emptied or not; None when there is none."""
    found: LogEntry | None = LogEntry.objects.filter(index=index).first()
    return found


def matching(condition: Q) -> Any:
    """The current tenant's entries that still say something and answer this condition, in order."""
    return LogEntry.objects.filter(condition, record__isnull=False).order_by("index")


@transaction.atomic
def blank(entries: Iterable[LogEntry], *, by: HasKindAndId, at: datetime, reason: str) -> int:
    """Forget what these entries of the current tenant say: record, salt, and the ids of object and actor. Returns how many.

    Index, kind, time and commitment stay, so every proof stays; `verify` accepts the loss because entries of the kind
    `log.blanked` name the indices. An entry blanked already is left alone, so this may run twice. Instances in memory
    are not refreshed. Raises as `record`.
    """
    head = _locked_head(_tenant_id())
    chosen = list(LogEntry.objects.filter(pk__in=[entry.pk for entry in entries], record__isnull=False).order_by("index"))
    indices = {entry.index for entry in chosen}
    for entry in chosen:
        if entry.kind == BLANKED:  # what it vouched for must not lose its voucher
            indices |= set(_vouched(entry))
    LogEntry.objects.filter(pk__in=[entry.pk for entry in chosen]).blank()
    ordered = sorted(indices)
    for start in range(0, len(ordered), _LIST_LIMIT):
        record(BLANKED, on=head, by=by, at=at, reason=reason, indices=ordered[start : start + _LIST_LIMIT])
    return len(chosen)


def verify(tenant: models.Model) -> list[Finding]:
    """Recompute every commitment and the whole tree of a tenant's log, and name each fault; an empty list is a sound log.

    Takes one pass over the entries and no lock: writers may go on. Raises ScopeError outside this tenant's scope.
    """
    head = _head(tenant)
    size = head.size if head else 0
    findings: list[Finding] = []
    blanked: list[int] = []
    frontier: list[bytes] = []
    whole = expected = 0  # the tree is rebuilt as far as no row is missing
    for entry in _entries(tenant).filter(index__lt=size).iterator():
        if entry.index > expected:
            findings.append(Finding("missing", expected, entry.index - expected))
        if entry.index == whole:
            frontier, whole = merkle.append(frontier, whole, entry_hash(entry)), whole + 1
        expected = entry.index + 1
        if entry.record is None:
            blanked.append(entry.index)
        elif not opens(entry):
            findings.append(Finding("commitment", entry.index))
        elif not _columns_agree(entry):
            findings.append(Finding("columns", entry.index))
    if expected < size:
        findings.append(Finding("missing", expected, size - expected))
    vouched = {index for entry in _entries(tenant).filter(kind=BLANKED) for index in _vouched(entry)}
    findings += [Finding("blanked", index) for index in blanked if index not in vouched]
    return findings + _against_head(head, frontier, whole) + _beyond(tenant, size)


def _content(kind: str, on: models.Model, by: HasKindAndId, at: datetime, facts: Mapping[str, Any]) -> dict[str, Any]:
    """The record without tenant and index. Raises ValueError for anything that may not be written."""
    if not _KIND.fullmatch(kind) or len(kind) > 64:
        raise ValueError(f"kind {kind!r} is not noun.verb")
    if at.utcoffset() is None:
        raise ValueError("the time of an entry needs its offset")
    if on.pk is None:
        raise ValueError("an entry is about a saved row")
    if not _NAME.fullmatch(by.kind) or len(by.kind) > 16:
        raise ValueError("by has no kind")
    return {
        "kind": kind,
        "at": _rfc3339(at),
        "by": {"kind": by.kind, "id": _word("by", str(by.id))},
        "on": {"type": on._meta.label_lower, "id": _word("on", str(on.pk))},
        "facts": {_named(name): _fact(name, value) for name, value in facts.items()},
    }


def _named(name: str) -> str:
    if not _NAME.fullmatch(name):
        raise ValueError(f"fact {name!r}: a name is lower case, at most 40 long")
    return name


def _fact(name: str, value: Any) -> Fact:
    if isinstance(value, (list, tuple)):
        if len(value) > _LIST_LIMIT:
            raise ValueError(f"fact {name}: at most {_LIST_LIMIT} members")
        return [_scalar(name, member) for member in value]
    return _scalar(name, value)


def _scalar(name: str, value: Any) -> bool | int | str:
    if isinstance(value, Enum):
        value = value.value
    if isinstance(value, bool):
        return value
    if isinstance(value, int):
        if abs(value) > _INT_LIMIT:
            raise ValueError(f"fact {name}: beyond 53 bits")
        return int(value)
    if isinstance(value, UUID):
        return str(value)
    if isinstance(value, str):
        return _word(name, value)
    raise ValueError(f"fact {name}: {type(value).__name__} is neither an id, a number, a flag nor a code word")


def _word(name: str, value: str) -> str:
    """`value`, or ValueError naming the fact (never the value) when it may hold personal data."""
    if not _WORD.fullmatch(value):
        raise ValueError(f"fact {name}: only visible ASCII without @, at most 128 long; the log holds no personal data")
    if _TELEPHONE.fullmatch(value) or _is_network_address(value):
        raise ValueError(f"fact {name}: looks like a telephone number or a network address; the log holds no personal data")
    return str(value)


def _is_network_address(value: str) -> bool:
    try:
        ipaddress.ip_address(value)
    except ValueError:
        return False
    return True


def _to_millisecond(at: datetime) -> datetime:
    return at.astimezone(UTC).replace(microsecond=at.microsecond // 1000 * 1000)


def _rfc3339(at: datetime) -> str:
    return _to_millisecond(at).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _tenant_id() -> UUID:
    """Key of the one tenant whose scope is open. Raises ScopeError when there is none, or several, or when scopes are switched off."""
    state = get_scope()
    tenant = state.get("tenant")
    if not state.get("_enabled", True) or not isinstance(tenant, models.Model) or not isinstance(tenant.pk, UUID):
        raise ScopeError("the log belongs to one tenant: open its scope first")
    return tenant.pk


def _same_tenant(owned: object, tenant_id: UUID) -> None:
    """Raise ValueError when something that names its tenant names another. Operators and named jobs belong to none."""
    theirs = getattr(owned, "tenant_id", None)
    if theirs and str(theirs) != str(tenant_id):
        raise ValueError("an entry's object and actor are of the log's own tenant")


def _locked_head(tenant_id: UUID) -> LogHead:
    """The tenant's head, made on first use and locked until the end of the transaction."""
    locked = LogHead.objects.select_for_update().filter(pk=tenant_id)
    head: LogHead | None = locked.first()
    if head is None:
        # Two first writers: the second waits here for the first one's commit, then finds its row.
        LogHead.objects.bulk_create([LogHead(tenant_id=tenant_id)], ignore_conflicts=True)
        head = locked.get()
    return head


def _head(tenant: models.Model) -> LogHead | None:
    _in_scope(tenant)
    head: LogHead | None = LogHead.objects.filter(pk=tenant.pk).first()
    return head


def _root(head: LogHead | None) -> bytes:
    return merkle.root_of_frontier(_nodes(head), head.size) if head else merkle.EMPTY_ROOT


def _entries(tenant: models.Model) -> Any:
    _in_scope(tenant)
    return LogEntry.objects.filter(tenant_id=tenant.pk).order_by("index")


def _in_scope(tenant: models.Model) -> None:
    """Raise ScopeError unless this tenant's scope is open: under another's, a full log would look empty and sound."""
    if _tenant_id() != tenant.pk:
        raise ScopeError("another tenant's scope is open")


def _nodes(head: LogHead) -> list[bytes]:
    """The head's frontier as bytes. Raises ValueError when it is not a list of hex hashes."""
    if not isinstance(head.frontier, list) or not all(isinstance(node, str) for node in head.frontier):
        raise ValueError("the frontier is not a list of hashes")
    return [bytes.fromhex(node) for node in head.frontier]


def _columns_agree(entry: LogEntry) -> bool:
    content = entry.record or {}
    return content == {
        "tenant": str(entry.tenant_id),
        "index": entry.index,
        "kind": entry.kind,
        "at": _rfc3339(entry.at),
        "by": {"kind": entry.by_kind, "id": entry.by_id},
        "on": {"type": entry.on_type, "id": entry.on_id},
        "facts": content.get("facts"),
    }


def _vouched(entry: LogEntry) -> list[int]:
    """The indices that an entry of kind `log.blanked` says were blanked; none unless it opens and its columns are true."""
    if not entry.record or not opens(entry) or not _columns_agree(entry):
        return []
    facts = entry.record["facts"]
    indices = facts.get("indices") if isinstance(facts, dict) else None
    return [index for index in indices if isinstance(index, int)] if isinstance(indices, list) else []


def _against_head(head: LogHead | None, frontier: list[bytes], whole: int) -> list[Finding]:
    """Compare the tree rebuilt over the first `whole` entries with the head, subtree by subtree: as narrow as a head allows."""
    if head is None:
        return []
    try:
        stored = _nodes(head)
        merkle.check_frontier(stored, head.size)
    except ValueError:
        return [Finding("head", None)]
    if head.frontier != [node.hex() for node in stored]:
        return [Finding("head", None)]
    rebuilt = dict(zip(merkle.frontier_spans(whole), frontier, strict=True))
    spans = zip(merkle.frontier_spans(head.size), stored, strict=True)
    return [Finding("frontier", *span) for span, node in spans if rebuilt.get(span, node) != node]


def _beyond(tenant: models.Model, size: int) -> list[Finding]:
    """Entries that no head covers. A writer may have committed since: what a newer head covers is left to the next run."""
    later = list(_entries(tenant).filter(index__gte=size).values_list("index", flat=True))
    head = _head(tenant)
    if later and head is None:
        return [Finding("head", None)]
    return [Finding("beyond-head", index) for index in later if head is None or index >= head.size]
