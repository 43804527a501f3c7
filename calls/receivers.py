"""What calls does when an answer or somebody's access changed: the worker reads the call again, sockets look again."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.dispatch import receiver

from consent.signals import decided
from tenants import queries as house
from tenants import scope
from tenants.signals import access_changed

from . import mailbox, queries, services


@receiver(decided, dispatch_uid="calls.on_decided")
def on_decided(sender: Any, *, call_id: UUID, **kwargs: Any) -> None:
    """Permits and marks follow an answer."""
    mailbox.look_again(call_id)


@receiver(access_changed, dispatch_uid="calls.on_access_changed")
def on_access_changed(sender: Any, *, tenant_id: UUID, person_id: UUID, **kwargs: Any) -> None:
    """Whatever the person has open asks again whether it may stay open; a pipe closes with its socket."""
    tenant = house.tenant(tenant_id)
    if tenant is None:
        return
    with scope.entered(tenant):
        found = list(queries.open_participations(person_id).values_list("pk", "call_id"))
        services.wake_pages(participant_ids=[participant_id for participant_id, _ in found])
        for _, call_id in found:
            mailbox.look_again(call_id)
