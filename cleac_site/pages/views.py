"""Front page, home, and the pages that machines read."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.conf import settings
from django.contrib.auth import login
from django.core.cache import cache
from django.db import DatabaseError, connections
from django.db.migrations.executor import MigrationExecutor
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.utils import timezone
from django.views.defaults import page_not_found
from redis.exceptions import RedisError

from cleac_site import demo
from tenants import queries
from tenants.base_views import Page, problem, required
from tenants.identity import API
from tenants.models import Membership

from . import measured

OF_LEGS = {  # leg -> bench and its series
    "signalling": ("access", "logout to closed page"),
    "streaming": ("join", "both see each other after admission"),
    "storage": ("withdrawal", "tap to applied, as the page is told"),
}


class Front(Page):
    """What Cleac is, in a minute, for somebody who has never heard of it."""

    ability = "front.see"
    template_name = "cleac_site/front.html"

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        people = demo.sign_in_links() if settings.DEV else []
        roles = dict(Membership.Role.choices)
        links = [{"name": p.name, "role": roles[p.role], "tenant": p.tenant.capitalize(), "url": p.url} for p in people if p.url]
        found = measured.read()
        figures = {leg: measured.series(found, bench, name) for leg, (bench, name) in OF_LEGS.items()}
        times = {leg: measured.worded(one.median) for leg, one in figures.items() if one is not None}
        return super().get_context_data(demo_links=links, measured=figures, times=times, **kwargs)


class Home(Page):
    """Where a sign-in ends: straight into the only tenant, a choice of tenants, or what to do when there is none."""

    ability = "home.see"
    template_name = "cleac_site/home.html"

    def get(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        memberships = list(queries.memberships_of_user(required(request.user.pk)))
        if len(memberships) == 1:
            return redirect("tenant_home", slug=memberships[0].tenant.slug)
        if not memberships:
            return self.response_class(request, ["cleac_site/home_alone.html"], self.get_context_data(), using=self.template_engine)
        return self.render_to_response(self.get_context_data(memberships=memberships))


def not_found(request: HttpRequest, exception: Exception) -> HttpResponse:
    """What is at no address of ours: a problem for programs, a page for people."""
    return problem(404, "not-found") if request.path.startswith(API) else page_not_found(request, exception)


def demo_sign_in(request: HttpRequest, token: str) -> HttpResponse:
    """Sign in as one of the demo cast. The route exists in dev only."""
    user = demo.user_of(token)
    if user is None:
        raise Http404
    login(request, user, backend="allauth.account.auth_backends.AuthenticationBackend")
    return redirect("home")


demo_sign_in.ability = "account.sign_in"  # type: ignore[attr-defined]  # reason: a function view carries its ability as an attribute


def healthz(request: HttpRequest) -> HttpResponse:
    """This process answers."""
    return HttpResponse("ok\n", content_type="text/plain")


healthz.ability = "health.see"  # type: ignore[attr-defined]  # reason: as above


def readyz(request: HttpRequest) -> HttpResponse:
    """The databases answer with all migrations applied; 503 names the one that does not.

    Redis only carries notes, and calls go on without it: that it is away is told, but no reason to restart everything.
    """
    for alias in connections:
        try:
            executor = MigrationExecutor(connections[alias])
            if executor.migration_plan(executor.loader.graph.leaf_nodes()):
                return HttpResponse(f"{alias}: migrations are missing\n", status=503, content_type="text/plain")
        except DatabaseError:
            return HttpResponse(f"{alias}: no answer\n", status=503, content_type="text/plain")
    try:
        cache.get("readyz")
    except RedisError:
        return HttpResponse("ok\nredis: no answer\n", content_type="text/plain")
    return HttpResponse("ok\n", content_type="text/plain")


readyz.ability = "health.see"  # type: ignore[attr-defined]  # reason: as above


def security_txt(request: HttpRequest) -> HttpResponse:
    """Whom to tell about a weakness (RFC 9116)."""
    expires = (timezone.now() + timedelta(days=180)).strftime("%Y-%m-%dT00:00:00Z")
    lines = [
        f"Contact: mailto:{settings.CLEAC.contact_email}",
        f"Expires: {expires}",
        f"Canonical: {settings.CLEAC.public_url}/.well-known/security.txt",
        "Preferred-Languages: en, fi",
    ]
    return HttpResponse("\n".join(lines) + "\n", content_type="text/plain; charset=utf-8")


security_txt.ability = "front.see"  # type: ignore[attr-defined]  # reason: as above
