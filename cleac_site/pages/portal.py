"""A person's own home: what is kept of them now, then their meetings, decisions, recordings and requests. For guests and for staff alike."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import reverse

from calls import queries as calls
from calls.models import Meeting
from compliance import queries as compliance
from consent import queries as consent
from consent import receipts
from recordings import queries as recordings
from recordings import viewing
from tenants.base_views import OwnPage
from tenants.identity import identity_of

from .network import may_test

SHOWN = 50  # entries of each list


class MyHome(OwnPage):
    """The home of whoever has a person in this tenant."""

    template_name = "cleac_site/my_home.html"
    http_method_names = ("get", "head")

    def get(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        if identity_of(request).person is None:  # an account, but no link: its own data is inside the dashboard
            return redirect("home")
        return super().get(request, *args, **kwargs)

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        kept = [entry for entry in self._recordings() if entry["share"].stored]
        told = {
            "kept": kept,
            "closed": sum(entry["share"].erasing for entry in self._recordings()),
            "until": min((entry["share"].until for entry in kept if entry["share"].until), default=None),
            "meetings": self._meetings(),
            "decisions": self._decisions(),
            "recordings": self._recordings(),
            "requests": list(compliance.requests_of(self.person.pk)[:SHOWN]),
            "urls": {name: self.address(name) for name in ("recordings", "requests")} | self._network(),
            "controller": self.tenant.name,
        }
        return super().get_context_data(**(kwargs | told))

    def _network(self) -> dict[str, str]:
        """The way to the network test, where the reader has one."""
        return {"network": self.address("network") if may_test(self.request) else ""}

    def _meetings(self) -> list[dict[str, Any]]:
        """Newest first, each with the way in while there is one."""
        way = [self.tenant.slug] if self.staff else []
        name = "meeting_room" if self.staff else "join"
        open_ones = (Meeting.State.SCHEDULED, Meeting.State.OPEN)
        found = calls.meetings_with(self.person)[:SHOWN]
        return [{"meeting": one, "url": reverse(name, args=[*way, one.pk]) if one.state in open_ones else ""} for one in found]

    def _decisions(self) -> list[dict[str, Any]]:
        """Every answer, newest first; `stands` for the one that counts, `code` to hold it against the log."""
        found = list(consent.every_decision(person=self.person.pk)[:SHOWN])
        sittings = calls.sittings_by_id({decision.call_id for decision in found})
        seen: set[tuple[Any, Any]] = set()
        told = []
        for decision in found:
            sitting, question = sittings.get(decision.call_id), (decision.purpose_id, decision.call_id)
            about = {"meeting": sitting.meeting if sitting else None, "code": receipts.code_of(decision.entry)}
            told.append({"decision": decision, "stands": question not in seen, **about})
            seen.add(question)
        return told

    def _recordings(self) -> list[dict[str, Any]]:
        if not hasattr(self, "_found"):
            entries = []
            for recording in recordings.own_recordings(self.person)[:SHOWN]:
                (share,) = viewing.shares(recording, only=self.person)
                looks = recordings.looks(recording, self.person).count()
                entries.append({"recording": recording, "share": share, "looks": looks, "url": self.address("recording", recording.pk)})
            self._found = entries
        return self._found
