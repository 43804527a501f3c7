"""What happens in a sitting: people enter, wait, are let in, turned away, lost and found.

A participant moves along `MOVES` and no other way; each refused step names itself. Rows are locked in one order, meeting, call,
participant, so that two steps cannot pass each other. Whoever has something open is told to look again after the commit.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable
from datetime import datetime
from functools import partial
from uuid import UUID

from asgiref.sync import async_to_sync
from channels.layers import get_channel_layer
from django.db import transaction
from redis.exceptions import RedisError

from compliance import log
from tenants import scope
from tenants.errors import Refused
from tenants.models import LinkSecret, Person
from tenants.permissions import Actor

from .. import mailbox, placement, queries
from ..errors import Door
from ..models import Call, Meeting, Participant
from ..queries import GUEST_SEATS, IN_THE_CALL, TURNED_AWAY

DOOR_STATUS = {Door.ENDED: 410, Door.CANCELLED: 410, Door.EXPIRED: 410, Door.FULL: 409}

State = Participant.State

# step -> state before -> state after
MOVES: dict[str, dict[State, State]] = {
    "enter": {
        State.LOBBY: State.LOBBY,
        State.WAITING: State.WAITING,
        State.ADMITTED: State.ADMITTED,
        State.JOINED: State.JOINED,
        State.LEFT: State.LOBBY,
    },
    "ready": {State.LOBBY: State.WAITING},
    "step back": {State.WAITING: State.LOBBY},
    "pass": {State.LOBBY: State.ADMITTED},
    "admit": {State.WAITING: State.ADMITTED},
    "deny": {State.LOBBY: State.DENIED, State.WAITING: State.DENIED},
    "joined": {State.ADMITTED: State.JOINED, State.JOINED: State.JOINED},
    "lost": {State.JOINED: State.ADMITTED},
    "leave": {State.LOBBY: State.LEFT, State.WAITING: State.LEFT, State.ADMITTED: State.LEFT, State.JOINED: State.LEFT},
    "remove": {
        State.LOBBY: State.REMOVED,
        State.WAITING: State.REMOVED,
        State.ADMITTED: State.REMOVED,
        State.JOINED: State.REMOVED,
        State.LEFT: State.REMOVED,
    },
    "forgive": {State.REMOVED: State.LEFT, State.DENIED: State.LEFT},
}
REFUSALS = {"ready": "not-in-lobby", "pass": "not-in-lobby", "admit": "not-waiting", "deny": "not-waiting", "joined": "not-admitted"}

logger = logging.getLogger(__name__)


@transaction.atomic
def open_call(*, meeting: Meeting, by: Actor, at: datetime) -> Call:
    """The sitting that is on, opened when there is none; people can enter from now on. Entry: `call.opened`.

    After the end this opens a further sitting, in which everybody is asked anew. Raises Refused("meeting-cancelled", 409).
    """
    meeting = locked_meeting(meeting=meeting)
    already = queries.open_call(meeting)
    if already is not None:
        return already
    if meeting.state == Meeting.State.CANCELLED:
        raise Refused("meeting-cancelled", 409)
    meeting.state, meeting.ended_at = Meeting.State.OPEN, None
    meeting.save(update_fields=["state", "ended_at"])
    call: Call = Call.objects.create(tenant=scope.current(), meeting=meeting, started_at=at)
    log.record("call.opened", on=call, by=by, at=at, meeting=meeting.pk)
    return call


@transaction.atomic
def enter_lobby(*, meeting: Meeting, person: Person, host: bool = False, link: LinkSecret | None = None, by: Actor, at: datetime) -> Participant:
    """The person's place in the sitting that is on; the first one to come opens it. Entry on first entry and return: `participant.entered`.

    `host` is said by whoever checked the ability; it counts only for the meeting's own host. Raises Refused with a code of `Door`.
    """
    meeting = locked_meeting(meeting=meeting)
    door = queries.door(meeting, person, link, at)
    if door is not Door.OPEN:
        raise Refused(door, DOOR_STATUS.get(door, 403))
    call = open_call(meeting=meeting, by=by, at=at)
    role = Participant.Role.HOST if host and meeting.host_id == person.pk else Participant.Role.GUEST
    participant, is_new = Participant.objects.get_or_create(
        call=call, person=person, defaults={"tenant": scope.current(), "role": role, "entered_at": at}
    )
    participant = locked(participant=participant)
    state = _after("enter", participant)
    if participant.role != role:  # a host who lost the ability, or got it, since
        participant.role, participant.epoch = role, participant.epoch + 1
        state = State.LOBBY
    elif not is_new and participant.state == state:
        return participant
    participant.state = state
    participant.save(update_fields=["state", "role", "epoch"])
    _tell_everybody(call)
    log.record("participant.entered", on=participant, by=by, at=at, call=call.pk, person=person.pk)
    return participant


@transaction.atomic
def ready(*, participant: Participant, by: Actor, at: datetime) -> Participant:
    """The person has answered and checked the devices: a guest waits, a host and whoever was in this call before go on.

    Entries: `participant.waiting` or `participant.admitted`. Raises Refused("full", 409), Refused("not-in-lobby", 409).
    """
    participant = locked(participant=participant)
    if participant.state in IN_THE_CALL or participant.state == State.WAITING:
        return participant
    if participant.role == Participant.Role.HOST or participant.joined_at is not None:
        return _let_in(participant, "pass", by, at)
    participant.state, participant.ready_at = _after("ready", participant), participant.ready_at or at
    participant.save(update_fields=["state", "ready_at"])
    _tell_everybody(participant.call)
    log.record("participant.waiting", on=participant, by=by, at=at, call=participant.call_id)
    return participant


@transaction.atomic
def step_back(*, participant: Participant, by: Actor, at: datetime) -> Participant:
    """The waiting page was closed. Safe to run twice. Entry: `participant.stepped_back`."""
    participant = locked(participant=participant)
    if participant.state != State.WAITING:
        return participant
    participant.state = _after("step back", participant)
    participant.save(update_fields=["state"])
    _tell_everybody(participant.call)
    log.record("participant.stepped_back", on=participant, by=by, at=at, call=participant.call_id, person=participant.person_id)
    return participant


@transaction.atomic
def admit(*, participant: Participant, by: Actor, at: datetime) -> Participant:
    """Let somebody in who waits. Entry: `participant.admitted`. Raises Refused("full", 409), Refused("not-waiting", 409)."""
    participant = locked(participant=participant)
    return participant if participant.state in IN_THE_CALL else _let_in(participant, "admit", by, at)


@transaction.atomic
def deny(*, participant: Participant, by: Actor, at: datetime) -> Participant:
    """Do not let somebody in; only a new invitation opens the door again. Entry: `participant.denied`. Raises Refused("not-waiting", 409)."""
    return _turn_away(participant, "deny", by, at)


@transaction.atomic
def remove(*, participant: Participant, by: Actor, at: datetime) -> Participant:
    """Put somebody out. Every ticket and pipe from before is worth nothing. Entry: `participant.removed`.

    Raises Refused("not-present", 409); Refused("removes-the-host", 409) for the host of the meeting.
    """
    if participant.role == Participant.Role.HOST:
        raise Refused("removes-the-host", 409)
    return _turn_away(participant, "remove", by, at)


@transaction.atomic
def joined(*, participant: Participant, by: Actor, at: datetime) -> Participant:
    """The participant's media reached the room. Safe to run twice. Entry on the first time and after a loss: `participant.joined`.

    Raises Refused("not-admitted", 409).
    """
    participant = locked(participant=participant)
    state = _after("joined", participant)
    if participant.state == state:
        return participant
    participant.state, participant.joined_at, participant.left_at = state, participant.joined_at or at, None
    participant.save(update_fields=["state", "joined_at", "left_at"])
    log.record("participant.joined", on=participant, by=by, at=at, call=participant.call_id, person=participant.person_id)
    return participant


@transaction.atomic
def left(*, participant: Participant, by: Actor, at: datetime) -> Participant:
    """The line was lost; the participant stays admitted and may come back. Safe to run twice. Entry: `participant.lost`."""
    participant = locked(participant=participant)
    if participant.state != State.JOINED:
        return participant
    participant.state, participant.left_at = _after("lost", participant), at
    participant.save(update_fields=["state", "left_at"])
    log.record("participant.lost", on=participant, by=by, at=at, call=participant.call_id, person=participant.person_id)
    return participant


@transaction.atomic
def leave(*, participant: Participant, by: Actor, at: datetime) -> Participant:
    """The participant goes, and may come back through the lobby. Safe to run twice. Entry: `participant.left`.

    Raises Refused("not-present", 409) for somebody who was turned away.
    """
    participant = locked(participant=participant)
    if participant.state == State.LEFT:
        return participant
    participant.state, participant.left_at = _after("leave", participant), at
    participant.save(update_fields=["state", "left_at"])
    _tell_everybody(participant.call)
    log.record("participant.left", on=participant, by=by, at=at, call=participant.call_id, person=participant.person_id)
    return participant


@transaction.atomic
def leave_unseen(*, call: Call, seen: Collection[UUID], by: Actor, at: datetime) -> list[Participant]:
    """Whoever is written down as in the room and was not seen there goes, as by `leave`; returns them. Safe to run twice.

    For the time after a worker died without a word: `seen` are the participants whose line the call's worker has had since.
    """
    call = Call.objects.select_for_update(no_key=True).get(pk=call.pk)
    if call.state != Call.State.OPEN:
        return []
    gone = queries.participants(call).filter(state=State.JOINED).exclude(pk__in=list(seen))
    return [leave(participant=participant, by=by, at=at) for participant in gone]


@transaction.atomic
def end(*, call: Call, by: Actor, at: datetime) -> Call:
    """End the sitting and with it the meeting. Safe to run twice. Entry: `call.ended`."""
    meeting = locked_meeting(meeting=call.meeting)
    if not Call.objects.filter(pk=call.pk, state=Call.State.OPEN).update(state=Call.State.ENDED, ended_at=at):
        return call
    meeting.state, meeting.ended_at = Meeting.State.ENDED, at
    meeting.save(update_fields=["state", "ended_at"])
    Participant.objects.filter(call=call, state=State.JOINED).update(left_at=at)
    _tell_everybody(call)
    call.refresh_from_db()
    log.record("call.ended", on=call, by=by, at=at, meeting=meeting.pk)
    return call


@transaction.atomic
def end_without_host(*, call: Call, away_since: datetime, by: Actor, at: datetime) -> bool:
    """End a sitting that nobody may host any more, as by `end`; whether it was this call's doing. Safe to run twice.

    Its host was removed, has another role or no account, and has been away since `away_since`: nobody could admit, record or end.
    """
    locked_meeting(meeting=call.meeting)
    if not queries.calls_without_host(away_since).filter(pk=call.pk).exists():
        return False
    end(call=call, by=by, at=at)
    return True


@transaction.atomic
def forgive(*, meeting: Meeting, person: Person, by: Actor, at: datetime) -> None:
    """Open the lobby again for somebody who was turned away from the sitting that is on, with a new epoch. Entry: `participant.forgiven`."""
    own = queries.participation_of(person, queries.open_call(meeting))
    if own is None or own.state not in TURNED_AWAY:
        return
    own = locked(participant=own)
    own.state, own.epoch, own.joined_at, own.ready_at = _after("forgive", own), own.epoch + 1, None, None
    own.save(update_fields=["state", "epoch", "joined_at", "ready_at"])
    log.record("participant.forgiven", on=own, by=by, at=at, call=own.call_id, person=person.pk)


@transaction.atomic
def forget_call(*, call: Call) -> None:
    """Delete a sitting that ended, with who was in it and when; its meeting too, when that was the last of it. Safe to run twice.

    For who has found that the retention of evidence is over, in that transaction, and has let go of everything that names the call.
    """
    locked_meeting(meeting=call.meeting)
    placement.forget(call.pk)
    queries.sitting(call.pk).delete()
    queries.meetings_without_trace(call.meeting_id).delete()


def wake_pages(*, participant_ids: Iterable[UUID]) -> None:
    """Once this transaction is committed, ask these participants' sockets to look again. A lost note costs two seconds."""
    groups = [queries.participant_group(participant_id) for participant_id in participant_ids]
    if groups:
        transaction.on_commit(partial(_send_notes, groups))


def _send_notes(groups: list[str]) -> None:
    try:
        async_to_sync(_send_each)(groups)
    except (RedisError, OSError):
        logger.warning("no channel layer: pages look again by themselves")


async def _send_each(groups: list[str]) -> None:
    layer = get_channel_layer()
    for group in groups:
        await layer.group_send(group, {"type": "look.again"})


def _tell_everybody(call: Call) -> None:
    """The worker of a call and every socket of it look again."""
    mailbox.look_again(call.pk)
    present = queries.participants(call).exclude(state__in=(State.LEFT,)).values_list("pk", flat=True)
    wake_pages(participant_ids=list(present))


def locked_meeting(*, meeting: Meeting) -> Meeting:
    """The meeting as it is now, locked until the commit."""
    locked: Meeting = Meeting.objects.select_for_update(no_key=True).get(pk=meeting.pk)
    return locked


def locked(*, participant: Participant) -> Participant:
    """The participant as it is now, locked until the commit; its call is locked first, so that steps of one call follow each other.

    Raises Refused("ended", 410) where one of them has been deleted meanwhile.
    """
    try:
        call = Call.objects.select_for_update(no_key=True).get(pk=participant.call_id)
        locked: Participant = Participant.objects.select_for_update(no_key=True).get(pk=participant.pk)
    except (Call.DoesNotExist, Participant.DoesNotExist):
        raise Refused("ended", 410) from None
    locked.call = call
    return locked


def _after(step: str, participant: Participant) -> State:
    """The state after a step. Raises Refused for a step that is not allowed from here, and for any step in a call that is over."""
    if participant.call.state != Call.State.OPEN:
        raise Refused("ended", 410)
    after = MOVES[step].get(State(participant.state))
    if after is None:
        raise Refused(REFUSALS.get(step, "not-present"), 409)
    return after


def _let_in(participant: Participant, step: str, by: Actor, at: datetime) -> Participant:
    state = _after(step, participant)
    if participant.role == Participant.Role.GUEST and queries.guests_inside(participant.call) >= GUEST_SEATS:
        raise Refused("full", 409)
    participant.state = state
    participant.save(update_fields=["state"])
    _tell_everybody(participant.call)
    log.record("participant.admitted", on=participant, by=by, at=at, call=participant.call_id, person=participant.person_id)
    return participant


def _turn_away(participant: Participant, step: str, by: Actor, at: datetime) -> Participant:
    participant = locked(participant=participant)
    after = _after(step, participant)
    participant.state, participant.epoch, participant.left_at = after, participant.epoch + 1, at
    participant.save(update_fields=["state", "epoch", "left_at"])
    _tell_everybody(participant.call)
    kind = "participant.denied" if step == "deny" else "participant.removed"
    log.record(kind, on=participant, by=by, at=at, call=participant.call_id, person=participant.person_id)
    return participant
