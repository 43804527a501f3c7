"""What a tenant keeps for fewer days than the baseline, and evidence, which goes three years after the last content that it is about."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.test import TestCase
from django.utils import timezone

from calls import services as meetings
from calls.models import Call, Meeting, Participant, Placement
from compliance import log, queries, retention, terms
from compliance.dsr import desk
from compliance.models import Hold, LogEntry, Request, RetentionRule
from consent.models import Decision, ServedNotice
from recordings import viewing
from recordings.models import Artefact, Epoch, Recording, Track, Viewing
from tenants import scope
from tenants.errors import Refused
from tenants.permissions import Actor
from tests.calls import scenes
from tests.recordings import sittings, stored
from tests.recordings.stored import JOB, Stored, acting

pytestmark = pytest.mark.django_db(databases=["default", "keys"])
DAY = timedelta(days=1)
EVIDENCE = timedelta(days=3 * 365)


@pytest.fixture
def made(cast: Any, tmp_path: Path, settings: Any) -> Stored:
    """Gail's voice and Gus' camera, recorded and finished; the call has ended."""
    settings.CLEAC = settings.CLEAC.model_copy(update={"data": tmp_path})
    found = stored.finished(sittings.made(cast), ("gail", "mic"), ("gus", "cam"))
    with acting(cast):
        meetings.end(call=found.sitting.call, by=JOB, at=timezone.now())
    return found


def shortened(made: Stored, kind: str, days: int, at: datetime) -> RetentionRule:
    with scope.entered(made.cast.acme):
        return retention.shorten(kind=kind, days=days, in_force_from=at, by=JOB, at=timezone.now())


def run(made: Stored, time_machine: Any, at: datetime) -> retention.Report:
    time_machine.move_to(at, tick=False)
    with TestCase.captureOnCommitCallbacks(execute=True):
        return retention.run(tenant=made.cast.acme, by=JOB, at=at)


def answers(made: Stored) -> int:
    with scope.entered(made.cast.acme):
        return Decision.objects.filter(call_id=made.sitting.call.pk).count() + ServedNotice.objects.filter(call_id=made.sitting.call.pk).count()


def naming(made: Stored) -> int:
    """How many entries say anything about the call."""
    with scope.entered(made.cast.acme):
        found = LogEntry.objects.filter(record__facts__call=str(made.sitting.call.pk)).count()
        return found + LogEntry.objects.filter(record__facts__recording=str(made.recording.pk)).count()


# Shorter by tenant


def test_a_tenants_newest_rule_in_force_counts_and_none_lengthens_the_baseline(made: Stored) -> None:
    now = timezone.now()
    shortened(made, "package", 3, now + DAY)
    shortened(made, "package", 5, now + 10 * DAY)
    with scope.entered(made.cast.acme):
        RetentionRule.objects.create(tenant=made.cast.acme, kind="package", days=900, in_force_from=now + 20 * DAY)  # by whatever way
        found = [terms.kept_for("package", now + days * DAY).days for days in (0, 1, 9, 10, 20)]
    with scope.entered(made.cast.globex):
        theirs = terms.kept_for("package", now + 10 * DAY).days

    assert (found, theirs) == ([7, 3, 3, 5, 7], 7)


@pytest.mark.parametrize(
    ("kind", "days", "shift", "code"),
    [
        ("package", 8, 0, "too-long"),
        ("evidence", 1096, 0, "too-long"),
        ("package", 0, 0, "too-short"),
        ("package", 3, -1, "in-the-past"),
        ("x", 3, 0, "unknown-kind"),
    ],
)
def test_a_rule_that_lengthens_or_looks_back_is_refused(made: Stored, kind: str, days: int, shift: int, code: str) -> None:
    with pytest.raises(Refused, match=code):
        shortened(made, kind, days, timezone.now() + shift * DAY + timedelta(minutes=1))


def test_a_copy_can_be_downloaded_for_as_long_as_the_tenants_rule_says(made: Stored, time_machine: Any) -> None:
    time_machine.move_to(timezone.now(), tick=False)
    shortened(made, "package", 2, timezone.now())
    with acting(made.cast):
        asked = desk.open_request(person=made.cast.gail, kind="access", channel="link", by=Actor.person(made.cast.gail), at=timezone.now())
        ready = desk.carry_out(request=queries.request_for(asked.pk), by=JOB, at=timezone.now())

    assert ready.expires_at == timezone.now() + 2 * DAY


def test_the_command_writes_a_rule_with_its_entry(made: Stored) -> None:
    out = StringIO()
    call_command("retention", "shorten", "--tenant", "acme", "--kind", "invitation", "--days", "10", "--from", "2100-01-01", stdout=out)

    with scope.entered(made.cast.acme):
        rule = RetentionRule.objects.get()
        entry = LogEntry.objects.get(kind="retention.shortened")
    assert (rule.kind, rule.days, rule.in_force_from) == ("invitation", 10, datetime(2100, 1, 1, tzinfo=UTC))
    assert entry.record["facts"] == {"rule": "invitation", "days": 10, "in_force_from": "2100-01-01T00:00:00+00:00"}
    assert "acme: invitation 10 days" in out.getvalue()
    for words in (("--kind", "package", "--days", "8"), ("--kind", "package")):
        with pytest.raises(CommandError) as refused:
            call_command("retention", "shorten", "--tenant", "acme", *words)
        assert refused.value.returncode == 2


# Evidence


def test_evidence_goes_three_years_after_the_last_content_went_and_the_log_still_verifies(made: Stored, time_machine: Any) -> None:
    gone_at = timezone.now() + 32 * DAY
    assert run(made, time_machine, gone_at).objects == 2
    before = answers(made)
    assert before > 0

    assert run(made, time_machine, gone_at + EVIDENCE - timedelta(minutes=1)).evidence == 0
    assert answers(made) == before
    report = run(made, time_machine, gone_at + EVIDENCE + timedelta(minutes=1))

    assert (report.evidence, report.failed, answers(made), naming(made)) == (1, 0, 0, 0)
    with scope.entered(made.cast.acme):
        assert log.verify(made.cast.acme) == []
        assert LogEntry.objects.filter(kind="evidence.expired").count() == 1
        assert LogEntry.objects.filter(kind="tenant.created", record__isnull=False).count() == 1
    assert run(made, time_machine, gone_at + EVIDENCE + DAY).evidence == 0


def left(made: Stored) -> set[str]:
    """The models that still have rows about the call, its meeting, or what was recorded of it."""
    models = (Meeting, Call, Participant, Placement, Recording, Track, Epoch, Artefact, Viewing, Request, Hold)
    with scope.entered(made.cast.acme):
        return {model.__name__ for model in models if model.objects.exists()}


def test_rows_about_a_call_go_with_its_evidence_and_those_of_other_calls_stay(made: Stored, time_machine: Any) -> None:
    gone_at = timezone.now() + 32 * DAY
    with acting(made.cast):
        gail = made.cast.gail
        viewing.view(recording=made.recording, by=Actor.person(gail), person=gail, whole=False, purpose="own", at=timezone.now())
    run(made, time_machine, gone_at)
    with acting(made.cast):
        other = scenes.entered(scenes.meeting(made.cast), made.cast.gus)
    before = left(made)

    run(made, time_machine, gone_at + EVIDENCE - timedelta(minutes=1))
    assert left(made) == before >= {"Meeting", "Call", "Participant", "Recording", "Track", "Epoch", "Artefact", "Viewing"}
    report = run(made, time_machine, gone_at + EVIDENCE + timedelta(minutes=1))

    assert (report.evidence, report.failed, left(made)) == (1, 0, {"Meeting", "Call", "Participant"})
    with scope.entered(made.cast.acme):
        assert [one.pk for one in Participant.objects.all()] == [other.pk]
        assert [one.pk for one in Meeting.objects.all()] == [other.call.meeting_id]
        assert log.verify(made.cast.acme) == []


def test_an_answered_request_and_a_lifted_hold_go_when_they_were_over_for_three_years_unless_a_hold_stands(made: Stored, time_machine: Any) -> None:
    now = timezone.now()
    with acting(made.cast):
        hold = {"tenant": made.cast.acme, "reason": "claim", "placed_at": now}
        Hold.objects.create(**hold, person_id=made.cast.gail.pk, lifted_at=now)
        standing = Hold.objects.create(**hold, person_id=made.cast.gus.pk)
        for person in (made.cast.gail, made.cast.gus, made.cast.hana):
            asked = desk.open_request(person=person, kind="access", channel="link", by=Actor.person(person), at=now)
            if person != made.cast.hana:  # hers is never answered
                Request.objects.filter(pk=asked.pk).update(state="DONE", done_at=now, next_at=None)

    def kept() -> tuple[set[Any], set[Any]]:
        with scope.entered(made.cast.acme):
            return set(Request.objects.values_list("person__name", flat=True)), set(Hold.objects.values_list("pk", flat=True))

    run(made, time_machine, now + EVIDENCE - timedelta(minutes=1))
    assert [len(rows) for rows in kept()] == [3, 2]
    run(made, time_machine, now + EVIDENCE + DAY)

    assert kept() == ({"Gus", "Hana"}, {standing.pk})
    with scope.entered(made.cast.acme):
        told = LogEntry.objects.filter(kind__startswith="request.", record__isnull=False)
        assert made.cast.gail.pk not in {entry.record["facts"].get("person") for entry in told}
        assert log.verify(made.cast.acme) == []


def test_evidence_of_what_is_still_stored_or_held_stays(made: Stored, time_machine: Any) -> None:
    """Under a hold on Gail her voice stays, and with it everything that proves it; then she is the only one left."""
    with acting(made.cast):
        hold = Hold.objects.create(tenant=made.cast.acme, person_id=made.cast.gail.pk, reason="claim", placed_at=timezone.now())
    late = timezone.now() + 2 * EVIDENCE
    before = answers(made)
    assert run(made, time_machine, late).evidence == 0
    assert (answers(made), set(made.objects())) == (before, {("gail", "mic")})

    with acting(made.cast):
        Hold.objects.filter(pk=hold.pk).update(lifted_at=timezone.now())
    report = run(made, time_machine, late + DAY)
    assert (report.objects, report.evidence, answers(made)) == (1, 0, before)

    assert run(made, time_machine, late + 2 * DAY + EVIDENCE).evidence == 1
    assert answers(made) == 0


def test_a_tenant_may_keep_evidence_for_less(made: Stored, time_machine: Any) -> None:
    gone_at = timezone.now() + 32 * DAY
    shortened(made, "evidence", 100, timezone.now() + DAY)
    run(made, time_machine, gone_at)

    assert run(made, time_machine, gone_at + 99 * DAY).evidence == 0
    assert run(made, time_machine, gone_at + 101 * DAY).evidence == 1
