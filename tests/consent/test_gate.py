"""What the gate lets through: exactly what the log says people agreed to, and nothing that a row alone claims."""

from __future__ import annotations

from typing import Any
from uuid import UUID, uuid4

import pytest
from django.db import connection, transaction
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from compliance import log
from compliance.models import LogEntry
from consent import gate, queries, services
from consent.catalogue import Wording
from consent.models import Purpose
from tenants.errors import Refused
from tenants.permissions import Actor
from tenants.scope import entered

from .conftest import ALL, CAMERA, NOON, SCREEN, VOICE, answer, reword, show

STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("answer"), st.sampled_from(["gail", "gus", "hana"]), st.sampled_from(ALL), st.booleans()),
        st.tuples(st.just("answer elsewhere"), st.sampled_from(["gail", "gus"]), st.sampled_from(ALL), st.booleans()),
        st.tuples(st.just("reword"), st.none(), st.sampled_from(ALL), st.none()),
        st.tuples(st.just("letter"), st.sampled_from(["gail", "gus"]), st.sampled_from(ALL), st.none()),
    ),
    max_size=14,
)


def replayed(call: UUID) -> set[tuple[str, str, str]]:
    """(person, purpose, index of entry) of every grant that counts, read from nothing but the log."""
    in_force: dict[str, int] = {}
    last: dict[tuple[str, str], tuple[str, int, str]] = {}
    for entry in LogEntry.objects.order_by("index"):
        facts = entry.record["facts"]
        if entry.kind == "notice.published":
            in_force[facts["purpose"]] = facts["version"]
        elif entry.kind.startswith("consent.") and facts["call"] == str(call):
            last[facts["person"], facts["purpose"]] = (entry.kind, facts["version"], log.entry_hash(entry).hex())
    return {
        (person, purpose, entry_hash)
        for (person, purpose), (kind, version, entry_hash) in last.items()
        if kind == "consent.given" and version == in_force[purpose]
    }


def take(step: tuple[str, str | None, str, bool | None], house: Any, call: UUID, elsewhere: UUID) -> None:
    what, name, purpose, granted = step
    if what == "reword":
        reword(purpose)
        return
    person = getattr(house, str(name))
    if what == "letter":
        if queries.decisions_of(person).filter(call_id=call, purpose__key=purpose).exists():
            answer(person, call, purpose, False, method="letter", by=Actor.person(house.dora))
        return
    sitting = call if what == "answer" else elsewhere
    show(person, sitting, purpose)
    answer(person, sitting, purpose, bool(granted))


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(steps=STEPS)
def test_permits_are_always_the_newest_answers_replayed_from_the_log(house: Any, steps: list[Any]) -> None:
    call, elsewhere = uuid4(), uuid4()
    with entered(house.acme), transaction.atomic():
        for step in steps:
            take(step, house, call, elsewhere)

            found = gate.permits(call)
            granted = {(person, permit.purpose, permit.entry_hash.hex()) for person, sources in found.items() for permit in sources.values()}
            assert granted == replayed(call)
            assert all(set(gate.SOURCES[purpose]) <= set(found[person]) for person, purpose, _hash in granted)
            marks = queries.marks(call)
            assert {(p, s) for p, each in marks.items() for s, mark in each.items() if mark == "agreed"} == {
                (p, s) for p, sources in found.items() for s in sources
            }
            for name in ("gail", "gus", "hana"):
                person = getattr(house, name)
                said_yes = {purpose for who, purpose, _hash in granted if who == str(person.pk)}
                assert {purpose for purpose in ALL if gate.allows(person.pk, purpose, call)} == said_yes
                assert {key for key, decision in queries.answers(person, call).items() if decision.granted} == said_yes
        assert log.verify(house.acme) == []
        transaction.set_rollback(True)  # the next example begins with the house alone, not with a log that grew


def test_nobody_is_permitted_before_having_answered(house: Any, call: UUID) -> None:
    with entered(house.acme):
        show(house.gail, call)

        assert gate.permits(call) == {}
        assert queries.marks(call) == {str(house.gail.pk): dict.fromkeys(["mic", "cam", "screen", "screen-audio"], "undecided")}


def test_each_source_needs_the_answer_to_its_own_purpose(house: Any, call: UUID) -> None:
    with entered(house.acme):
        for person in (house.gail, house.gus):
            show(person, call)
        voice = answer(house.gail, call, VOICE, True)
        answer(house.gail, call, CAMERA, False)
        screen = answer(house.gus, call, SCREEN, True)

        found = gate.permits(str(call))

        assert {person: set(sources) for person, sources in found.items()} == {
            str(house.gail.pk): {"mic"},
            str(house.gus.pk): {"screen", "screen-audio"},
        }
        permit = found[str(house.gail.pk)]["mic"]
        assert permit == gate.Permit("mic", VOICE, voice.pk, log.entry_hash(voice.entry), voice.decided_at)
        assert {found[str(house.gus.pk)][source].entry_hash for source in ("screen", "screen-audio")} == {log.entry_hash(screen.entry)}
        assert queries.marks(call)[str(house.gail.pk)] == {"mic": "agreed", "cam": "declined", "screen": "undecided", "screen-audio": "undecided"}


def test_agreeing_again_after_a_withdrawal_is_another_permit(house: Any, call: UUID) -> None:
    with entered(house.acme):
        show(house.gail, call)
        answer(house.gail, call, CAMERA, True)
        first = gate.permits(call)[str(house.gail.pk)]["cam"]
        answer(house.gail, call, CAMERA, False)
        assert gate.permits(call) == {}
        answer(house.gail, call, CAMERA, True)
        second = gate.permits(call)[str(house.gail.pk)]["cam"]

        assert len(first.entry_hash) == len(second.entry_hash) == 32
        assert first.entry_hash != second.entry_hash
        assert first.decision_id != second.decision_id


def test_a_yes_counts_for_its_own_call_only_and_the_next_sitting_asks_again(house: Any, call: UUID) -> None:
    with entered(house.acme):
        show(house.gail, call)
        answer(house.gail, call, VOICE, True)
        answer(house.gail, call, CAMERA, False)

        assert [notice.purpose.key for notice in queries.open_questions(house.gail, call, ALL)] == [SCREEN]
        assert queries.open_questions(house.gail, call, [VOICE, CAMERA]) == []
        assert [notice.purpose.key for notice in queries.open_questions(house.gail, uuid4(), [CAMERA, VOICE])] == [VOICE, CAMERA]
        assert gate.permits(uuid4()) == {}


def test_new_words_end_an_agreement_at_once_and_open_the_question(house: Any, call: UUID) -> None:
    with entered(house.acme):
        show(house.gail, call)
        answer(house.gail, call, VOICE, True)
        answer(house.gail, call, CAMERA, True)
        reword(VOICE)

        assert set(gate.permits(call)[str(house.gail.pk)]) == {"cam"}
        assert queries.marks(call)[str(house.gail.pk)]["mic"] == "undecided"
        assert [notice.version for notice in queries.open_questions(house.gail, call, [VOICE])] == [2]

        show(house.gail, call, VOICE)
        again = answer(house.gail, call, VOICE, True)
        assert (again.sequence, again.notice.version) == (2, 2)
        assert set(gate.permits(call)[str(house.gail.pk)]) == {"mic", "cam"}


def test_asking_for_what_was_not_agreed_is_refused(house: Any, call: UUID) -> None:
    with entered(house.acme):
        show(house.gail, call)
        answer(house.gail, call, VOICE, True)
        gate.require(house.gail.pk, VOICE, call)
        for person, purpose in ((house.gail, CAMERA), (house.gus, VOICE), (house.gail, "nonsense")):
            with pytest.raises(Refused) as refused:
                gate.require(person.pk, purpose, call)
            assert (refused.value.code, refused.value.status) == ("no-consent", 403)


TAMPERING = {
    "the row turned to yes": "UPDATE consent_decision SET granted = true",
    "the row moved to another person": "UPDATE consent_decision SET granted = true, person_id = '{gus}'",
    "the row moved to another call": "UPDATE consent_decision SET granted = true, call_id = '{other}'",
    "the row dated back": "UPDATE consent_decision SET granted = true, decided_at = decided_at - interval '1 hour'",
    "the entry turned to yes": "UPDATE consent_decision SET granted = true; "
    "UPDATE compliance_logentry SET record = jsonb_set(record, '{{kind}}', '\"consent.given\"') WHERE kind = 'consent.refused'",
}


@pytest.mark.parametrize("tampering", TAMPERING.values(), ids=TAMPERING.keys())
@pytest.mark.parametrize("said", [True, False], ids=["after a yes", "after a no"])
def test_a_row_that_the_log_does_not_vouch_for_permits_nothing(house: Any, call: UUID, tampering: str, said: bool) -> None:
    other = uuid4()
    with entered(house.acme), connection.cursor() as cursor:
        show(house.gail, call)
        answer(house.gail, call, VOICE, said)
        before = gate.permits(call)
        assert bool(before) == said
        cursor.execute(tampering.format(gus=house.gus.pk, other=other))

        harmless = said and "_id" not in tampering and "decided_at" not in tampering  # nothing that a yes says was changed
        assert gate.permits(call) == (before if harmless else {})
        assert gate.permits(other) == {}


def test_a_yes_whose_proof_was_lost_may_be_given_again(house: Any, call: UUID) -> None:
    with entered(house.acme):
        show(house.gail, call)
        lost = answer(house.gail, call, VOICE, True)
        log.blank([lost.entry], by=Actor.job("retention"), at=NOON, reason="test")
        assert gate.permits(call) == {}

        again = answer(house.gail, call, VOICE, True)

        assert again.pk != lost.pk
        assert gate.permits(call)[str(house.gail.pk)]["mic"].decision_id == again.pk


def test_a_purpose_that_somebody_adds_opens_no_source(house: Any, call: UUID) -> None:
    with entered(house.acme):
        added = Purpose.objects.create(tenant=house.acme, key="quality", title="Quality", sources=["mic", "cam"], order=9)
        notice = queries.notices([VOICE])[0]
        words = {name: getattr(notice, name) for name in ("title", "what", "why", "who_sees", "keep_text")}
        services.publish_notice(purpose=added.key, wordings={"en": Wording(**words)}, by=Actor.operator("cli"), at=NOON)
        show(house.gail, call, "quality")
        answer(house.gail, call, "quality", True)

        assert gate.allows(house.gail.pk, "quality", call)
        assert gate.permits(call) == {}
