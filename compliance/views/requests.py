"""Requests about one's own data: the person's own pages. The organisation's side is `compliance.views.desk`."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Any

from asgiref.sync import sync_to_async
from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from compliance import queries
from compliance.dsr import desk, package
from compliance.models import Request
from recordings import queries as recordings
from recordings import viewing
from tenants.base_views import OwnPage, SeeOther
from tenants.errors import Refused

SHOWN = 200  # requests of one list

REFUSALS = {
    "not-ready": gettext_lazy("This copy is not ready yet. Try again in a moment."),
    "expired": gettext_lazy("The time to download this copy is over. Ask for a new one."),
    "too-late": gettext_lazy("This request cannot be taken back any more."),
    "unknown-person": gettext_lazy("Nobody of your organisation's people is meant by this. Perhaps the person was erased meanwhile: search again."),
    "own-request": gettext_lazy("This is you. Ask for your own data at “What is kept of you”: that proves who asks."),
}
# What became of one kind of data, in words a person understands; by the registry's ground or outcome.
GROUNDS = {
    "": gettext_lazy("erased"),
    "gdpr-17-3-e": gettext_lazy("kept: needed to establish, exercise or defend legal claims (GDPR Art. 17(3)(e))"),
    "member": gettext_lazy("kept: belongs to your membership of the organisation"),
    "invited-again": gettext_lazy("kept: you were invited again after you had asked; ask again when you want that to go, too"),
    "hold": gettext_lazy("kept under a legal hold: nobody can play it, and it is erased when the hold ends"),
    "cannot-be-made": gettext_lazy("the copy cannot be made at this moment: it is tried again every few minutes"),
    "cannot-be-opened": gettext_lazy("lost or damaged in part: what cannot be opened is not in the copy, whose first page names it"),
    "being-captured": gettext_lazy("still being captured: is erased as soon as that ends"),
}
KINDS = {
    "*": gettext_lazy("Everything"),
    "recordings.Artefact": gettext_lazy("Recordings of you"),
    "consent.ServedNotice": gettext_lazy("Questions that you were shown"),
    "consent.Decision": gettext_lazy("Your decisions"),
    "calls.Meeting": gettext_lazy("Meetings that you hosted"),
    "calls.Invitation": gettext_lazy("Invitations"),
    "calls.Ticket": gettext_lazy("Passes into calls"),
    "tenants.Person": gettext_lazy("Name and e-mail address"),
    "tenants.LinkSecret": gettext_lazy("Personal links"),
    "tenants.Membership": gettext_lazy("Your place among the staff"),
    "tenants.User": gettext_lazy("Your account"),
    "account.EmailAddress": gettext_lazy("Addresses of your account"),
    "sessions.Session": gettext_lazy("Sign-ins to your account"),
    "tenants.StaffInvitation": gettext_lazy("Invitations to the staff"),
    "tenants.GuestSession": gettext_lazy("Sessions of your browser"),
    "compliance.LogEntry": gettext_lazy("Entries of the log"),
    "compliance.Hold": gettext_lazy("Legal holds"),
    "compliance.Request": gettext_lazy("Your requests"),
}


def worded_refusal(refused: Refused) -> str:
    """Why something is not possible, for whoever asked for it."""
    return str(REFUSALS.get(refused.code, _("That is not possible now.")))


def worded(lines: list[dict[str, Any]]) -> list[tuple[str, str]]:
    """Each kind of data with what became of it; what there was nothing of is left out."""
    some = [line for line in lines if line["rows"] or line["ground"]]
    return [(str(KINDS.get(line["model"], line["model"])), str(GROUNDS.get(line["ground"], line["ground"]))) for line in some]


def entry(request: Request) -> dict[str, Any]:
    """One request as a page lists it: what became of it in words, and whether it can be taken back now."""
    waiting = request.can_be_taken_back(timezone.now())
    return {"request": request, "lines": worded(request.lines), "unfinished": request.state in Request.UNFINISHED, "waiting": waiting}


class MyRequests(OwnPage):
    """What the reader asked for, and the two things that can be asked for. Erasure is asked for on a page of its own."""

    template_name = "compliance/my_requests.html"
    http_method_names: tuple[str, ...] = ("get", "head", "post")

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        found = [entry(request) for request in queries.requests_of(self.person.pk)[:SHOWN]]
        for one in found:
            ready = one["request"].state == Request.State.READY
            one["download"] = self.address("request_download", one["request"].pk) if ready else ""
            one["take_back"] = self.address("request_take_back", one["request"].pk) if one["waiting"] else ""
        open_kinds = {one["request"].kind for one in found if one["unfinished"]}
        urls = {name: self.address(name) for name in ("home", "requests", "erasure")}
        return super().get_context_data(entries=found, open_kinds=open_kinds, urls=urls, controller=self.tenant.name, **kwargs)

    def post(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        """Ask for a copy."""
        self._ask(Request.Kind.ACCESS)
        return SeeOther(self.address("requests"))

    def _ask(self, kind: str) -> Request:
        channel = Request.Channel.ACCOUNT if self.staff else Request.Channel.LINK
        return desk.open_request(person=self.person, kind=kind, channel=channel, by=self.actor, at=timezone.now())


class Erasure(MyRequests):
    """Says what goes and what stays, and has it erased."""

    template_name = "compliance/erasure.html"

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        kept = [one for one in recordings.own_recordings(self.person)[:SHOWN] if viewing.shares(one, only=self.person)[0].stored]
        return super().get_context_data(kept=len(kept), days=desk.REACHABLE.days, **kwargs)

    def post(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        """Ask for erasure: from the commit on nobody plays anything of the reader's."""
        self._ask(Request.Kind.ERASURE)
        return SeeOther(self.address("requests"))


class TakeBack(MyRequests):
    """Keep what somebody else had asked to have erased in the reader's name."""

    http_method_names = ("post",)

    def post(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        """What it restricted can be played again from the commit on."""
        found = queries.own_request(self.person.pk, self.kwargs["request_id"])
        try:
            desk.take_back(request=found, by=self.actor, at=timezone.now())
        except Refused as refused:
            return self.render_to_response(self.get_context_data(refusal=worded_refusal(refused)), status=refused.status)
        return SeeOther(self.address("requests"))


class Download(MyRequests):
    """The copy, made while it is sent."""

    http_method_names = ("post",)

    def post(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse | StreamingHttpResponse:  # type: ignore[override]  # reason: a stream
        found, at = queries.own_request(self.person.pk, self.kwargs["request_id"]), timezone.now()
        try:
            desk.downloaded(request=found, by=self.actor, at=at)
        except Refused as refused:
            return self.render_to_response(self.get_context_data(refusal=worded_refusal(refused)), status=refused.status)
        pieces = desk.sent(request=found, tenant=self.tenant, by=self.actor, at=at)
        headers = {"Content-Disposition": f'attachment; filename="{package.named(self.tenant, at)}"', "X-Content-Type-Options": "nosniff"}
        return StreamingHttpResponse(_sent(pieces), content_type=package.MIME, headers=headers)


async def _sent(pieces: Iterator[bytes]) -> AsyncIterator[bytes]:
    """The pieces, each made in this request's thread only when the one before it was taken."""
    ended = object()
    while (piece := await sync_to_async(lambda: next(pieces, ended))()) is not ended:
        assert isinstance(piece, bytes)
        if piece:
            yield piece
