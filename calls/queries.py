"""Guarded reads of meetings, the people in them and their sittings. All run inside one tenant's scope and raise without one."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django.db.models import Count, Exists, OuterRef, Q, QuerySet

from consent import queries as asked
from tenants import queries as house
from tenants.errors import Refused
from tenants.models import LinkSecret, Person
from tenants.permissions import STAFF, Actor, may

from .errors import Door
from .models import Call, Invitation, Meeting, Participant, Ticket

EARLY = timedelta(minutes=15)
HOSTLESS = timedelta(seconds=30)  # a host who was removed by mistake is back by then
SEATS = 16
GUEST_SEATS = SEATS - 1  # the host's seat is kept

IN_THE_CALL = (Participant.State.ADMITTED, Participant.State.JOINED)
HOSTING = [role for role in STAFF if may({role}, "calls.host")]
ENTERING = (Participant.State.LOBBY, Participant.State.WAITING)
TURNED_AWAY = (Participant.State.REMOVED, Participant.State.DENIED)


def participant_group(participant_id: UUID | str) -> str:
    """The channel group of one participant's sockets. It carries notes to look again, never data of a room."""
    return f"participant.{participant_id}"


@dataclass(frozen=True)
class Card:
    """One question as the page shows it: the frozen words of its notice, and the person's answer or None."""

    purpose: str
    notice: str
    title: str
    what: str
    why: str
    who_sees: str
    keep_text: str
    answer: bool | None


def meetings_for(actor: Actor, roles: frozenset[str]) -> QuerySet[Meeting]:
    """What the actor may see, newest first: everything for those who see all, else what they host."""
    found: QuerySet[Meeting] = Meeting.objects.select_related("host").order_by("-created_at", "pk")
    if actor.kind != "person" or may(roles, "meetings.see_all"):
        return found
    return found.filter(host=UUID(actor.id))


def meeting_for(actor: Actor, roles: frozenset[str], meeting_id: UUID) -> Meeting:
    """One of `meetings_for`. Raises Refused("not-found", 404): absent and not allowed look alike."""
    found = meetings_for(actor, roles).filter(pk=meeting_id).first()
    if found is None:
        raise Refused("not-found", 404)
    return found


def meeting_attended(person: Person, meeting_id: UUID) -> Meeting:
    """A meeting that the person hosts or was ever invited to. Raises Refused("not-found", 404)."""
    theirs = Q(host=person) | Q(invitations__person=person)
    found: Meeting | None = Meeting.objects.select_related("host", "tenant").filter(theirs, pk=meeting_id).distinct().first()
    if found is None:
        raise Refused("not-found", 404)
    return found


def meetings_with(person: Person) -> QuerySet[Meeting]:
    """Meetings that the person hosts or was ever invited to, newest first."""
    theirs = Meeting.objects.filter(Q(host=person) | Q(invitations__person=person)).values("pk")
    found: QuerySet[Meeting] = Meeting.objects.select_related("host").filter(pk__in=theirs).order_by("-created_at", "pk")
    return found


def people_for(actor: Actor, roles: frozenset[str], searched: str = "") -> QuerySet[Person]:
    """Whom the actor may know of, by name: everybody for who sees all meetings or answers for data protection, else those of the own ones.

    `searched` is looked for in names and addresses. Each has `meetings`, how many of those that the actor knows of it was invited to or hosts.
    """
    found: QuerySet[Person] = Person.objects.filter(erased_at=None)
    invited = hosting = Q()
    if not sees_everybody(actor, roles):
        hosted = Meeting.objects.filter(host=UUID(actor.id)).values("pk")
        invited, hosting = Q(invitations__meeting__in=hosted), Q(hosted_meetings__in=hosted)
        found = found.filter(invited | Q(pk=UUID(actor.id)))
    if searched:
        found = found.filter(Q(name__icontains=searched) | Q(email__icontains=searched))
    counted = Count("invitations__meeting", filter=invited, distinct=True) + Count("hosted_meetings", filter=hosting, distinct=True)
    return found.annotate(meetings=counted).select_related("membership").order_by("name", "pk")


def sees_everybody(actor: Actor, roles: frozenset[str]) -> bool:
    """May the actor know of people, and of what they answered, also in meetings that somebody else hosts?"""
    return actor.kind != "person" or may(roles, "meetings.see_all") or may(roles, "requests.see")


def sittings_hosted_by(person: Person) -> QuerySet[Any]:
    """The ids of all sittings of meetings that the person hosts."""
    found: QuerySet[Any] = Call.objects.filter(meeting__host=person).values_list("pk", flat=True)
    return found


def invitation_for(meeting: Meeting, invitation_id: UUID) -> Invitation:
    """Raises Refused("not-found", 404)."""
    found = invitations(meeting).filter(pk=invitation_id).first()
    if found is None:
        raise Refused("not-found", 404)
    return found


def invitations(meeting: Meeting) -> QuerySet[Invitation]:
    """Everybody invited, by the order of their invitation."""
    found: QuerySet[Invitation] = Invitation.objects.select_related("person").filter(meeting=meeting).order_by("created_at", "pk")
    return found


def invitation(invitation_id: UUID | str) -> Invitation | None:
    """With its meeting, host and person, or None."""
    found = Invitation.objects.select_related("meeting__host", "meeting__tenant", "person").filter(pk=invitation_id)
    invited: Invitation | None = found.first()
    return invited


def unused_invitations(*, ended_before: datetime) -> QuerySet[Invitation]:
    """Invitations with which nobody ever came, and whose end was before then: revoked, meeting over, or every link of it expired."""
    return _over(ended_before).filter(~Exists(_came()))


def used_invitations(*, ended_before: datetime) -> QuerySet[Invitation]:
    """Invitations with which somebody came, whose end was before then, as was that of every sitting that the person was in."""
    return _over(ended_before).filter(Exists(_came()), ~Exists(_came().filter(_since(ended_before))))


def _over(before: datetime) -> QuerySet[Invitation]:
    alive = house.links_alive_at(before).filter(subject_id=OuterRef("pk"))
    ended = Q(revoked_at__lt=before) | Q(meeting__ended_at__lt=before) | ~Exists(alive)
    old = Invitation.objects.select_related("meeting__host", "person").filter(ended, created_at__lt=before)
    found: QuerySet[Invitation] = old.order_by("created_at", "pk")
    return found


def _came() -> QuerySet[Participant]:
    """Whoever came with the invitation that is asked about."""
    found: QuerySet[Participant] = Participant.objects.filter(call__meeting=OuterRef("meeting"), person=OuterRef("person"))
    return found


def _since(before: datetime) -> Q:
    """Of a participant: the sitting is on, or ended then or later."""
    return Q(call__state=Call.State.OPEN) | Q(call__ended_at__gte=before)


def invited_since(person: Person, since: datetime, at: datetime) -> QuerySet[Invitation]:
    """The person's invitations to what is not over, that open something at this time by a link which was made after `since`."""
    links = house.links_alive_at(at).filter(subject_id=OuterRef("pk"), created_at__gt=since, revoked_at=None)
    over = (Meeting.State.ENDED, Meeting.State.CANCELLED)
    found: QuerySet[Invitation] = Invitation.objects.filter(Exists(links), person=person, revoked_at=None).exclude(meeting__state__in=over)
    return found


def guests_long_gone(*, before: datetime, without: Iterable[UUID] = ()) -> QuerySet[Person]:
    """People who are no members and were offered no role, known before then, with no sitting and no meeting of their own since, and no invitation.

    `without`: invitations that are not counted.
    """
    own = OuterRef("pk")
    invited = Invitation.objects.filter(person=own).exclude(pk__in=list(without))
    met = Participant.objects.filter(_since(before), person=own)
    since = Q(state=Meeting.State.OPEN) | Q(created_at__gte=before) | Q(starts_at__gte=before) | Q(ended_at__gte=before)
    hosting = Meeting.objects.filter(since, host=own)
    found: QuerySet[Person] = Person.objects.filter(erased_at=None, membership=None, staff_invitations=None, created_at__lt=before)
    return found.exclude(Exists(invited)).exclude(Exists(met)).exclude(Exists(hosting)).order_by("created_at", "pk")


def open_call(meeting: Meeting) -> Call | None:
    """The sitting that is on, or None."""
    found: Call | None = Call.objects.filter(meeting=meeting, state=Call.State.OPEN).first()
    return found


def meetings_never_held(*, over_before: datetime) -> QuerySet[Meeting]:
    """Meetings of which neither a sitting nor an invitation is left, and that were over before then.

    Over is one that was called off or has ended, and a planned one from its start on; without a date from the day on which it was planned.
    """
    ended = Q(state__in=(Meeting.State.ENDED, Meeting.State.CANCELLED), ended_at__lt=over_before)
    undated = Q(starts_at=None, created_at__lt=over_before)
    planned = Q(state=Meeting.State.SCHEDULED) & (Q(starts_at__lt=over_before) | undated)
    found: QuerySet[Meeting] = Meeting.objects.filter(ended | planned, calls=None, invitations=None).order_by("created_at", "pk")
    return found


def sittings(meeting: Meeting) -> QuerySet[Call]:
    """Every sitting of a meeting, oldest first."""
    found: QuerySet[Call] = Call.objects.filter(meeting=meeting).order_by("started_at", "pk")
    return found


def open_calls_of(person: Person) -> QuerySet[Call]:
    """Sittings that are on and that the person ever entered."""
    found: QuerySet[Call] = Call.objects.filter(state=Call.State.OPEN, participants__person=person).distinct().order_by("pk")
    return found


def sittings_by_id(call_ids: Iterable[UUID]) -> dict[UUID, Call]:
    """These sittings, each with its meeting; what is missing does not exist."""
    return {call.pk: call for call in Call.objects.select_related("meeting").filter(pk__in=list(call_ids))}


def participant_in(call: Call, participant_id: str) -> Participant:
    """Somebody of this call. Raises Refused("unknown-participant", 404)."""
    try:
        wanted = UUID(participant_id)
    except ValueError:
        raise Refused("unknown-participant", 404) from None
    found: Participant | None = participants(call).filter(pk=wanted).first()
    if found is None:
        raise Refused("unknown-participant", 404)
    return found


def ended_calls(call_ids: Iterable[UUID | str], before: datetime) -> QuerySet[Call]:
    """Those of these sittings that ended before then, oldest first."""
    ended = Call.objects.filter(pk__in=list(call_ids), state=Call.State.ENDED, ended_at__lt=before)
    found: QuerySet[Call] = ended.select_related("meeting").order_by("ended_at", "pk")
    return found


def sitting(call_id: UUID) -> QuerySet[Call]:
    """This sitting, if it has ended."""
    found: QuerySet[Call] = Call.objects.filter(pk=call_id, state=Call.State.ENDED)
    return found


def meetings_without_trace(meeting_id: UUID) -> QuerySet[Meeting]:
    """This meeting, if it is over, and neither a sitting nor an invitation of it is left."""
    over = Meeting.objects.filter(pk=meeting_id, state__in=(Meeting.State.ENDED, Meeting.State.CANCELLED))
    found: QuerySet[Meeting] = over.filter(calls=None, invitations=None)
    return found


def participants(call: Call) -> QuerySet[Participant]:
    """Everybody who ever entered the lobby of this call."""
    found: QuerySet[Participant] = Participant.objects.select_related("person", "call__meeting__host").filter(call=call).order_by("entered_at")
    return found


def entered(call_id: UUID) -> QuerySet[Participant]:
    """As `participants`, with the person and nothing else: what the worker reads of every call again and again."""
    found: QuerySet[Participant] = Participant.objects.select_related("person").filter(call=call_id).order_by("entered_at")
    return found


def call(call_id: UUID) -> Call | None:
    """One sitting as it is now, or None."""
    found: Call | None = Call.objects.filter(pk=call_id).first()
    return found


def let_in(call_id: UUID) -> QuerySet[Participant]:
    """Everybody who may be in the room now, with the person."""
    found: QuerySet[Participant] = Participant.objects.select_related("person").filter(call=call_id, state__in=IN_THE_CALL)
    return found


def calls_with_people_inside() -> QuerySet[Call]:
    """Sittings that are on and in which somebody is written down as in the room."""
    found: QuerySet[Call] = Call.objects.filter(state=Call.State.OPEN, participants__state=Participant.State.JOINED).distinct().order_by("pk")
    return found


def calls_without_host(away_since: datetime) -> QuerySet[Call]:
    """Sittings that are on, whose host may host no more and has not been in them as host since then."""
    able = house.active_members(HOSTING).filter(person=OuterRef("meeting__host"))
    inside = Q(state=Participant.State.JOINED) | Q(left_at__gt=away_since) | Q(left_at=None, entered_at__gt=away_since)
    hosting = Participant.objects.filter(inside, call=OuterRef("pk"), role=Participant.Role.HOST)
    found: QuerySet[Call] = Call.objects.select_related("meeting").filter(state=Call.State.OPEN, started_at__lte=away_since)
    return found.exclude(Exists(able)).exclude(Exists(hosting)).order_by("pk")


def ends_without_host(call: Call) -> datetime | None:
    """From when on `calls_without_host` finds this open sitting, `HOSTLESS` after its host went; None while somebody may host it."""
    if house.active_members(HOSTING).filter(person=call.meeting.host_id).exists():
        return None
    hosts = list(Participant.objects.filter(call=call, role=Participant.Role.HOST))
    if any(host.state == Participant.State.JOINED for host in hosts):
        return None
    away_since: datetime = max([call.started_at, *(host.left_at or host.entered_at for host in hosts)])
    return away_since + HOSTLESS


def how_ended(call: Call) -> str:
    """What open pages of a call that is over are told: "no-host" where nobody may host it any more, else "ended"."""
    return "ended" if house.active_members(HOSTING).filter(person=call.meeting.host_id).exists() else "no-host"


def participant(participant_id: UUID) -> Participant | None:
    """One participant as the database has it now, with call, meeting and person."""
    found = Participant.objects.select_related("person", "call__meeting__host", "call__meeting__tenant").filter(pk=participant_id)
    seen: Participant | None = found.first()
    return seen


def participation_of(person: Person, sitting: Call | None) -> Participant | None:
    """The person's own place in a call, or None."""
    return participants(sitting).filter(person=person).first() if sitting else None


def open_participations(person_id: UUID) -> QuerySet[Participant]:
    """Everything the person has open: their places in calls that are on."""
    found: QuerySet[Participant] = Participant.objects.filter(person=person_id, call__state=Call.State.OPEN)
    return found


def waiting(call: Call) -> list[Participant]:
    """Who waits to be admitted, first come first."""
    return list(participants(call).filter(state=Participant.State.WAITING).order_by("ready_at", "pk"))


def position(one: Participant) -> int | None:
    """Place in the queue, counted from 1; None for somebody who is not waiting."""
    if one.state != Participant.State.WAITING:
        return None
    ahead = Q(ready_at__lt=one.ready_at) | Q(ready_at=one.ready_at, pk__lt=one.pk)
    return 1 + int(Participant.objects.filter(ahead, call=one.call_id, state=Participant.State.WAITING).count())


def guests_inside(call: Call) -> int:
    """How many guest seats are taken. Whoever lost the line holds none."""
    seated = Q(state=Participant.State.JOINED) | Q(state=Participant.State.ADMITTED, left_at=None)
    return int(Participant.objects.filter(seated, call=call, role=Participant.Role.GUEST).count())


def door(meeting: Meeting, person: Person, link: LinkSecret | None, at: datetime) -> Door:
    """Whether the person may enter the meeting now. `link` is what a guest came by; staff have none."""
    if link is not None and link.revoked_at is not None:
        return Door.REVOKED
    if meeting.host_id != person.pk and not invitations(meeting).filter(person=person, revoked_at=None).exists():
        return Door.REVOKED
    if meeting.state == Meeting.State.CANCELLED:
        return Door.CANCELLED
    if meeting.state == Meeting.State.ENDED:
        return Door.ENDED
    if link is not None and link.expires_at <= at:
        return Door.EXPIRED
    early = meeting.starts_at is not None and at < meeting.starts_at - EARLY
    if early and meeting.state == Meeting.State.SCHEDULED and meeting.host_id != person.pk:
        return Door.TOO_EARLY
    return _inside(meeting, person)


def _inside(meeting: Meeting, person: Person) -> Door:
    """What the sitting that is on says about the person."""
    call = open_call(meeting)
    if call is None:
        return Door.OPEN
    own = participation_of(person, call)
    if own is not None and own.state in TURNED_AWAY:
        return Door.REMOVED if own.state == Participant.State.REMOVED else Door.DENIED
    has_seat = meeting.host_id == person.pk or (own is not None and own.state in IN_THE_CALL)
    if not has_seat and guests_inside(call) >= GUEST_SEATS:
        return Door.FULL
    return Door.OPEN


def cards(person: Person, meeting: Meeting, call: Call | None) -> list[Card]:
    """The questions of a meeting in the order of the catalogue, with what the person answered in this sitting."""
    answers = asked.answers(person, call.pk) if call else {}
    made = []
    for notice in asked.notices(meeting.purposes):
        given = answers.get(notice.purpose.key)
        words = (notice.title, notice.what, notice.why, notice.who_sees, notice.keep_text)
        made.append(Card(notice.purpose.key, str(notice.pk), *words, given.granted if given else None))
    return made


def people_counts(meetings: QuerySet[Meeting]) -> QuerySet[Meeting]:
    """The same meetings, each with `invited`, the number of people with a standing invitation."""
    return meetings.annotate(invited=Count("invitations", filter=Q(invitations__revoked_at=None)))


def meetings_hosted_by(person: Person) -> QuerySet[Meeting]:
    found: QuerySet[Meeting] = Meeting.objects.filter(host=person).order_by("created_at")
    return found


def meetings_of(person: Person) -> QuerySet[Invitation]:
    """Every invitation the person ever got."""
    found: QuerySet[Invitation] = Invitation.objects.select_related("meeting").filter(person=person).order_by("created_at")
    return found


def participations_of(person: Person) -> QuerySet[Participant]:
    """Every call the person ever entered."""
    found: QuerySet[Participant] = Participant.objects.select_related("call__meeting").filter(person=person).order_by("entered_at")
    return found


def tickets_of(person: Person) -> QuerySet[Ticket]:
    found: QuerySet[Ticket] = Ticket.objects.filter(participant__person=person)
    return found
