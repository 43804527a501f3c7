"""What a host plans: meetings, invitations, and the personal links that go with them."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta

from django.conf import settings
from django.db import transaction

from compliance import holds, log
from consent import queries as catalogue
from tenants import jobs, scope
from tenants import queries as house_queries
from tenants import services as house
from tenants.errors import Refused
from tenants.models import LinkSecret, Person
from tenants.permissions import Actor

from .. import queries
from ..models import Invitation, Meeting
from ..queries import TURNED_AWAY
from .sittings import forgive, locked, locked_meeting, remove

MAIL = "calls.send_invitation"  # the job
LINK_LIFE = timedelta(days=30)
FURTHEST_START = timedelta(days=2 * 365)
INVITED_AT_MOST = 200


@transaction.atomic
def schedule(
    *, title: str, why: str = "", host: Person, purposes: Iterable[str] = (), starts_at: datetime | None = None, by: Actor, at: datetime
) -> Meeting:
    """Plan a meeting. Entry: `meeting.scheduled`.

    Raises Refused: "title-missing", "title-too-long", "why-too-long", "unknown-purpose", "starts-in-the-past" (more than a day
    ago) and "starts-too-late" (more than two years ahead).
    """
    title, why = " ".join(title.split()), why.strip()
    if not title:
        raise Refused("title-missing")
    if len(title) > 120:
        raise Refused("title-too-long", limit=120)
    if len(why) > 1000:
        raise Refused("why-too-long", limit=1000)
    asked = list(dict.fromkeys(purposes))
    known = [notice.purpose.key for notice in catalogue.notices(asked)]
    if len(known) < len(asked):
        raise Refused("unknown-purpose")
    if starts_at is not None and starts_at < at - timedelta(days=1):
        raise Refused("starts-in-the-past")
    if starts_at is not None and starts_at > at + FURTHEST_START:
        raise Refused("starts-too-late")
    meeting: Meeting = Meeting.objects.create(
        tenant=scope.current(), title=title, why=why, host=host, purposes=known, starts_at=starts_at, created_at=at
    )
    log.record("meeting.scheduled", on=meeting, by=by, at=at, host=host.pk, purposes=known)
    return meeting


@transaction.atomic
def invite(*, meeting: Meeting, name: str, email: str = "", by: Actor, at: datetime) -> tuple[Invitation, str]:
    """Invite somebody; returns the invitation and the link, as `invite_again`. Entries: `person.added` and those of `invite_again`.

    Raises Refused: "name-missing", "name-too-long", and what `invite_again` raises.
    """
    meeting = locked_meeting(meeting=meeting)  # before the first entry: the log's head is always the last lock
    name = " ".join(name.split())
    if not name:
        raise Refused("name-missing")
    if len(name) > 120:
        raise Refused("name-too-long", limit=120)
    person = house.add_person(name=name, email=email, by=by, at=at)
    return invite_again(meeting=meeting, person=person, by=by, at=at)


@transaction.atomic
def invite_again(*, meeting: Meeting, person: Person, by: Actor, at: datetime) -> tuple[Invitation, str]:
    """Invite somebody whom the tenant knows; returns the invitation, and a personal link to show once, for who has no address.

    Whoever holds a link answers in the person's name, and sees what is kept of the person in every meeting. So to somebody with an address a
    link goes by mail alone, and whoever invites never sees it: then the second value is empty. The mail's link is made when it is sent, because
    a secret is kept nowhere. It also lets in again whoever was removed or not admitted. Entries: `link.issued` for a link to show, `invitation.sent`.

    Raises Refused: "meeting-over" 409, "invites-the-host", "too-many-invitations" 409.
    """
    meeting = locked_meeting(meeting=meeting)
    if meeting.state in (Meeting.State.ENDED, Meeting.State.CANCELLED):
        raise Refused("meeting-over", 409)
    if person.pk == meeting.host_id:
        raise Refused("invites-the-host")
    invitation = _invitation(meeting, person, at)
    forgive(meeting=meeting, person=person, by=by, at=at)
    url = ""
    if person.email:
        jobs.later(MAIL, invitation_id=invitation.pk)
    else:
        url = new_invitation_link(invitation=invitation, by=by, at=at)
    log.record("invitation.sent", on=invitation, by=by, at=at, meeting=meeting.pk, person=person.pk, mail=bool(person.email))
    return invitation, url


def new_invitation_link(*, invitation: Invitation, by: Actor, at: datetime) -> str:
    """One more personal link for an invitation, as an address. Entry: `link.issued`."""
    starts_at = invitation.meeting.starts_at
    expires_at = max(at, starts_at or at) + LINK_LIFE
    link, secret = house.new_link(
        person=invitation.person, kind=LinkSecret.Kind.INVITATION, subject_id=invitation.pk, expires_at=expires_at, by=by, at=at
    )
    Invitation.objects.filter(pk=invitation.pk).update(link=link.pk)
    return f"{settings.CLEAC.public_url.rstrip('/')}/j#{secret}"


def is_mail_promised(*, invitation: Invitation) -> bool:
    """Is a mail of this invitation still to be sent? False once it was, and once so many tries failed that it was given up."""
    return jobs.is_promised(MAIL, invitation_id=invitation.pk)


@transaction.atomic
def mail_sent(*, invitation: Invitation, by: Actor, at: datetime) -> None:
    """The invitation's mail was handed to the mail server. Entry: `invitation.mailed`."""
    Invitation.objects.filter(pk=invitation.pk).update(sent_at=at)
    log.record("invitation.mailed", on=invitation, by=by, at=at, person=invitation.person_id)


@transaction.atomic
def revoke_invitation(*, invitation: Invitation, stolen: bool = False, by: Actor, at: datetime) -> None:
    """Take an invitation back: its links close, its holder is removed from the call that is on. Entry: `invitation.revoked`.

    Safe to run twice. `stolen` also takes "my data" from whoever holds a link of it.
    """
    meeting = locked_meeting(meeting=invitation.meeting)
    call = queries.open_call(meeting)
    own = queries.participation_of(invitation.person, call)
    own = locked(participant=own) if own else None
    links = _locked_links(invitation)
    is_news = Invitation.objects.filter(pk=invitation.pk, revoked_at=None).update(revoked_at=at)
    for link in links:
        house.revoke_link(link=link, stolen=stolen, by=by, at=at)
    if is_news and own is not None and own.state not in TURNED_AWAY:
        remove(participant=own, by=by, at=at)
    if is_news:
        log.record("invitation.revoked", on=invitation, by=by, at=at, person=invitation.person_id, stolen=stolen)


@transaction.atomic
def cancel(*, meeting: Meeting, by: Actor, at: datetime) -> Meeting:
    """Call a planned meeting off. Entry: `meeting.cancelled`. Raises Refused("meeting-not-scheduled", 409)."""
    meeting = locked_meeting(meeting=meeting)
    if meeting.state != Meeting.State.SCHEDULED:
        raise Refused("meeting-not-scheduled", 409)
    meeting.state, meeting.ended_at = Meeting.State.CANCELLED, at
    meeting.save(update_fields=["state", "ended_at"])
    log.record("meeting.cancelled", on=meeting, by=by, at=at)
    return meeting


def _invitation(meeting: Meeting, person: Person, at: datetime) -> Invitation:
    """The person's invitation to this meeting, made or opened again. Raises Refused("too-many-invitations", 409)."""
    known = queries.invitations(meeting).filter(person=person).first()
    if known is None:
        if queries.invitations(meeting).count() >= INVITED_AT_MOST:
            raise Refused("too-many-invitations", 409, limit=INVITED_AT_MOST)
        made: Invitation = Invitation.objects.create(tenant=scope.current(), meeting=meeting, person=person, created_at=at)
        return made
    if known.revoked_at is not None:
        known.revoked_at = None
        known.save(update_fields=["revoked_at"])
    known.meeting = meeting
    return known


def _locked_links(invitation: Invitation) -> list[LinkSecret]:
    return list(house_queries.links_to(invitation.pk).filter(person=invitation.person_id).select_for_update(no_key=True))


def forget_invitations(*, person: Person, made_before: datetime, at: datetime) -> tuple[int, int]:
    """Delete the person's links that were made before then, and the invitations that no newer one keeps alive; how many invitations, how many links.

    In the caller's transaction, whose entry tells of it.
    """
    alive = queries.invited_since(person, made_before, at)
    gone = queries.meetings_of(person).exclude(pk__in=list(alive.values_list("pk", flat=True))).delete()[0]
    return gone, house.forget_old_links(person=person, made_before=made_before)


@transaction.atomic
def expire_invitation(*, invitation: Invitation, used: bool, ended_before: datetime, by: Actor, at: datetime) -> bool:
    """Delete an invitation that ended before then, with its links; whether it was this call's doing. Entry: `invitation.expired`.

    Safe to run twice. Nothing happens while a hold stands on the person, or when `used` does not tell whether somebody came with it.
    """
    locked_meeting(meeting=invitation.meeting)
    over = queries.used_invitations if used else queries.unused_invitations
    found = over(ended_before=ended_before).filter(pk=invitation.pk).first()
    if found is None or holds.is_held(found.person_id):
        return False
    house.forget_links(subject_id=found.pk)
    Invitation.objects.filter(pk=found.pk).delete()
    log.record("invitation.expired", on=invitation, by=by, at=at, meeting=invitation.meeting_id, person=invitation.person_id)
    return True


@transaction.atomic
def expire_meeting(*, meeting: Meeting, over_before: datetime, by: Actor, at: datetime) -> bool:
    """Delete a meeting that nobody ever came to and that was over before then; whether it was this call's doing. Entry: `meeting.expired`.

    Safe to run twice. Nothing happens while an invitation of it is left, or while a hold stands on its host.
    """
    locked_meeting(meeting=meeting)
    found = queries.meetings_never_held(over_before=over_before).filter(pk=meeting.pk).first()
    if found is None or holds.is_held(found.host_id):
        return False
    Meeting.objects.filter(pk=found.pk).delete()
    log.record("meeting.expired", on=meeting, by=by, at=at)
    return True
