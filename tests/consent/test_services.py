"""Publish, serve, decide: what is written, and everything that is refused."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from threading import Barrier
from typing import Any
from uuid import UUID, uuid4

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django_scopes.exceptions import ScopeError

from compliance import log
from compliance.models import AppendOnlyError, LogEntry
from consent import gate, queries, services
from consent.catalogue import SOURCES, Wording
from consent.models import Decision, Notice, Purpose, ServedNotice
from consent.signals import decided
from tenants.errors import Refused
from tenants.permissions import Actor
from tenants.scope import entered

from .conftest import ALL, CAMERA, NOON, SCREEN, VOICE, answer, reword, show

WORDS = Wording("Title", "What", "Why", "Who", "30 days")


def refusal(call: Any, *args: Any, **kwargs: Any) -> tuple[str, int]:
    with pytest.raises(Refused) as caught:
        call(*args, **kwargs)
    return caught.value.code, caught.value.status


def rows() -> tuple[int, int, int]:
    return ServedNotice.objects.count(), Decision.objects.count(), LogEntry.objects.count()


def test_every_tenant_asks_for_voice_camera_and_screen_in_its_own_name(house: Any) -> None:
    with entered(house.acme):
        found = queries.notices(ALL)
        assert [notice.purpose.key for notice in found] == list(ALL)
        assert {notice.purpose.key: tuple(notice.purpose.sources) for notice in found} == SOURCES
        for notice in found:
            assert (notice.version, notice.language, notice.keep_days, notice.controller) == (1, "en", 30, "Acme")
            texts = [notice.title, notice.what, notice.why, notice.who_sees, notice.keep_text]
            assert all(texts)
            assert "Acme" in notice.title
            assert "30 days" in notice.keep_text
            assert not any(mark in text for text in texts for mark in "{}!")
            assert len(notice.digest) == 64
        assert len({notice.digest for notice in found}) == 3


def test_making_the_catalogue_again_changes_nothing(house: Any) -> None:
    with entered(house.acme):
        before = list(Notice.objects.values_list("pk", "digest")), LogEntry.objects.count()
    services.ensure_catalogue(tenant=house.acme, by=Actor.job("demo"), at=NOON)
    with entered(house.acme):
        assert (list(Notice.objects.values_list("pk", "digest")), LogEntry.objects.count()) == before


def test_each_published_notice_has_its_entry_with_the_digest_of_its_words(house: Any) -> None:
    with entered(house.acme):
        [published] = reword(VOICE, what="Your voice, in other words.")
        entry = LogEntry.objects.order_by("index").last()

        assert (published.version, published.what) == (2, "Your voice, in other words.")
        assert entry.kind == "notice.published"
        assert entry.record["facts"] == {"purpose": VOICE, "version": 2, "language": "en", "digest": published.digest}
        assert [notice.pk for notice in queries.notices([VOICE])] == [published.pk]


def test_the_words_in_force_are_not_published_a_second_time(house: Any) -> None:
    with entered(house.acme):
        [notice] = queries.notices([VOICE])
        assert [again.pk for again in reword(VOICE, what=notice.what)] == [notice.pk]
        assert Notice.objects.count() == 3


def test_a_version_is_read_in_the_readers_language_or_in_english(house: Any) -> None:
    with entered(house.acme):
        finnish = Wording("Saako?", "Ääni", "Miksi", "Kuka", "30 päivää")
        services.publish_notice(purpose=VOICE, wordings={"en": WORDS, "fi": finnish}, by=Actor.operator("cli"), at=NOON)

        assert [queries.notices([VOICE], language)[0].language for language in ("fi", "fi-FI", "en", "sv")] == ["fi", "fi", "en", "en"]


@pytest.mark.parametrize(
    ("purpose", "wordings", "expected"),
    [
        ("nonsense", {"en": WORDS}, ("unknown-purpose", 404)),
        (VOICE, {}, ("notice-incomplete", 400)),
        (VOICE, {"en": Wording("Title", " ", "Why", "Who", "30 days")}, ("notice-incomplete", 400)),
        (VOICE, {"en": Wording("Title", "What", "Why", "Who", "31 days", 31)}, ("keeps-too-long", 400)),
        (VOICE, {"en": Wording("Title", "What", "Why", "Who", "none", 0)}, ("keeps-too-long", 400)),
        (VOICE, {"en": WORDS, "fi": Wording("T", "W", "Y", "O", "7", 7)}, ("keeps-too-long", 400)),
    ],
)
def test_a_notice_that_says_too_little_or_keeps_too_long_is_refused(house: Any, purpose: str, wordings: Any, expected: Any) -> None:
    with entered(house.acme):
        assert refusal(services.publish_notice, purpose=purpose, wordings=wordings, by=Actor.operator("cli"), at=NOON) == expected
        assert Notice.objects.count() == 3


def test_a_notice_is_served_once_per_person_and_call(house: Any, call: UUID) -> None:
    with entered(house.acme):
        first = show(house.gail, call)
        later = services.serve(person=house.gail, call_id=str(call), purposes=[CAMERA], at=NOON + timedelta(minutes=1))

        assert [served.notice.purpose.key for served in first] == list(ALL)
        assert [served.pk for served in later] == [first[1].pk]
        assert later[0].served_at == NOON
        assert refusal(show, house.gail, call, VOICE, "nonsense") == ("unknown-purpose", 404)
        assert refusal(show, house.nils, call) == ("unknown-person", 404)


def test_a_decision_its_notice_and_its_entry_name_each_other(house: Any, call: UUID) -> None:
    with entered(house.acme):
        [served] = show(house.gail, call, VOICE)
        decision = answer(house.gail, call, VOICE, True, served=served)
        stored = Decision.objects.select_related("entry").get(pk=decision.pk)
        record = stored.entry.record

        assert (record["kind"], record["on"]["id"], record["by"]) == (
            "consent.given",
            str(decision.pk),
            {"kind": "person", "id": str(house.gail.pk)},
        )
        assert record["facts"] == {
            "person": str(house.gail.pk),
            "purpose": VOICE,
            "call": str(call),
            "notice": str(served.notice_id),
            "version": 1,
            "digest": served.notice.digest,
            "served": str(served.pk),
            "served_at": "2026-03-02T12:00:00.123Z",
            "method": "page",
            "sequence": 1,
        }
        assert stored.entry.at == stored.decided_at
        assert log.verify(house.acme) == []


def test_decided_at_is_the_databases_time_and_not_the_callers(house: Any, call: UUID) -> None:
    with entered(house.acme), connection.cursor() as cursor:
        show(house.gail, call)
        cursor.execute("SELECT date_trunc('milliseconds', clock_timestamp())")
        before = cursor.fetchone()[0]
        decision = answer(house.gail, call, VOICE, True)
        cursor.execute("SELECT clock_timestamp()")

        assert before <= decision.decided_at <= cursor.fetchone()[0]


def test_yes_and_no_are_twins_in_steps_and_in_rows(house: Any, call: UUID) -> None:
    grown, queried = [], []
    for granted, person in ((True, house.gail), (False, house.gus)):
        with entered(house.acme):
            before = rows()
            with CaptureQueriesContext(connection) as statements:
                show(person, call, VOICE)
                answer(person, call, VOICE, granted)
            grown.append(tuple(after - was for after, was in zip(rows(), before, strict=True)))
            queried.append([statement["sql"].split()[0] for statement in statements])
    assert grown == [(1, 1, 1), (1, 1, 1)]
    assert queried[0] == queried[1]


def test_neither_answer_counts_without_a_notice_that_was_shown(house: Any, call: UUID) -> None:
    with entered(house.acme):
        show(house.gail, uuid4())
        before = rows()
        for granted in (True, False):
            assert refusal(answer, house.gail, call, VOICE, granted) == ("notice-not-served", 409)
        assert rows() == before


def test_the_notice_that_the_page_shows_is_noted_with_the_answer(house: Any, call: UUID) -> None:
    with entered(house.acme):
        [notice] = queries.notices([VOICE])
        decision = answer(house.gail, call, VOICE, True, served=notice)

        assert (decision.served.notice_id, decision.served.served_at) == (notice.pk, NOON)


def test_an_answer_to_words_that_have_changed_is_refused_and_may_be_given_to_the_new_ones(house: Any, call: UUID) -> None:
    with entered(house.acme):
        [old] = show(house.gail, call, VOICE)
        reword(VOICE)
        for granted in (True, False):
            assert refusal(answer, house.gail, call, VOICE, granted, served=old) == ("notice-changed", 409)
            assert refusal(answer, house.gail, call, VOICE, granted, served=old.notice) == ("notice-changed", 409)
            assert refusal(answer, house.gail, call, VOICE, granted) == ("notice-changed", 409)

        show(house.gail, call, VOICE)
        assert answer(house.gail, call, VOICE, True).notice.version == 2


def test_withdrawing_never_fails_for_a_notice_that_changed_meanwhile(house: Any, call: UUID) -> None:
    with entered(house.acme):
        [old] = show(house.gail, call, VOICE)
        answer(house.gail, call, VOICE, True)
        reword(VOICE)

        withdrawn = answer(house.gail, call, VOICE, False, served=old, method="room")
        again = answer(house.gail, call, VOICE, False)

        assert (withdrawn.entry.kind, withdrawn.notice.version, withdrawn.sequence) == ("consent.withdrawn", 1, 2)
        assert again.pk == withdrawn.pk


def test_a_notice_shown_to_somebody_else_or_for_something_else_carries_no_answer(house: Any, call: UUID) -> None:
    with entered(house.acme):
        [to_gus] = show(house.gus, call, VOICE)
        [of_camera] = show(house.gail, call, CAMERA)
        [elsewhere] = show(house.gail, uuid4(), VOICE)
        for served in (to_gus, of_camera, elsewhere, of_camera.notice):
            assert refusal(answer, house.gail, call, VOICE, True, served=served) == ("unknown-notice", 404)


@pytest.mark.parametrize("granted", [True, False])
def test_the_same_answer_twice_is_one_decision(house: Any, call: UUID, granted: bool) -> None:
    with entered(house.acme):
        show(house.gail, call)
        first = answer(house.gail, call, VOICE, granted)
        before = rows()

        assert answer(house.gail, call, VOICE, granted, method="room").pk == first.pk
        assert rows() == before


def test_every_change_of_mind_is_a_decision_of_its_own(house: Any, call: UUID) -> None:
    with entered(house.acme):
        show(house.gail, call)
        made = [answer(house.gail, call, VOICE, granted) for granted in (False, True, False, True)]

        assert [decision.sequence for decision in made] == [1, 2, 3, 4]
        assert [decision.entry.kind for decision in made] == ["consent.refused", "consent.given", "consent.withdrawn", "consent.given"]


def test_nobody_else_decides_for_a_person(house: Any, call: UUID) -> None:
    others = [Actor.person(person) for person in (house.gus, house.hana, house.ada, house.dora, house.nils)]
    others += [Actor.operator("cli"), Actor.job("retention"), Actor("api_key", str(house.gail.pk), str(house.acme.pk))]
    with entered(house.acme):
        show(house.gail, call)
        before = rows()
        for actor in others:
            for granted, method in ((True, "page"), (True, "room"), (True, "letter"), (False, "page"), (False, "room")):
                assert refusal(answer, house.gail, call, VOICE, granted, by=actor, method=method) == ("only-the-person-decides", 403)
        assert refusal(answer, house.gail, call, VOICE, True, method="letter") == ("only-the-person-decides", 403)
        assert rows() == before


def test_staff_may_write_down_a_withdrawal_that_came_by_letter_and_nobody_else_may(house: Any, call: UUID) -> None:
    with entered(house.acme):
        show(house.gail, call)
        letter = {"method": "letter", "by": Actor.person(house.dora)}
        assert refusal(answer, house.gail, call, VOICE, False, **letter) == ("nothing-to-withdraw", 409)
        answer(house.gail, call, VOICE, True)
        for other in (house.gus, house.gail, house.nils):
            assert refusal(answer, house.gail, call, VOICE, False, method="letter", by=Actor.person(other)) == ("only-the-person-decides", 403)
        reword(VOICE)

        withdrawn = answer(house.gail, call, VOICE, False, **letter)

        assert (withdrawn.method, withdrawn.entry.kind, withdrawn.entry.by_id) == ("letter", "consent.withdrawn", str(house.dora.pk))
        assert answer(house.gail, call, VOICE, False, **letter).pk == withdrawn.pk


def test_what_merely_looks_like_a_yes_is_no_answer(house: Any, call: UUID) -> None:
    with entered(house.acme):
        show(house.gail, call)
        for odd in ("false", 1, None, [True]):
            with pytest.raises(TypeError):
                answer(house.gail, call, VOICE, odd)  # type: ignore[arg-type]  # reason: what a caller must not get away with
        assert refusal(answer, house.gail, call, "nonsense", True) == ("unknown-purpose", 404)
        assert Decision.objects.count() == 0


def test_decisions_and_notices_are_never_changed_or_deleted(house: Any, call: UUID) -> None:
    with entered(house.acme):
        show(house.gail, call)
        decision = answer(house.gail, call, VOICE, False)
        decision.granted = True
        for kept in (decision, decision.notice):
            for change in (kept.save, kept.delete):
                with pytest.raises(AppendOnlyError):
                    change()
        for everything, field in ((Decision.objects.all(), {"granted": True}), (Notice.objects.all(), {"what": ""})):
            with pytest.raises(AppendOnlyError):
                everything.update(**field)
            with pytest.raises(AppendOnlyError):
                everything.delete()
            with pytest.raises(AppendOnlyError):
                everything.bulk_create([])
        assert not Decision.objects.get(pk=decision.pk).granted


def test_another_tenant_sees_decides_and_detects_nothing(house: Any, call: UUID) -> None:
    with entered(house.acme):
        [served, *_rest] = show(house.gail, call)
        decision = answer(house.gail, call, VOICE, True)
    with entered(house.globex):
        assert (gate.permits(call), queries.marks(call), queries.answers(house.gail, call)) == ({}, {}, {})
        assert not gate.allows(house.gail.pk, VOICE, call)
        assert (ServedNotice.objects.count(), Decision.objects.count()) == (0, 0)
        assert set(LogEntry.objects.values_list("kind", flat=True)) == {"tenant.created", "notice.published"}
        assert refusal(answer, house.gail, call, VOICE, False, served=served) == ("unknown-person", 404)
        assert refusal(show, house.gail, call) == ("unknown-person", 404)
        [theirs] = queries.notices([VOICE])
        assert (theirs.controller, theirs.pk == decision.notice_id) == ("Globex", False)
    with entered(house.acme):
        assert refusal(answer, house.gail, call, VOICE, True, served=theirs) == ("unknown-notice", 404)


def test_outside_a_tenant_nothing_is_asked_and_nothing_decided(house: Any, call: UUID) -> None:
    for ask in (gate.permits, queries.marks):
        with pytest.raises(ScopeError):
            ask(call)
    with pytest.raises(ScopeError):
        answer(house.gail, call, VOICE, True)


def test_listeners_hear_of_a_new_decision_after_its_commit_and_only_then(house: Any, call: UUID, django_capture_on_commit_callbacks: Any) -> None:
    heard: list[dict[str, Any]] = []

    def listener(sender: Any, signal: Any, **facts: Any) -> None:
        heard.append(facts)

    decided.connect(listener)
    try:
        with django_capture_on_commit_callbacks(execute=True), entered(house.acme):
            show(house.gail, call)
            answer(house.gail, str(call), VOICE, True)  # type: ignore[arg-type]  # reason: ids from the wire are strings
            answer(house.gail, call, VOICE, True)
            assert heard == []
    finally:
        decided.disconnect(listener)
    assert heard == [{"call_id": call, "person_id": house.gail.pk, "tenant_id": house.acme.pk}]


def test_a_listener_that_fails_takes_neither_the_decision_nor_the_next_listener_along(
    house: Any, call: UUID, django_capture_on_commit_callbacks: Any
) -> None:
    heard: list[Any] = []

    def failing(sender: Any, signal: Any, **facts: Any) -> None:
        raise OSError("nobody answers")

    def listening(sender: Any, signal: Any, **facts: Any) -> None:
        heard.append(facts["call_id"])

    decided.connect(failing)
    decided.connect(listening)
    try:
        with django_capture_on_commit_callbacks(execute=True), entered(house.acme):
            show(house.gail, call)
            answer(house.gail, call, VOICE, True)
    finally:
        decided.disconnect(failing)
        decided.disconnect(listening)
    assert heard == [call]
    with entered(house.acme):
        assert gate.allows(house.gail.pk, VOICE, call)


@pytest.mark.django_db(transaction=True)
def test_answers_given_at_once_are_put_in_one_order_and_none_is_lost(house: Any, call: UUID) -> None:
    writers, each = 4, 6
    start = Barrier(writers)
    with entered(house.acme):
        show(house.gail, call)

    def writer(number: int) -> None:
        try:
            start.wait(timeout=30)
            for turn in range(each):
                with entered(house.acme):
                    answer(house.gail, call, VOICE, (number + turn) % 2 == 0)
        finally:
            connection.close()

    with ThreadPoolExecutor(writers) as pool:
        for done in [pool.submit(writer, number) for number in range(writers)]:
            done.result(timeout=60)

    with entered(house.acme):
        made = list(queries.decisions_of(house.gail).order_by("sequence"))
        assert [decision.sequence for decision in made] == list(range(1, len(made) + 1))
        assert all(one.granted != next_one.granted for one, next_one in zip(made, made[1:], strict=False))
        assert all(one.decided_at <= next_one.decided_at for one, next_one in zip(made, made[1:], strict=False))
        assert [decision.entry.index for decision in made] == sorted(decision.entry.index for decision in made)
        assert gate.allows(house.gail.pk, VOICE, call) == made[-1].granted
        assert log.verify(house.acme) == []


@pytest.mark.django_db(transaction=True)
def test_two_starts_at_once_make_one_catalogue(cast: Any) -> None:
    start = Barrier(2)

    def starting() -> None:
        try:
            start.wait(timeout=30)
            services.ensure_catalogue(tenant=cast.acme, by=Actor.job("demo"), at=NOON)
        finally:
            connection.close()

    with ThreadPoolExecutor(2) as pool:
        for done in [pool.submit(starting) for _ in range(2)]:
            done.result(timeout=60)
    with entered(cast.acme):
        assert (Purpose.objects.count(), Notice.objects.count()) == (3, 3)
        assert [purpose.key for purpose in Purpose.objects.all()] == [VOICE, CAMERA, SCREEN]
