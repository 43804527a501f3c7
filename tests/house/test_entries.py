"""Whatever writes history leaves its entry in the log. The table below is the whole of it: each writing function, and the kinds that it writes.

Only public functions have a row: they answer for the private helpers of their module, and what only calls others has nothing of its own. Each
row is the kinds of entries, or another writer that is called and has the entry, or the reason why there is none.
"""

from __future__ import annotations

import ast
import re
from enum import StrEnum
from typing import NamedTuple

import pytest

from .source import ROOT, lines, modules
from .writers import NO_ROWS, callers, functions, is_private, own, writers, writes_rows


class Why(StrEnum):
    """No entry, because it is..."""

    CALLERS = "a step of others, each of which writes its entry"
    LEASE = "who carries which call at this moment"
    PROMISE = "work that was promised; what is done of it has an entry"
    TICKET = "a pass for one minute and one use; whoever enters with it has an entry"
    SHOWN = "what was shown to somebody; the entry of the answer names it"
    STRANGER = "a try by whoever it was, of no tenant; no log is about it"
    USED = "when or how often something was used, on a row that has its entry"
    OVER = "cleaning away what was over long ago"
    KEYS = "in the key store, another database; whatever the key is for has its entry"
    ERASURE = "one line of an answer to an erasure, which is told as a whole by whoever carries it out"
    INVENTED = "the demo's invented people"
    LOG = "the log itself"


class Through(NamedTuple):
    """The entry is written by another writer, which is called in the same transaction."""

    writer: str


ENTRIES: dict[str, tuple[str, ...] | Through | Why] = {
    # whose house it is
    "tenants.services.add_tenant": ("tenant.created",),
    "tenants.services.add_member": ("membership.added",),
    "tenants.services.invite_owner": ("membership.invited",),
    "tenants.services.change_role": ("membership.role_changed",),
    "tenants.services.remove_member": ("membership.removed",),
    "tenants.invitations.invite": ("staff_invitation.sent",),
    "tenants.invitations.remind": ("staff_invitation.sent",),
    "tenants.invitations.revoke": ("staff_invitation.revoked",),
    "tenants.invitations.mail_sent": ("staff_invitation.mailed",),
    "tenants.invitations.accept": ("staff_invitation.accepted", "membership.added"),
    "tenants.invitations.forget": ("staff_invitation.expired",),
    "tenants.services.issue_api_key": ("api_key.issued",),
    "tenants.services.revoke_api_key": ("api_key.revoked",),
    "tenants.services.end_sessions_of": ("membership.signed_out",),
    "tenants.services.add_person": ("person.added",),
    "tenants.services.new_link": ("link.issued",),
    "tenants.services.revoke_link": ("link.revoked",),
    "tenants.services.open_guest_session": ("guest_session.opened",),
    "tenants.services.end_guest_session": ("guest_session.ended",),
    "tenants.services.forget_guest_sessions": Why.OVER,
    "tenants.services.count_sign_in_failure": Why.STRANGER,
    "tenants.services.forget_sign_in_failures": Why.OVER,
    "tenants.services.forget_links": Why.CALLERS,
    "tenants.services.forget_old_links": Why.ERASURE,
    "tenants.services.forget_kept_promises": Why.OVER,
    "tenants.identity.identify": Why.USED,
    "tenants.jobs.later": Why.PROMISE,
    "tenants.jobs.tenant_task": Why.PROMISE,
    "tenants.keys.port.seal": Why.KEYS,
    "tenants.keys.port.destroy": Why.KEYS,
    "tenants.keys.port.ensure": Why.KEYS,
    "tenants.personal_data.erase_person": Why.ERASURE,
    "tenants.personal_data.erase_links": Why.ERASURE,
    "tenants.personal_data.erase_guest_sessions": Why.ERASURE,
    "tenants.personal_data.erase_staff_invitations": Why.ERASURE,
    "cleac_site.demo.ensure_cast": Why.INVENTED,
    # what people agreed to
    "consent.services.ensure_catalogue": ("notice.published",),
    "consent.services.publish_notice": ("notice.published",),
    "consent.services.serve": Why.SHOWN,
    "consent.services.decide": ("consent.given", "consent.refused", "consent.withdrawn"),
    "consent.services.forget_answers": Why.CALLERS,
    "consent.personal_data.erase_served": Why.ERASURE,
    # meetings and the people in them
    "calls.services.meetings.schedule": ("meeting.scheduled",),
    "calls.services.meetings.cancel": ("meeting.cancelled",),
    "calls.services.meetings.invite_again": ("invitation.sent",),
    "calls.services.meetings.new_invitation_link": Through("tenants.services.new_link"),
    "calls.services.meetings.mail_sent": ("invitation.mailed",),
    "calls.services.meetings.revoke_invitation": ("invitation.revoked",),
    "calls.services.meetings.forget_invitations": Why.ERASURE,
    "calls.services.meetings.expire_invitation": ("invitation.expired",),
    "calls.services.meetings.expire_meeting": ("meeting.expired",),
    "calls.services.sittings.open_call": ("call.opened",),
    "calls.services.sittings.end": ("call.ended",),
    "calls.services.sittings.enter_lobby": ("participant.entered",),
    "calls.services.sittings.ready": ("participant.waiting", "participant.admitted"),
    "calls.services.sittings.step_back": ("participant.stepped_back",),
    "calls.services.sittings.admit": ("participant.admitted",),
    "calls.services.sittings.deny": ("participant.denied",),
    "calls.services.sittings.remove": ("participant.removed",),
    "calls.services.sittings.forgive": ("participant.forgiven",),
    "calls.services.sittings.joined": ("participant.joined",),
    "calls.services.sittings.left": ("participant.lost",),
    "calls.services.sittings.leave": ("participant.left",),
    "calls.services.tickets.issue_ticket": Why.TICKET,
    "calls.services.tickets.use_ticket": Why.TICKET,
    "calls.placement.worker_for": Why.LEASE,
    "calls.placement.register": Why.LEASE,
    "calls.placement.beat": Why.LEASE,
    "calls.placement.renew": Why.LEASE,
    "calls.placement.release": Why.LEASE,
    "calls.placement.retire": Why.LEASE,
    "calls.placement.drain": Why.LEASE,
    "calls.personal_data.erase_meetings": Why.ERASURE,
    "calls.personal_data.erase_invitations": Why.ERASURE,
    "calls.personal_data.erase_tickets": Why.ERASURE,
    # capture, keep, play, forget
    "recordings.services.start": ("recording.requested",),
    "recordings.services.stop": ("recording.stopped",),
    "recordings.services.capturing": ("recording.capturing",),
    "recordings.services.open_epoch": ("epoch.opened",),
    "recordings.services.close_epoch": ("epoch.closed",),
    "recordings.finishing.advance": ("recording.ready",),
    "recordings.finishing.finish": ("recording.failed",),
    "recordings.finishing.claim": Why.PROMISE,
    "recordings.finishing.resume": Why.CALLERS,
    "recordings.finishing.Part.commit": ("playback.ready",),
    "recordings.viewing.view": ("content.opened",),
    "recordings.release.data_key": Why.USED,
    "recordings.forgetting.restrict": ("person.restricted",),
    "recordings.forgetting.lift": ("person.unrestricted",),
    "recordings.forgetting.redact": ("person.restricted", "person.held", "person.redacted"),
    "recordings.forgetting.expire": ("recording.expired", "person.held"),
    "recordings.forgetting.complete": ("person.redacted", "person.held"),
    "recordings.forgetting.conclude": ("recording.purged",),
    "recordings.vault.shred": Why.CALLERS,
    # what the organisation can be held to
    "compliance.log.record": Why.LOG,
    "compliance.log.blank": ("log.blanked",),
    "compliance.proof.prove": ("recording.proved",),
    "compliance.retention.purge": ("person.expired",),
    "compliance.dsr.desk.open_request": ("request.opened", "request.confirmed"),
    "compliance.dsr.desk.take_back": ("request.taken_back",),
    "compliance.dsr.desk.told": ("request.told",),
    "compliance.dsr.desk.carry_out": ("request.ready", "request.held", "request.failed", "request.carried_out", "request.closed"),
    "compliance.dsr.desk.downloaded": ("package.downloaded",),
    "compliance.dsr.desk.sent": ("package.sent",),
    "compliance.dsr.desk.broken_off": ("package.broken_off",),
    "compliance.retention.shorten": ("retention.shortened",),
    "compliance.retention.forget_evidence": ("evidence.expired",),
    "compliance.retention.forget_closed": ("evidence.expired",),
    "recordings.forgetting.forget_rows": Why.CALLERS,
    "calls.services.sittings.forget_call": Why.CALLERS,
    "calls.placement.forget": Why.LEASE,
    "compliance.reports.making.make": ("report.made",),
    "compliance.reports.making.prove": ("store.proved",),
}
KNOWN = {kind for written in ENTRIES.values() if type(written) is tuple for kind in written}


def kinds_of(name: str) -> set[str]:
    written = ENTRIES.get(name)
    return set(written) if type(written) is tuple else set()


@pytest.mark.parametrize("name", sorted(writers()))
def test_whatever_writes_rows_or_entries_is_in_the_table(name: str) -> None:
    assert name in ENTRIES


@pytest.mark.parametrize("name", sorted(ENTRIES))
def test_whatever_is_in_the_table_writes(name: str) -> None:
    assert name in writers()


@pytest.mark.parametrize("name", sorted(set(ENTRIES) & set(writers())))
def test_a_function_writes_the_kinds_that_its_row_names_and_in_its_own_body_no_other(name: str) -> None:
    assert kinds_of(name) <= writers()[name].kinds
    assert own(name).kinds <= kinds_of(name)


def test_every_kind_that_is_recorded_anywhere_is_named_by_a_row_that_reaches_it() -> None:
    recorded = {kind for members in functions().values() for found in members.values() for kind in found.kinds}
    named = {kind for name, found in writers().items() for kind in found.kinds & kinds_of(name)}
    assert recorded == named == KNOWN


def test_every_kind_can_be_read_from_the_source() -> None:
    unread = {f"{module}.{name}": found.unreadable for module, members in functions().items() for name, found in members.items() if found.unreadable}
    assert unread == {}


@pytest.mark.parametrize("name", sorted(name for name, written in ENTRIES.items() if isinstance(written, Why | Through)))
def test_a_row_without_kinds_is_of_a_function_that_records_none(name: str) -> None:
    assert writers()[name].kinds == set()


@pytest.mark.parametrize("name", sorted(name for name, written in ENTRIES.items() if isinstance(written, Through)))
def test_the_writer_that_has_the_entry_is_called_and_has_one(name: str) -> None:
    through = ENTRIES[name]
    assert isinstance(through, Through)
    assert through.writer.rpartition(".")[2] in own(name).calls
    assert kinds_of(through.writer)


@pytest.mark.parametrize("name", sorted(name for name, written in ENTRIES.items() if written is Why.CALLERS))
def test_each_caller_of_a_step_writes_an_entry(name: str) -> None:
    assert callers(name)
    assert [caller for caller in sorted(callers(name)) if not kinds_of(caller)] == []


def test_every_reason_is_used() -> None:
    assert set(Why) == {written for written in ENTRIES.values() if isinstance(written, Why)}
    assert not any(is_private(name) for name in ENTRIES)


@pytest.mark.parametrize("receiver", NO_ROWS)
def test_every_receiver_that_is_no_row_is_still_called(receiver: str) -> None:
    assert any(receiver in line for path in modules() for line in lines(path))


@pytest.mark.parametrize(
    ("call", "writes"),
    [
        ("person.save()", True),
        ("Person.objects.filter(name='').update(name='?')", True),
        ("queries.tickets_of(person).delete()", True),
        ("[].anything().bulk_create(rows)", True),
        ("made.epochs.add(epoch)", True),
        ("seen.add(epoch)", False),
        ("storage.store().delete(name)", False),
        ("queries.tickets_of(person).exists()", False),
        ("update(rows)", False),
    ],
)
def test_what_writes_rows_is_told_from_what_does_not(call: str, writes: bool) -> None:
    expression = ast.parse(call, mode="eval").body
    assert isinstance(expression, ast.Call)
    assert writes_rows(expression) is writes


def test_the_documentation_of_the_log_names_every_kind_and_no_other() -> None:
    text = (ROOT / "docs" / "log.md").read_text()
    assert sorted(re.findall(r"^\| `([a-z_]+\.[a-z_]+)` \|", text, re.MULTILINE)) == sorted(KNOWN)
