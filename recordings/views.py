"""Pages of recordings: what is kept, of whom and until when, who looked, playing it, and having one's own part erased.

The staff's pages and the person's own are the same pages over another part: `Desk` is everybody's, `Own` is one's own.
"""

from __future__ import annotations

import logging
import re
from abc import ABC, abstractmethod
from typing import Any, ClassVar

from django import forms
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from calls import queries as calls
from tenants import identity as who
from tenants.base_views import OwnPage, Page, SeeOther
from tenants.errors import Refused
from tenants.models import Person

from . import forgetting, queries, vault, viewing
from .models import Recording, Viewing
from .sealing import Tampered

MOST = 2 * 1024 * 1024  # bytes of media in one answer: more is never decrypted at once
SHOWN = 200  # recordings of one list
OWN_PAGES = ("recording", "recording_view", "recording_erase")
RANGE = re.compile(r"bytes=(?:(\d{1,18})-(\d{0,18})|-(\d{1,18}))", re.ASCII | re.IGNORECASE)

REFUSALS = {
    "not-ready": gettext_lazy("This recording is still being finished. Try again in a moment."),
    "nothing-kept": gettext_lazy("There is nothing left that can be played."),
    "purpose": gettext_lazy("Choose one of the reasons."),
}

log = logging.getLogger(__name__)


def asked_range(header: str, size: int) -> tuple[int, int] | None:
    """Start and length, at most `MOST`, of the one byte range that a request asks for of `size` bytes (RFC 9110 section 14.1.2).

    None for what cannot be satisfied, is malformed, names several ranges, or is not there: the whole is never sent.
    """
    found = RANGE.fullmatch(header)
    if found is None:
        return None
    first, last, suffix = found.groups()
    if suffix is not None:
        start, end = max(0, size - int(suffix)), size
    else:
        start, end = int(first), min(int(last) + 1, size) if last else size
    return (start, min(end - start, MOST)) if start < end else None


class Side(Page, ABC):
    """What the staff's pages and the person's own share."""

    own: ClassVar[bool] = False  # the reader's own part, not everybody's

    @property
    @abstractmethod
    def recording(self) -> Recording:
        """The one that the address names, if the reader may see it. Raises Refused("not-found", 404)."""

    @property
    @abstractmethod
    def part(self) -> Person | None:
        """Whose part is shown; None for everybody's."""

    @abstractmethod
    def address(self, name: str, *args: object) -> str:
        """The address of this side's page of that name."""


class Desk(Side):
    """A tenant's recordings: the host's own, or all for who sees all meetings."""

    ability = "recordings.play"
    frame = "cleac_site/tenant_base.html"
    staff = True

    @property
    def recording(self) -> Recording:
        return queries.recording_for(self.actor, who.identity_of(self.request).roles, self.kwargs["recording"])

    @property
    def part(self) -> Person | None:
        return None

    def address(self, name: str, *args: object) -> str:
        return reverse(name, args=[self.tenant.slug, *args])


class Own(OwnPage, Side):
    """One's own part: a guest's, from the personal link, without an account; or a staff member's, from the dashboard."""

    own = True

    @property
    def recording(self) -> Recording:
        return queries.own_recording(self.person, self.kwargs["recording"])

    @property
    def part(self) -> Person | None:
        return self.person


# What is kept


class WhyForm(forms.Form):
    """Why somebody opens a recording. No answer is chosen beforehand."""

    purpose = forms.ChoiceField(
        label=gettext_lazy("Why do you open it?"),
        choices=[choice for choice in Viewing.Purpose.choices if choice[0] != Viewing.Purpose.OWN],
        widget=forms.RadioSelect,
        help_text=gettext_lazy("Everybody whose part is in the recording can read your answer, with your name and the time."),
        error_messages={"required": REFUSALS["purpose"], "invalid_choice": REFUSALS["purpose"]},
    )


class Recordings(Desk):
    """Every recording that the reader may see, newest first."""

    ability = "recordings.see"
    template_name = "recordings/list.html"
    http_method_names: tuple[str, ...] = ("get", "head")

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        found = queries.recordings_for(self.actor, who.identity_of(self.request).roles)[:SHOWN]
        listed = [(recording, viewing.shares(recording)) for recording in found]
        entries = [{"recording": recording, **viewing.kept(shares)} for recording, shares in listed]
        return super().get_context_data(entries=entries, **kwargs)


class MyRecordings(Own):
    """Every recording that the reader was in, with what is kept of the reader."""

    template_name = "recordings/mine.html"
    http_method_names: tuple[str, ...] = ("get", "head")

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        found = queries.own_recordings(self.person)[:SHOWN]
        entries = [
            {"recording": one, "share": (share := _only(viewing.shares(one, only=self.person))), "url": self.address("recording", one.pk)}
            | viewing.kept([share])
            for one in found
        ]
        return super().get_context_data(entries=entries, controller=self.tenant.name, urls={"home": self.address("home")}, **kwargs)


class Detail(Side):
    """What is kept of whom until when, who looked, and the way to play it."""

    http_method_names: tuple[str, ...] = ("get", "head")

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        recording = self.recording
        shares = viewing.shares(recording, only=self.part)
        facts = {
            "recording": recording,
            "meeting": recording.call.meeting,
            "shares": shares,
            **{name: viewing.kept(shares)[name] for name in ("until", "closed")},
            "playable": recording.state in viewing.PLAYABLE and any(share.playable for share in shares),
            "looks": queries.looks(recording, self.part)[:SHOWN],
            "controller": self.tenant.name,
            "urls": {name: self.address(name, recording.pk) for name in (OWN_PAGES if self.own else ("recording_view",))}
            | {"recordings": self.address("recordings")},
        }
        return super().get_context_data(**(kwargs | facts))


class RecordingDetail(Detail, Desk):
    template_name = "recordings/recording.html"

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        kwargs.setdefault("form", WhyForm())
        return super().get_context_data(**kwargs)


class OneRecording(RecordingDetail):
    """One recording, for staff."""

    ability = "recordings.see"


class MyRecording(Detail, Own):
    """The reader's own part of one recording."""

    template_name = "recordings/my_recording.html"

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        found = super().get_context_data(**kwargs)
        return found | {"share": _only(found["shares"])}


def _only(shares: list[viewing.Share]) -> viewing.Share:
    (share,) = shares
    return share


# Looking


class ViewRecording(RecordingDetail):
    """Takes the reason, writes it down, and leads to the player."""

    http_method_names = ("post",)

    def post(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        recording, form = self.recording, WhyForm(request.POST)
        if not form.is_valid():
            return self.render_to_response(self.get_context_data(form=form), status=422)
        try:
            made = _opened(self, recording, form.cleaned_data["purpose"])
        except Refused as refused:
            form.add_error(None, _worded(refused))
            return self.render_to_response(self.get_context_data(form=form), status=refused.status)
        return SeeOther(self.address("recording_play", recording.pk, made.pk))


class ViewMine(MyRecording):
    """Lets the reader play the own part; the reason is that it is the own part."""

    http_method_names = ("post",)

    def post(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        recording = self.recording
        try:
            made = _opened(self, recording, Viewing.Purpose.OWN)
        except Refused as refused:
            return self.render_to_response(self.get_context_data(refusal=_worded(refused)), status=refused.status)
        return SeeOther(self.address("recording_play", recording.pk, made.pk))


def _opened(side: Side, recording: Recording, purpose: str) -> Viewing:
    return viewing.view(recording=recording, by=side.actor, person=side.person, whole=side.part is None, purpose=purpose, at=timezone.now())


def _worded(refused: Refused) -> str:
    return str(REFUSALS.get(refused.code, _("That is not possible now.")))


class Play(Detail):
    """The player, as long as the viewing lasts; after that the recording's page, which says that it is over."""

    def get(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        recording = self.recording
        found = queries.viewing_for(self.person, recording, self.kwargs["viewing"])
        if found.expires_at <= timezone.now():
            return self.render_to_response(self.get_context_data(over=True), status=410)
        about = {"recording": recording, "title": recording.call.meeting.title, "back_url": self.address("recording", recording.pk)}
        told = {"view": self, "manifest": self.manifest(found), "viewing": found, **about}
        return self.response_class(request, ["recordings/player.html"], told, using=self.template_engine)

    def manifest(self, found: Viewing) -> dict[str, Any]:
        """`viewing.manifest` with the address of each file."""
        made = viewing.manifest(found)
        for file in (file for person in made["people"] for source in person["sources"] for file in source["files"]):
            file["url"] = self.address("recording_media", found.recording_id, found.pk, file["id"])
        return made


class PlayRecording(Play, RecordingDetail):
    """The player of a whole recording."""


class PlayMine(Play, MyRecording):
    """The player of one's own part."""


class Media(Side):
    """A piece of one playback file: at most 2 MiB, judged anew each time, stored nowhere."""

    http_method_names = ("get",)

    def get(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        """206 with the bytes that were asked for; 416 for no, several or impossible ranges. A refusal is its code, for scripts."""
        try:
            found = queries.viewing_for(self.person, self.recording, self.kwargs["viewing"])
            file = queries.playback_file(self.kwargs["artefact"])
            return self.piece(found, request.headers.get("Range", ""), vault.reader(viewing=found, artefact=file, at=timezone.now()))
        except Refused as refused:
            return JsonResponse({"code": refused.code}, status=refused.status)
        except Tampered:
            log.error("playback file %s is not what was written", self.kwargs["artefact"])
            return JsonResponse({"code": "damaged"}, status=409)

    @staticmethod
    def piece(found: Viewing, asked: str, reader: Any) -> HttpResponse:
        """The answer for one range of the file."""
        wanted = asked_range(asked, reader.size)
        if wanted is None:
            response = HttpResponse(status=416, headers={"Content-Range": f"bytes */{reader.size}"})
        else:
            start, length = wanted
            headers = {"Content-Range": f"bytes {start}-{start + length - 1}/{reader.size}"}
            response = HttpResponse(reader.read(start, length), status=206, content_type=reader.mime, headers=headers)
        response["Accept-Ranges"] = "bytes"
        response["X-Content-Type-Options"] = "nosniff"
        response["Cross-Origin-Resource-Policy"] = "same-origin"
        return response


class RecordingMedia(Media, Desk):
    """Media of a whole recording."""


class MyMedia(Media, Own):
    """Media of one's own part."""


# Forgetting


class EraseMine(MyRecording):
    """Says what would go, has it erased, and says how far that is."""

    template_name = "recordings/erase.html"
    http_method_names = ("get", "head", "post")

    def post(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        """From the commit on nobody can play it, and nothing is added to it; keys and objects follow."""
        recording = self.recording
        forgetting.erase_own(person=self.person, recording=recording, by=self.actor, at=timezone.now())
        return SeeOther(self.address("recording_erase", recording.pk))


class EraseInRoom(OwnPage):
    """One tap in the room: the reader's answers in this meeting become no, and what it has of the reader is erased."""

    http_method_names: tuple[str, ...] = ("post",)

    def post(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        """204, for the room's script. Asking again changes nothing."""
        meeting = calls.meeting_attended(self.person, self.kwargs["meeting"])
        forgetting.erase_of_meeting(person=self.person, meeting=meeting, by=self.actor, at=timezone.now())
        return HttpResponse(status=204)
