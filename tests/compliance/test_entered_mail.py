"""Whoever did not ask themselves learns by mail what was asked in their name, and how to object: handed to a real mail server."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from email import message_from_bytes, policy
from email.message import EmailMessage
from typing import Any

import pytest
from aiosmtpd.controller import Controller
from django.test import TestCase
from django.utils import timezone

from compliance import tasks
from compliance.dsr import desk
from compliance.models import LogEntry, Request
from tenants import jobs, scope
from tenants.models import OutboxRow, Person
from tenants.permissions import Actor
from tests.environment import free_port

pytestmark = pytest.mark.django_db


class Letterbox:
    """Takes every mail."""

    def __init__(self) -> None:
        self.letters: list[EmailMessage] = []

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:  # noqa: N802 - reason: the library's name
        self.letters.append(message_from_bytes(envelope.content, policy=policy.default))
        return "250 taken"


@pytest.fixture
def letterbox(settings: Any) -> Iterator[Letterbox]:
    box = Letterbox()
    server = Controller(box, hostname="127.0.0.1", port=free_port())
    server.start()
    settings.EMAIL_BACKEND, settings.EMAIL_HOST = "django.core.mail.backends.smtp.EmailBackend", "127.0.0.1"
    settings.EMAIL_PORT = server.port
    yield box
    server.stop()


def opened(cast: Any, person: Person, kind: str, by: Actor) -> Request:
    with scope.entered(cast.acme):
        return desk.open_request(person=person, kind=kind, channel="api", by=by, at=timezone.now())


def told(cast: Any) -> None:
    """What the job processes do with the mails that are promised."""
    with scope.entered(cast.acme):
        promised = list(OutboxRow.objects.filter(task=desk.TELL, done_at=None))
    for row in promised:
        with TestCase.captureOnCommitCallbacks(execute=True):
            tasks.tell_person(tenant_id=str(row.tenant_id), row_id=str(row.pk), **row.arguments)


def text_of(letter: EmailMessage) -> str:
    return " ".join(str(letter.get_content()).split())


def test_an_erasure_that_the_organisation_entered_is_told_with_its_deadline_and_how_to_take_it_back(cast: Any, letterbox: Letterbox) -> None:
    request = opened(cast, cast.gail, "erasure", Actor.job("test"))

    told(cast)
    told(cast)  # a promise that was kept is kept

    (letter,) = letterbox.letters
    assert (letter["To"], letter["Subject"]) == (cast.gail.email, "Acme asked for your data to be erased")
    assert (letter["Reply-To"], letter["Auto-Submitted"]) == ("contact@acme.example", "auto-generated")
    assert request.waits_until is not None
    said = text_of(letter)
    for words in ("Hello Gail,", "Acme entered a request in your name", "Take it back", "contact@acme.example", "Acme is responsible"):
        assert words in said
    until = request.waits_until.strftime("%a %-d %b %Y, %H:%M")
    assert said.count(f"{until} (UTC)") == 2
    assert request.due_at.astimezone(timezone.get_current_timezone()).strftime("%-d %b %Y") in said
    assert "http" not in said
    with scope.entered(cast.acme):
        assert [entry.record["facts"]["person"] for entry in LogEntry.objects.filter(kind="request.told")] == [str(cast.gail.pk)]


def test_a_copy_that_the_organisation_asked_for_is_told_too(cast: Any, letterbox: Letterbox) -> None:
    opened(cast, cast.gail, "access", Actor.job("test"))

    told(cast)

    (letter,) = letterbox.letters
    assert letter["Subject"] == "Acme asked for a copy of your data"
    assert "given to nobody but you" in text_of(letter)


def test_whoever_asked_themselves_took_it_back_or_has_no_address_gets_no_mail(cast: Any, letterbox: Letterbox) -> None:
    opened(cast, cast.gail, "access", Actor.person(cast.gail))
    back = opened(cast, cast.gus, "erasure", Actor.job("test"))
    with scope.entered(cast.acme):
        desk.take_back(request=back, by=Actor.person(cast.gus), at=timezone.now())
        nameless = Person.objects.create(tenant=cast.acme, name="Nobody")
    opened(cast, nameless, "access", Actor.job("test"))

    told(cast)

    assert letterbox.letters == []


def test_a_mail_that_is_not_taken_is_promised_still(cast: Any, settings: Any) -> None:
    settings.EMAIL_BACKEND, settings.EMAIL_HOST = "django.core.mail.backends.smtp.EmailBackend", "127.0.0.1"
    settings.EMAIL_PORT = free_port()
    opened(cast, cast.gail, "access", Actor.job("test"))

    with pytest.raises(jobs.MailNotSentError):
        told(cast)

    with scope.entered(cast.acme):
        row = OutboxRow.objects.get(task=desk.TELL)
        assert (row.done_at, row.due_at > timezone.now() - timedelta(minutes=1)) == (None, True)
        assert not LogEntry.objects.filter(kind="request.told").exists()
