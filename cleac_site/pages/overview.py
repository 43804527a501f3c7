"""The tenant's first page, and the people whose data it holds. Read-only: each app's own queries, put together."""

from __future__ import annotations

from typing import Any

from django.core.paginator import Paginator
from django.utils import timezone

from calls import queries as calls
from compliance.reports import figures, plots
from consent import queries as consent
from recordings import queries as recordings
from recordings import viewing
from tenants.base_views import Page
from tenants.identity import identity_of
from tenants.permissions import may

NEWEST = 5  # of each table on the overview
ROWS = 30  # of a page of people
MOST_SEARCHED = 100  # characters


class TenantHome(Page):
    """Figures, the plot that explains them, then the tables behind it; a plain welcome for who may not see them."""

    ability = "tenant.see"
    template_name = "cleac_site/tenant_home.html"

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        roles = identity_of(self.request).roles
        told: dict[str, Any] = {}
        if may(roles, "overview.see"):
            day = timezone.localdate(timezone=timezone.get_default_timezone())
            found = figures.monthly(day.replace(day=1), day, verify=False)
            told |= {"figures": found, "month": day, "plot": plots.consent_rate(found.decisions), "sentence": plots.sentence(found.decisions)}
        if may(roles, "meetings.see"):
            told["meetings"] = list(calls.meetings_for(self.actor, roles)[:NEWEST])
        if may(roles, "recordings.see"):
            newest = recordings.recordings_for(self.actor, roles)[:NEWEST]
            told["recordings"] = [{"recording": one, "closed": viewing.kept(viewing.shares(one))["closed"]} for one in newest]
        if may(roles, "customers.see"):
            told["people"] = calls.people_for(self.actor, roles).count()
        return super().get_context_data(**(kwargs | told))


class People(Page):
    """Everybody whose data the tenant holds; for a host those of the own meetings, with what they answered and what is kept there."""

    ability = "customers.see"
    template_name = "cleac_site/people.html"
    http_method_names = ("get", "head")

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        searched = " ".join(self.request.GET.get("q", "").replace("\0", "").split())[:MOST_SEARCHED]
        roles = identity_of(self.request).roles
        found = calls.people_for(self.actor, roles, searched)
        page = Paginator(found, ROWS).get_page(self.request.GET.get("page"))
        shown = [person.pk for person in page.object_list]
        where = None if calls.sees_everybody(self.actor, roles) else calls.sittings_hosted_by(self.person)
        answers, stored = consent.last_answers(shown, where), recordings.stored_of(shown, where)
        entries = [
            {
                "person": person,
                "answers": answers.get(person.pk, []),
                "kept": person.pk in stored.kept,
                "to_be_erased": person.pk in stored.to_be_erased,
            }
            for person in page.object_list
        ]
        return super().get_context_data(page=page, entries=entries, searched=searched, everybody=where is None, **kwargs)
