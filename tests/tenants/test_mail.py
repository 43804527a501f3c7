"""Mails that a server does not take."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from aiosmtpd.controller import Controller
from django.core.mail import EmailMessage

from tenants import jobs
from tests.environment import free_port

ADDRESS = "anna@customer.example"


class Refusing:
    """Knows nobody, and repeats the address as servers do."""

    async def handle_RCPT(self, server: Any, session: Any, envelope: Any, address: str, options: list[str]) -> str:  # noqa: N802 - reason: the library's name
        return f"550 5.1.1 <{address}>: nobody here has this address"


@pytest.fixture
def refusing(settings: Any) -> Iterator[None]:
    server = Controller(Refusing(), hostname="127.0.0.1", port=free_port())
    server.start()
    settings.EMAIL_BACKEND, settings.EMAIL_HOST = "django.core.mail.backends.smtp.EmailBackend", "127.0.0.1"
    settings.EMAIL_PORT = server.port
    yield
    server.stop()


def test_a_refused_mail_is_told_by_its_kind_and_never_with_its_address(refusing: None) -> None:
    with pytest.raises(jobs.MailNotSentError) as failed:
        jobs.send(EmailMessage("Your meeting", "Come in.", to=[ADDRESS]))

    assert str(failed.value) == "SMTPRecipientsRefused"
    assert failed.value.__suppress_context__
