"""The proof: what lies in the store against decisions replayed from the log. The store is real, and so is every fault."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from datetime import datetime, timedelta
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.core.management import CommandError, call_command
from django.db import connection
from django.utils import timezone
from hypothesis import given
from hypothesis import strategies as st

from compliance import log, proof
from compliance.proof.grants import AT_ONCE, PRECISION
from compliance.proof.intervals import length, minus, union
from consent import queries as consent
from consent.models import GIVEN, WITHDRAWN, Decision
from recordings import finishing, journal, playback, queries, services, storage
from recordings.models import Artefact, Epoch
from tenants import scope
from tenants.permissions import Actor
from tests.recordings import stored
from tests.recordings.sittings import Sitting, made
from tests.recordings.stored import Stored

pytestmark = pytest.mark.django_db(databases=["default", "keys"])
SECONDS = 2.0  # of each stretch that the builders store, and a little less by the last frame's start


@pytest.fixture
def house(cast: Any, tmp_path: Path, settings: Any) -> Stored:
    """Gail's voice and camera and Gus' voice, recorded and finished, in a store of its own."""
    settings.CLEAC = settings.CLEAC.model_copy(update={"data": tmp_path})
    return stored.finished(made(cast), ("gail", "mic"), ("gail", "cam"), ("gus", "mic"))


def proven(house: Stored, *, only: Any = None, deep: bool = False) -> proof.Proof:
    everybody = [house.cast.acme, house.cast.globex]
    return proof.prove([only] if only else everybody, everybody=everybody, deep=deep)


def codes(found: proof.Proof) -> set[str]:
    return {finding.code for finding in found.findings}


def by_hand(statement: str, *values: Any) -> None:
    """Somebody at the database, past everything that the ORM refuses."""
    with connection.cursor() as cursor:
        cursor.execute(statement, values)
        assert cursor.rowcount == 1


def path_of(artefact: Artefact) -> Path:
    return Path(settings.CLEAC.data) / "objects" / artefact.object_name


def heads(house: Stored, *place: str) -> list[tuple[int, int]]:
    """The stretches of time that one of the files names in clear."""
    with path_of(house.files[place]).open("rb") as file:
        return [(head.start_us, head.end_us) for head in playback.heads(file).records if head.type == playback.CLUSTER]


def test_a_house_in_order_has_no_orphan_second(house: Stored) -> None:
    found = proven(house)

    assert found.clean
    assert found.as_json() | {"stored_seconds": 0} == {
        "stored_seconds": 0,
        "orphan_seconds": 0,
        "orphan_objects": 0,
        "undeclared_fields": 0,
        "log_ok": True,
    }
    assert found.stored_us / 1e6 == pytest.approx(3 * SECONDS, abs=0.5)


def test_opening_every_record_finds_the_same_and_leaves_an_entry(house: Stored) -> None:
    assert proven(house, deep=True).clean

    with scope.entered(house.cast.acme):
        [entry] = log.of_kinds(["recording.proved"])
        assert (entry.on_id, entry.record["facts"]) == (str(house.recording.pk), {"objects": 3})
    assert proven(house).clean


def test_what_could_not_be_cut_off_after_a_withdrawal_is_reported_until_no_reader_can_meet_it(cast: Any, tmp_path: Path, settings: Any) -> None:
    """The disk did not shorten the journal: a record of half a minute later is still in it. Finishing leaves it out, and then it is gone."""
    settings.CLEAC = settings.CLEAC.model_copy(update={"data": tmp_path})
    sitting = made(cast)
    sitting.answer("gail", "record-voice")
    house = Stored(sitting, sitting.start())
    with stored.acting(cast):
        epoch, artefact = sitting.open_epoch(house.recording, "gail", "mic")
        with storage.store().create(artefact.object_name) as file:
            writer = journal.Writer(file, b"k" * 32, queries.claim(epoch=epoch))
            for start_us in (0, 30_000_000):
                items = [journal.Item(start_us + step * 20_000, b"P", stored.rtp(start_us // 20_000 + step)) for step in range(2)]
                writer.append(start_us, 20_000, items)
    sitting.answer("gail", "record-voice", granted=False)
    with stored.acting(cast):
        until = queries.permitted_until_us(epoch)
        kept = services.kept(artefact=artefact, kept_until_us=until)
        facts = {"cut": "withdrawn", "complete": False, "size": kept.size, "stored_ms": kept.stored_ms, "kept_until_us": until}
        services.close_epoch(epoch=epoch, **facts, by=stored.JOB, at=timezone.now())
        services.stop(recording=house.recording, by=stored.JOB, at=timezone.now())

    found = proven(house)
    assert [(one.code, one.seconds) for one in found.findings] == [("uncovered", 0.02)]
    assert found.orphan_us == 20_000

    with stored.acting(cast):
        finishing.advance(recording=house.recording, by=stored.JOB, at=timezone.now())
        finishing.finish(
            tenant=sitting.cast.acme, recording_id=house.recording.pk, participant_id=sitting.who["gail"].pk, by=stored.JOB, at=timezone.now()
        )
    found = proven(house, deep=True)
    assert found.clean
    assert 0 < found.stored_us <= 20_000


def test_a_decision_row_that_was_removed_by_hand_leaves_its_seconds_without_a_grant(house: Stored) -> None:
    with scope.entered(house.cast.acme):
        by_hand("DELETE FROM consent_decision WHERE id = %s", house.epochs["gail", "cam"].decision)

    found = proven(house)

    assert [(finding.code, finding.epoch) for finding in found.findings] == [("uncovered", str(house.epochs["gail", "cam"].pk))]
    assert found.orphan_us == length(union(heads(house, "gail", "cam")))
    assert not found.clean


def test_a_decision_row_that_says_something_else_is_no_grant(house: Stored) -> None:
    with scope.entered(house.cast.acme):
        by_hand("UPDATE consent_decision SET method = 'room' WHERE id = %s", house.epochs["gus", "mic"].decision)

    assert codes(proven(house)) == {"uncovered"}


def test_an_object_that_was_copied_is_an_orphan_with_all_its_seconds(house: Stored) -> None:
    source = path_of(house.files["gail", "mic"])
    shutil.copy(source, source.with_name(storage.new_name()))

    found = proven(house)

    assert (found.orphan_objects, codes(found)) == (1, {"orphan"})
    assert found.orphan_us == length(union(heads(house, "gail", "mic")))


@pytest.mark.parametrize("name", ["copy.bak", "README", "x" * 32])
def test_a_file_that_has_no_name_of_ours_is_an_orphan_too(house: Stored, name: str) -> None:
    shutil.copy(path_of(house.files["gail", "mic"]), path_of(house.files["gail", "mic"]).with_name(name))

    assert proven(house).orphan_objects == 1


def test_a_journal_that_was_copied_beside_itself_is_an_orphan(house: Stored) -> None:
    name, spool = storage.new_name(), Path(settings.CLEAC.data) / "spool"
    kept = path_of(house.files["gail", "mic"])
    with scope.entered(house.cast.acme):
        Artefact.objects.filter(pk=house.files["gail", "mic"].pk).update(kind=Artefact.Kind.JOURNAL, object_name=name)
    spool.mkdir(exist_ok=True)
    shutil.move(kept, spool / f"{name}.journal")
    assert proven(house).orphan_objects == 0

    shutil.copy(spool / f"{name}.journal", spool / name)

    assert proven(house).orphan_objects == 1


def test_an_object_in_the_place_of_a_journal_is_an_orphan(house: Stored) -> None:
    spool = Path(settings.CLEAC.data) / "spool"
    spool.mkdir(exist_ok=True)
    shutil.copy(path_of(house.files["gail", "mic"]), spool / f"{house.files['gail', 'mic'].object_name}.journal")

    assert proven(house).orphan_objects == 1


def test_an_object_whose_row_says_that_it_is_gone_is_told_as_such(house: Stored) -> None:
    kept = path_of(house.files["gail", "mic"]).read_bytes()
    house.forget("gail")
    assert proven(house).clean
    path_of(house.files["gail", "mic"]).write_bytes(kept)

    found = proven(house)

    assert [(finding.code, finding.tenant) for finding in found.findings] == [("shredded", "acme")]
    assert found.orphan_objects == 1


FLIPS: dict[str, str] = {
    "the record": "UPDATE compliance_logentry SET record = jsonb_set(record, '{facts,method}', '\"room\"') WHERE id = %s",
    "the salt": "UPDATE compliance_logentry SET salt = set_byte(salt, 7, get_byte(salt, 7) # 1) WHERE id = %s",
    "the commitment": "UPDATE compliance_logentry SET commitment = set_byte(commitment, 7, get_byte(commitment, 7) # 1) WHERE id = %s",
}


@pytest.mark.parametrize("what", FLIPS)
def test_one_flipped_bit_in_the_log_is_found_and_its_entry_grants_nothing(house: Stored, what: str) -> None:
    with scope.entered(house.cast.acme):
        entry = Decision.objects.get(pk=house.epochs["gail", "mic"].decision).entry_id
        by_hand(FLIPS[what], entry)

    found = proven(house)

    assert not found.log_ok
    assert "uncovered" in codes(found)
    assert any(code.startswith("log-") for code in codes(found))
    assert found.orphan_us == length(union(heads(house, "gail", "mic")))


def test_a_flipped_bit_in_another_entry_is_found_and_takes_no_grant_away(house: Stored) -> None:
    with scope.entered(house.cast.acme):
        [entry] = log.of_kinds(["recording.ready", "recording.stopped"])[:1]
        by_hand("UPDATE compliance_logentry SET salt = set_byte(salt, 0, get_byte(salt, 0) # 128) WHERE id = %s", entry.pk)

    found = proven(house)

    assert (found.log_ok, found.orphan_us) == (False, 0)


def test_a_finished_row_without_its_object_is_told(house: Stored) -> None:
    path_of(house.files["gail", "cam"]).unlink()

    found = proven(house)

    assert [(finding.code, finding.object) for finding in found.findings] == [("missing", house.files["gail", "cam"].object_name)]


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def _flipped(at: int) -> Callable[[Path], None]:
    def flip(path: Path) -> None:
        whole = bytearray(path.read_bytes())
        whole[at] ^= 1
        path.write_bytes(whole)

    return flip


@pytest.mark.parametrize(
    ("harm", "expected"),
    [
        (_cut, {"size", "unfinished"}),
        (lambda path: path.write_bytes(b""), {"size", "unfinished"}),
        (lambda path: path.write_bytes(path.read_bytes() + b"\0"), {"damaged"}),
        (_flipped(0), {"damaged"}),
        (lambda path: path.write_bytes(path.read_bytes().replace(b'"epoch":"', b'"epoch":"f', 1)), {"damaged"}),
    ],
    ids=["a byte cut off", "emptied", "a byte added", "another form", "an altered head"],
)
def test_an_object_that_somebody_changed_is_told(house: Stored, harm: Callable[[Path], None], expected: set[str]) -> None:
    harm(path_of(house.files["gus", "mic"]))

    assert codes(proven(house)) == expected


def test_two_objects_in_each_others_place_are_told_by_their_claims(house: Stored) -> None:
    one, other = path_of(house.files["gail", "mic"]), path_of(house.files["gus", "mic"])
    kept = one.read_bytes()
    one.write_bytes(other.read_bytes())
    other.write_bytes(kept)

    assert "claim" in codes(proven(house))


def test_a_flipped_bit_in_what_is_sealed_is_found_by_opening_it_and_only_so(house: Stored) -> None:
    path = path_of(house.files["gus", "mic"])
    _flipped(path.stat().st_size // 2)(path)

    assert "sealed" not in codes(proven(house))
    assert "sealed" in codes(proven(house, deep=True))


@pytest.mark.parametrize(("late", "orphaned"), [(timedelta(milliseconds=-1), False), (timedelta(milliseconds=1), True)], ids=["within", "past"])
def test_time_past_a_withdrawal_is_orphaned_from_the_moment_on_that_nothing_excuses_it(house: Stored, late: timedelta, orphaned: bool) -> None:
    """The last second of Gail's voice is held against a withdrawal that lies just inside, and just outside, of what may be kept."""
    last = max(end for _start, end in heads(house, "gail", "mic"))
    cut = house.recording.requested_at + timedelta(microseconds=last) - AT_ONCE - PRECISION - late
    answered(house, "gail", "record-voice", granted=False, at=cut)

    assert (codes(proven(house)) == {"uncovered"}) == orphaned


def test_a_withdrawal_counts_by_its_entry_when_its_row_is_gone_and_by_its_row_when_its_entry_is(house: Stored) -> None:
    decision = answered(house, "gail", "record-voice", granted=False, at=house.recording.requested_at - AT_ONCE)
    assert codes(proven(house)) == {"uncovered"}
    with scope.entered(house.cast.acme):
        by_hand("UPDATE compliance_logentry SET salt = set_byte(salt, 0, get_byte(salt, 0) # 1) WHERE id = %s", decision.entry_id)
    assert "uncovered" in codes(proven(house))
    with scope.entered(house.cast.acme):
        by_hand("UPDATE compliance_logentry SET salt = set_byte(salt, 0, get_byte(salt, 0) # 1) WHERE id = %s", decision.entry_id)
        by_hand("DELETE FROM consent_decision WHERE id = %s", decision.pk)
    assert codes(proven(house)) == {"uncovered"}


def answered(house: Stored, name: str, purpose: str, *, granted: bool, at: datetime) -> Decision:
    """An answer as the service writes it, but for its time: the service takes the database's."""
    person, moment = getattr(house.cast, name), at.replace(microsecond=at.microsecond // 1000 * 1000)
    with scope.entered(house.cast.acme):
        before = consent.answers(person, house.sitting.call.pk)[purpose]
        same = {key: getattr(before, key) for key in ("tenant_id", "person", "purpose", "notice", "served", "call_id", "method")}
        decision = Decision(**same, granted=granted, decided_at=moment, sequence=before.sequence + 1)
        decision.entry = log.record(GIVEN if granted else WITHDRAWN, on=decision, by=Actor.person(person), at=moment, **decision.facts())
        decision.save()
        return decision


def test_a_stretch_that_names_somebody_elses_grant_is_not_covered(house: Stored) -> None:
    with scope.entered(house.cast.acme):
        by_hand("UPDATE recordings_epoch SET decision = %s WHERE id = %s", house.epochs["gus", "mic"].decision, house.epochs["gail", "mic"].pk)

    assert "uncovered" in codes(proven(house))


def test_a_camera_is_not_covered_by_a_yes_to_the_voice(house: Stored) -> None:
    with scope.entered(house.cast.acme):
        voice, camera = house.epochs["gail", "mic"], house.epochs["gail", "cam"]
        Epoch.objects.filter(pk=camera.pk).update(decision=voice.decision, entry_hash=bytes(voice.entry_hash))

    assert "uncovered" in codes(proven(house))


def test_journal_and_playback_file_of_one_stretch_are_the_same_seconds(cast: Any, tmp_path: Path, settings: Any) -> None:
    settings.CLEAC = settings.CLEAC.model_copy(update={"data": tmp_path})
    sitting: Sitting = made(cast)
    house = stored.captured(sitting, ("gail", "mic"))

    found = proven(house)

    assert found.clean
    assert found.stored_us / 1e6 == pytest.approx(SECONDS, abs=0.5)


def test_a_single_picture_without_a_grant_is_no_clean_proof_although_it_lasts_no_time(cast: Any, tmp_path: Path, settings: Any) -> None:
    settings.CLEAC = settings.CLEAC.model_copy(update={"data": tmp_path})
    house = stored.captured(made(cast), ("gail", "cam"))
    with stored.acting(cast):
        house.finish("gail", "cam", stored.pictures(stored.SECOND, 1)[:1])
        house.stop()
    assert {start == end for start, end in heads(house, "gail", "cam")} == {True}
    assert proven(house).clean
    with scope.entered(cast.acme):
        by_hand("DELETE FROM consent_decision WHERE id = %s", house.epochs["gail", "cam"].decision)

    found = proven(house)

    assert (codes(found), found.clean) == ({"uncovered"}, False)


def test_a_proof_of_globex_says_nothing_of_acme(house: Stored) -> None:
    with scope.entered(house.cast.acme):
        by_hand("DELETE FROM consent_decision WHERE id = %s", house.epochs["gail", "cam"].decision)

    found = proven(house, only=house.cast.globex)

    assert found.clean
    assert found.stored_us == 0


def told(*words: str) -> tuple[int, str]:
    """What the command says, and its exit code."""
    code, text, _findings = told_apart(*words)
    return code, text


def told_apart(*words: str) -> tuple[int, str, str]:
    """Its exit code, what it prints, and what it says on the error stream."""
    out, err = StringIO(), StringIO()
    with pytest.raises((SystemExit, CommandError)) as ended:
        call_command("prove", *words, stdout=out, stderr=err)
    return int(getattr(ended.value, "returncode", getattr(ended.value, "code", 0))), out.getvalue(), err.getvalue()


def test_the_command_prints_its_five_keys_and_says_by_its_exit_code_whether_all_are_clean(house: Stored) -> None:
    code, text = told("--json", "--tenant", "acme")
    clean = json.loads(text)
    assert code == 0
    assert list(clean) == ["stored_seconds", "orphan_seconds", "orphan_objects", "undeclared_fields", "log_ok"]
    assert clean["stored_seconds"] > 0

    (Path(settings.CLEAC.data) / "objects" / "stranger").write_bytes(b"")
    code, text, findings = told_apart("--json")
    assert (code, json.loads(text)["orphan_objects"], list(json.loads(text))) == (1, 1, list(clean))
    assert findings == "orphan object=objects/stranger\n"
    code, text = told()
    assert (code, text.splitlines()[-2:]) == (1, ["  orphan object=objects/stranger", "NOT CLEAN"])
    assert told("--tenant", "nobody")[0] == 2


INTERVALS = st.lists(st.tuples(st.integers(0, 60), st.integers(0, 60)), max_size=8)


@given(INTERVALS, INTERVALS)
def test_intervals_are_joined_and_taken_away_as_sets_of_microseconds_are(some: list[tuple[int, int]], others: list[tuple[int, int]]) -> None:
    def points(intervals: list[tuple[int, int]]) -> set[int]:
        return {point for start, end in intervals for point in range(start, end)}

    assert points(union(some)) == points(some)
    assert length(union(some)) == len(points(some))
    assert points(minus(some, others)) == points(some) - points(others)
