"""The desk: where the organisation sees what people asked, with its deadlines, and enters a request that came to it by letter or by voice."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django import forms
from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from calls import queries as calls
from compliance import queries
from compliance.dsr import desk
from compliance.models import Request
from compliance.views.requests import SHOWN, entry, worded_refusal
from tenants import queries as house
from tenants.base_views import Page, SeeOther
from tenants.errors import Refused
from tenants.identity import identity_of
from tenants.models import Person

ENTERED = {
    Request.Kind.ACCESS: gettext_lazy("The copy for {name} is made ready. Nobody but {name} can download it."),
    Request.Kind.ERASURE: gettext_lazy("Nobody can play what is kept of {name} any more. It is erased after 72 hours, unless taken back before."),
}
TOLD = gettext_lazy("{name} is told of it by mail.")
UNTOLD = gettext_lazy("{name} has no address and is not told of it by us: please do it yourself.")
KNOWN = gettext_lazy("A request of {name} for the same is not finished yet, so it stays that one, with its deadline. Nothing new was entered.")

FOUND = 20  # people of one search
MOST_SEARCHED = 100  # characters


class Desk(Page):
    """Every request of the tenant, by its deadline, with what became of it."""

    ability = "requests.see"
    template_name = "compliance/desk.html"
    http_method_names: tuple[str, ...] = ("get", "head")

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        now = timezone.now()
        entries = [entry(request) | {"late": request.due_at < now} for request in queries.requests()[:SHOWN]]
        return super().get_context_data(entries=entries, **kwargs)


class DeskTakeBack(Desk):
    """Take an erasure back that the organisation itself had entered for somebody."""

    ability = "requests.write"
    http_method_names = ("post",)

    def post(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        """Back to the desk; what the request restricted can be played again."""
        found = queries.request_for(self.kwargs["request_id"])
        try:
            desk.take_back(request=found, by=self.actor, at=timezone.now())
        except Refused as refused:
            return self.render_to_response(self.get_context_data(refusal=worded_refusal(refused)), status=refused.status)
        return SeeOther(reverse("requests", args=[self.tenant.slug]))


class EnterForm(forms.Form):
    """Who asked, of the people found, and for what. Nothing is chosen beforehand."""

    person = forms.UUIDField(label=gettext_lazy("Who asked"), widget=forms.RadioSelect)
    kind = forms.ChoiceField(
        label=gettext_lazy("For what"),
        choices=Request.Kind.choices,
        widget=forms.RadioSelect,
        help_text=gettext_lazy(
            "From an erasure on nobody can play the person's part. It is destroyed after 72 hours, and can be taken back until then. "
            "A copy can be downloaded by the person alone. Whoever has an address is told by mail what you entered."
        ),
    )

    def __init__(self, *args: Any, people: list[Person], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        choices = self.fields["person"].widget
        assert isinstance(choices, forms.RadioSelect)
        choices.choices = [(str(person.pk), described(person)) for person in people]


def described(person: Person) -> str:
    """A person in one line, so that two of one name can be told apart."""
    day = timezone.localdate(person.created_at)
    return _("{name}, {address}, known since {day}").format(name=person.name, address=person.email or _("no address"), day=f"{day:%-d %b %Y}")


class DeskEnter(Page):
    """Enter a request for somebody who asked the organisation. The person is looked for by name or address first."""

    ability = "requests.write"
    template_name = "compliance/enter.html"
    http_method_names = ("get", "head", "post")

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        searched = " ".join(self.request.GET.get("q", "").replace("\0", "").split())[:MOST_SEARCHED]
        people = self._people(searched)
        data = self.request.POST if self.request.method == "POST" else None
        kwargs.setdefault("form", EnterForm(data, people=people[:FOUND]))
        return super().get_context_data(searched=searched, found=bool(people), more=len(people) > FOUND, **kwargs)

    def _people(self, searched: str) -> list[Person]:
        """At most one more than are shown. Whoever is at the desk asks for the own data elsewhere."""
        if not searched:
            return []
        found = calls.people_for(self.actor, identity_of(self.request).roles, searched)
        return list(found.exclude(pk=self.person.pk)[: FOUND + 1])

    def post(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        """Back to the desk, which says what was entered and who is told of it."""
        form = EnterForm(request.POST, people=[])
        if not form.is_valid():
            return self.render_to_response(self.get_context_data(), status=422)
        try:
            self._enter(**form.cleaned_data)
        except Refused as refused:
            return self.render_to_response(self.get_context_data(refusal=worded_refusal(refused)), status=refused.status)
        return SeeOther(reverse("requests", args=[self.tenant.slug]))

    def _enter(self, person: UUID, kind: str) -> None:
        """Raises Refused: "unknown-person" 404, who is absent and who is another tenant's alike; "own-request" 409."""
        found, at = house.person(person), timezone.now()
        if found is None:
            raise Refused("unknown-person", 404)
        if found == self.person:
            raise Refused("own-request", 409)
        made = desk.open_request(person=found, kind=kind, channel=Request.Channel.DESK, by=self.actor, at=at)
        if made.asked_at != at:
            messages.info(self.request, KNOWN.format(name=found.name))
            return
        told = TOLD if found.email else UNTOLD
        messages.success(self.request, " ".join(str(words).format(name=found.name) for words in (ENTERED[Request.Kind(kind)], told)))
