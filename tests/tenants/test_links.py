"""Personal links: what opens a guest session, what ends one, and what a stranger learns."""

from __future__ import annotations

import re
from datetime import timedelta
from uuid import uuid4

import pytest
from django.contrib.sessions.models import Session
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from compliance.models import LogEntry
from compliance.registry import Outcome, holdings
from tenants import identity, jobs, queries, scope, services, tasks
from tenants.errors import Refused
from tenants.models import GuestSession, LinkSecret, OutboxRow
from tenants.permissions import Actor
from tenants.signals import access_changed


@pytest.fixture
def heard():
    """Every `access_changed` of the test, as (tenant id, person id)."""
    found = []

    def hear(sender, *, tenant_id, person_id, **kwargs):
        found.append((tenant_id, person_id))

    access_changed.connect(hear)
    yield found
    access_changed.disconnect(hear)


def new_link(cast, **changed):
    with scope.entered(cast.acme):
        now = timezone.now()
        facts = {"person": cast.gail, "kind": "invitation", "subject_id": uuid4(), "expires_at": now + timedelta(days=1)}
        return services.new_link(**(facts | {"by": Actor.person(cast.hana), "at": now} | changed))


def kinds(cast) -> list[str]:
    with scope.entered(cast.acme):
        return list(LogEntry.objects.order_by("index").values_list("kind", flat=True))


def test_a_link_has_128_random_bits_and_only_its_hash_is_kept(cast) -> None:
    link, secret = new_link(cast)

    assert re.fullmatch(r"[A-Za-z0-9_-]{22}", secret)
    assert secret not in str(vars(LinkSecret.objects.get(pk=link.pk)))
    assert kinds(cast)[-1] == "link.issued"


def test_secrets_do_not_repeat_and_use_every_character_alike() -> None:
    """10^5 samples: no collision, and each of the 64 characters within 5 % of its share in the 21 full positions."""
    import secrets  # noqa: PLC0415 - reason: hides the fixture's names otherwise

    samples = [secrets.token_urlsafe(services.SECRET_BYTES) for _ in range(100_000)]
    counts: dict[str, int] = {}
    for sample in samples:
        for character in sample[:21]:
            counts[character] = counts.get(character, 0) + 1

    assert len(set(samples)) == len(samples)
    assert len(counts) == 64
    assert all(abs(count - 2_100_000 / 64) < 0.05 * 2_100_000 / 64 for count in counts.values())


def test_a_link_opens_a_session_as_often_as_its_holder_likes(cast) -> None:
    _, secret = new_link(cast)

    first, token = services.open_guest_session(secret=secret, at=timezone.now())
    second, other = services.open_guest_session(secret=secret, at=timezone.now())

    assert {first.person_id, second.person_id} == {cast.gail.pk}
    assert token != other
    assert kinds(cast)[-2:] == ["guest_session.opened"] * 2


@pytest.mark.parametrize("secret", ["", "A" * 22, "A" * 10_000, "Ä" * 22, "\x00"])
def test_an_unknown_secret_is_refused_after_one_query(cast, secret: str) -> None:
    with (
        CaptureQueriesContext(
            connection,
        ) as queried,
        pytest.raises(Refused) as refused,
    ):
        services.open_guest_session(secret=secret, at=timezone.now())

    assert (refused.value.code, refused.value.status) == ("unknown-link", 404)
    assert len(queried) == 1


def test_a_link_reported_stolen_is_refused_like_an_unknown_one(cast) -> None:
    link, secret = new_link(cast)
    with scope.entered(cast.acme):
        services.revoke_link(link=link, stolen=True, by=Actor.person(cast.hana), at=timezone.now())

    with CaptureQueriesContext(connection) as queried, pytest.raises(Refused, match="unknown-link"):
        services.open_guest_session(secret=secret, at=timezone.now())
    assert len(queried) == 1


def test_a_revoked_or_expired_link_still_leads_to_what_is_the_holders_own(cast) -> None:
    revoked, one = new_link(cast)
    _, other = new_link(cast, expires_at=timezone.now() - timedelta(days=1))
    with scope.entered(cast.acme):
        services.revoke_link(link=revoked, by=Actor.person(cast.hana), at=timezone.now())

    assert [services.open_guest_session(secret=secret, at=timezone.now())[0].person_id for secret in (one, other)] == [cast.gail.pk] * 2


def test_revoking_a_link_ends_its_sessions_and_says_so_once(cast, heard, django_capture_on_commit_callbacks) -> None:
    link, secret = new_link(cast)
    session, token = services.open_guest_session(secret=secret, at=timezone.now())
    cookie = identity.Cookie(identity.GUEST, token)
    assert identity.standing_of(cookie, cast.acme) is not None

    with django_capture_on_commit_callbacks(execute=True), scope.entered(cast.acme):
        for _ in range(2):
            services.revoke_link(link=link, by=Actor.person(cast.hana), at=timezone.now())

    session.refresh_from_db()
    assert session.ended_at is not None
    assert identity.standing_of(cookie, cast.acme) is None
    assert heard == [(cast.acme.pk, cast.gail.pk)]
    assert kinds(cast).count("link.revoked") == 1


def test_a_guest_who_signs_out_is_nobody_afterwards(cast, heard, django_capture_on_commit_callbacks) -> None:
    session, token = services.open_guest_session(secret=new_link(cast)[1], at=timezone.now())

    with django_capture_on_commit_callbacks(execute=True), scope.entered(cast.acme):
        services.end_guest_session(session=session, by=Actor.person(cast.gail), at=timezone.now())

    assert identity.standing_of(identity.Cookie(identity.GUEST, token), cast.acme) is None
    assert heard == [(cast.acme.pk, cast.gail.pk)]


def test_a_guest_session_is_worth_nothing_in_another_tenant(cast) -> None:
    _, token = services.open_guest_session(secret=new_link(cast)[1], at=timezone.now())

    assert identity.standing_of(identity.Cookie(identity.GUEST, token), cast.globex) is None


def test_signing_out_is_announced_when_the_session_is_gone(cast, sign_in, heard, django_capture_on_commit_callbacks) -> None:
    hana = sign_in(cast.hana_user)
    cookie = identity.Cookie(identity.STAFF, hana.session.session_key)
    standing = identity.standing_of(cookie, cast.acme)
    assert standing is not None
    assert standing.role == "host"

    with django_capture_on_commit_callbacks(execute=True):
        hana.post("/account/logout/")

    assert (cast.acme.pk, cast.hana.pk) in heard
    assert identity.standing_of(cookie, cast.acme) is None


def test_all_sessions_of_a_user_can_be_ended(cast, sign_in, heard, django_capture_on_commit_callbacks) -> None:
    sign_in(cast.hana_user)

    with django_capture_on_commit_callbacks(execute=True), scope.entered(cast.acme):
        ended = services.end_sessions_of(user=cast.hana_user, by=Actor.person(cast.ada), at=timezone.now())

    assert (ended, Session.objects.count()) == (1, 0)
    assert heard == [(cast.acme.pk, cast.hana.pk)]
    assert kinds(cast)[-1] == "membership.signed_out"


def test_another_role_is_announced_and_written_down(cast, heard, django_capture_on_commit_callbacks) -> None:
    with django_capture_on_commit_callbacks(execute=True), scope.entered(cast.acme):
        changed = services.change_role(membership=cast.memberships["Hana"], role="member", by=Actor.person(cast.ada), at=timezone.now())

    assert changed.role == "member"
    assert heard == [(cast.acme.pk, cast.hana.pk)]
    assert kinds(cast)[-1] == "membership.role_changed"


@pytest.mark.parametrize(("role", "code"), [("member", "last-owner"), ("emperor", "unknown-role")])
def test_the_last_owner_stays_and_nobody_gets_a_role_that_does_not_exist(cast, role: str, code: str) -> None:
    with scope.entered(cast.acme), pytest.raises(Refused, match=code):
        services.change_role(membership=cast.memberships["Ada"], role=role, by=Actor.person(cast.ada), at=timezone.now())


def test_erasing_a_guest_deletes_links_and_sessions(cast) -> None:
    _, secret = new_link(cast)
    services.open_guest_session(secret=secret, at=timezone.now())
    held = {holding.model: holding for holding in holdings()}

    with scope.entered(cast.acme):
        exported = [list(held[model].export(cast.gail)) for model in ("tenants.LinkSecret", "tenants.GuestSession")]
        lines = [held[model].erase(cast.gail, timezone.now()) for model in ("tenants.GuestSession", "tenants.LinkSecret")]

    assert [len(rows) for rows in exported] == [1, 1]
    assert [(line.outcome, line.rows) for line in lines] == [(Outcome.DONE, 1)] * 2
    assert not queries.links_of_person(cast.gail).exists()
    with pytest.raises(Refused, match="unknown-link"):
        services.open_guest_session(secret=secret, at=timezone.now())


# The outbox


@jobs.tenant_task("tests.note")
def note(*, word: str) -> None:
    DONE.append(word)
    if word == "fails":
        raise ValueError("as asked")


DONE: list[str] = []


@pytest.fixture(autouse=True)
def nothing_done():
    DONE.clear()


def promise(cast, word: str) -> OutboxRow:
    with scope.entered(cast.acme):
        return jobs.later("tests.note", word=word)


def keep(row: OutboxRow) -> None:
    note(**row.arguments, tenant_id=str(row.tenant_id), row_id=str(row.pk))


def test_a_promise_is_kept_once_however_often_it_is_woken(cast) -> None:
    row = promise(cast, "once")

    for _ in range(3):
        keep(row)

    row.refresh_from_db()
    assert DONE == ["once"]
    assert row.done_at is not None


def test_a_promise_that_fails_is_tried_again_after_a_pause_and_parked_after_five_tries(cast) -> None:
    row = promise(cast, "fails")
    pauses = []
    for _ in range(jobs.TRIES):
        OutboxRow.objects.update(due_at=timezone.now())
        before = timezone.now()
        with pytest.raises(ValueError, match="as asked"):
            keep(row)
        row.refresh_from_db()
        pauses.append(row.due_at - before)
        keep(row)  # too early: nothing happens

    assert DONE == ["fails"] * jobs.TRIES
    assert pauses[0] >= jobs.PAUSE
    assert pauses[1] >= 2 * jobs.PAUSE
    assert row.parked_at is not None
    assert list(queries.work_due(timezone.now() + timedelta(days=1))) == []


def test_the_sweep_finds_what_no_message_woke_and_forgets_what_was_kept_long_ago(cast, monkeypatch) -> None:
    woken: list[object] = []
    row = promise(cast, "late")
    old = promise(cast, "old")
    OutboxRow.objects.filter(pk=old.pk).update(done_at=timezone.now() - timedelta(days=15))
    monkeypatch.setattr(jobs.current_app, "send_task", lambda name, **message: woken.append((name, message["kwargs"]["row_id"])))

    tasks.sweep_outbox()

    assert woken == [("tests.note", str(row.pk))]
    assert not OutboxRow.objects.filter(pk=old.pk).exists()


def test_a_promise_of_a_transaction_that_failed_was_never_made(cast) -> None:
    def promise_and_fail() -> None:
        with scope.entered(cast.acme):
            jobs.later("tests.note", word="never")
            raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        promise_and_fail()

    assert not OutboxRow.objects.exists()


def test_ended_guest_sessions_are_forgotten(cast) -> None:
    services.open_guest_session(secret=new_link(cast)[1], at=timezone.now() - timedelta(days=2))

    tasks.forget_ended_sessions()

    assert not GuestSession.objects.exists()
