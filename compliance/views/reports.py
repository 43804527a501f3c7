"""The data protection officer's home: figures of the running month, what is due, and reports to take away."""

from __future__ import annotations

import calendar
from collections.abc import Iterator
from datetime import date, timedelta
from typing import Any

from django import forms
from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.utils import timezone
from django.utils.formats import date_format
from django.utils.translation import gettext_lazy

from compliance.reports import document, figures, making, plots, queries, words
from tenants.base_views import Page

MONTHS = 13  # the running one and a year before it
SOON = timedelta(days=7)
PIECE = 64 * 1024  # bytes of a document in one piece of the answer


def today() -> date:
    """The day it is in the zone of this installation."""
    return timezone.localdate(timezone=timezone.get_default_timezone())


def months(now: date) -> list[tuple[str, str]]:
    """The months that may be chosen, newest first, as (2026-10, October 2026)."""
    counted = [now.year * 12 + now.month - 1 - back for back in range(MONTHS)]
    return [(f"{number // 12:04}-{number % 12 + 1:02}", date_format(date(number // 12, number % 12 + 1, 1), "F Y")) for number in counted]


def days_of(month: str) -> tuple[date, date]:
    """First and last day of a month such as 2026-10."""
    year, number = (int(part) for part in month.split("-"))
    return date(year, number, 1), date(year, number, calendar.monthrange(year, number)[1])


class ReportForm(forms.Form):
    """Which month, and in which form. The newest month stands first."""

    month = forms.ChoiceField(label=gettext_lazy("Month"), choices=lambda: months(today()))
    form = forms.ChoiceField(choices=[(form, form.upper()) for form in document.MAKERS])


class Home(Page):
    """Figures first, then the plot, then the tables behind it."""

    ability = "dpo.see"
    template_name = "compliance/reports/home.html"
    http_method_names: tuple[str, ...] = ("get", "head")

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        day = today()
        found = figures.monthly(day.replace(day=1), day, verify=False)
        facts = {
            "figures": found,
            "parts": words.parts(found),
            "plot": plots.consent_rate(found.decisions),
            "sentence": plots.sentence(found.decisions),
            "due": queries.requests_due(timezone.now() + SOON),
            "now": timezone.now(),
            "month": date_format(day, "F Y"),
        }
        kwargs.setdefault("form", ReportForm())
        return super().get_context_data(**(facts | kwargs))


class Report(Home):
    """Makes the report of one month and hands it out."""

    http_method_names = ("post",)

    def post(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse | StreamingHttpResponse:
        form = ReportForm(request.POST)
        if not form.is_valid():
            return self.render_to_response(self.get_context_data(form=form), status=422)
        start, end = days_of(form.cleaned_data["month"])
        made = making.make(start=start, end=end, form=form.cleaned_data["form"], by=self.actor, at=timezone.now())
        headers = {"Content-Disposition": f'attachment; filename="{made.name}"', "X-Content-Type-Options": "nosniff"}
        return StreamingHttpResponse(_pieces(made.content), content_type=made.mime, headers=headers)


def _pieces(content: bytes) -> Iterator[bytes]:
    for start in range(0, len(content), PIECE):
        yield content[start : start + PIECE]
