"""What a person gets to see of the own answers, and what a request for erasure leaves and why."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from compliance import log, registry
from compliance.registry import Line, Outcome
from consent import personal_data, queries
from consent.models import Decision, ServedNotice
from tenants.scope import entered

from .conftest import CAMERA, NOON, VOICE, answer, show


def test_every_field_is_declared_and_every_promise_carried_out() -> None:
    assert registry.undeclared(["consent"]) == []
    assert registry.unknown(["consent"]) == []
    assert [missing for missing in registry.unanswered() if missing.startswith("consent.")] == []


def test_a_person_gets_the_own_answers_with_the_words_and_the_proof(house: Any, call: UUID) -> None:
    with entered(house.acme):
        for person in (house.gail, house.gus):
            show(person, call, VOICE, CAMERA)
            answer(person, call, VOICE, person == house.gail)

        shown = list(personal_data.export_served(house.gail))
        [decision] = personal_data.export_decisions(house.gail)

        assert {row["purpose"] for row in shown} == {VOICE, CAMERA}
        [voice] = [row for row in shown if row["purpose"] == VOICE]
        [notice] = queries.notices([VOICE])
        assert (voice["what"], voice["shown_at"], voice["digest"]) == (notice.what, NOON, notice.digest)
        assert (decision["granted"], decision["served"], decision["digest"]) == (True, voice["id"], notice.digest)
        assert decision["entry_hash"] == log.entry_hash(Decision.objects.get(person=house.gail).entry).hex()


def test_a_request_for_erasure_leaves_the_evidence_under_its_ground_and_nothing_else(house: Any, call: UUID) -> None:
    with entered(house.acme):
        for person in (house.gail, house.gus):
            show(person, call, VOICE, CAMERA)
            answer(person, call, VOICE, True)

        for _twice in range(2):
            assert personal_data.keep_decisions(house.gail, NOON) == Line("consent.Decision", Outcome.KEPT, 1, "gdpr-17-3-e")
            assert personal_data.erase_served(house.gail, NOON) == Line("consent.ServedNotice", Outcome.KEPT, 1, "gdpr-17-3-e")

        assert [served.notice.purpose.key for served in queries.served_to(house.gail)] == [VOICE]
        assert ServedNotice.objects.filter(person=house.gus).count() == 2


def test_of_somebody_who_never_answered_nothing_is_left(house: Any, call: UUID) -> None:
    with entered(house.acme):
        show(house.gail, call)

        assert personal_data.erase_served(house.gail, NOON) == Line("consent.ServedNotice", Outcome.DONE, 3)
        assert personal_data.keep_decisions(house.gail, NOON) == Line("consent.Decision", Outcome.DONE, 0)
        assert not queries.served_to(house.gail).exists()
