"""Finds the identity, opens the tenant's scope around the request, and asks the ability table before any view runs.

Every route is refused unless the ability table grants it. Signed out, the answer is the same whether or not what the
path names exists; signed in but foreign, it is 404, as if it did not.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from django.contrib.auth.views import redirect_to_login
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import resolve_url
from django.views.defaults import page_not_found

from . import queries, scope
from .base_views import problem
from .errors import Refused
from .identity import API, identify, identity_of
from .permissions import EXTERNAL_ROUTES, STRANGER, key_may, may


class UndoneError(Exception):
    """Carries the answer of a request that failed out of its transaction, so that nothing of it is kept."""

    def __init__(self, response: HttpResponse) -> None:
        super().__init__()
        self.response = response


class TenancyMiddleware:
    """Finds the identity, opens the tenant's scope around the request, and asks the ability table before any view runs."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        identity = identify(request)
        request.identity = identity  # type: ignore[attr-defined]  # reason: the one attribute Cleac adds, read through base_views
        request.tenant, request.membership = identity.tenant, identity.membership  # type: ignore[attr-defined]  # reason: for templates
        if identity.tenant is None:
            return self.get_response(request)
        try:
            with scope.entered(identity.tenant):
                if identity.actor is not None and identity.actor.kind == "person":
                    request.identity = replace(identity, person=queries.person(identity.actor.id))  # type: ignore[attr-defined]  # reason: as above
                response = self.get_response(request)
                if response.status_code >= 500:
                    raise UndoneError(response)
        except UndoneError as undone:
            return undone.response
        return response

    def process_view(self, request: HttpRequest, view: Any, args: Any, kwargs: Any) -> HttpResponse | None:
        """None lets the view run. Unsafe methods without an ability of their own are refused like an unknown route."""
        identity = identity_of(request)
        ability = ability_of(view, request)
        if ability is None:
            raise Http404
        if identity.credential == "key":
            return None if may({STRANGER}, ability) or key_may(identity.scopes, ability) else problem(403, "scope-missing")
        if may(identity.roles, ability):
            return None
        return refuse(request)

    def process_exception(self, request: HttpRequest, exception: Exception) -> HttpResponse | None:
        """A refusal that no view has worded: its code for a script, and for a page the answer that gives nothing away."""
        if not isinstance(exception, Refused):
            return None
        if is_script(request):
            return JsonResponse({"code": exception.code, **exception.facts}, status=exception.status)
        return page_not_found(request, exception)


def is_script(request: HttpRequest) -> bool:
    """True for what a page of ours sends by fetch."""
    return request.content_type == "application/json"


def ability_of(view: Any, request: HttpRequest) -> str | None:
    """The ability that a route asks for: its view's own (one, or one for each method), else the table of library routes."""
    owner = getattr(view, "view_class", None) or getattr(view, "cls", None) or view
    ability = getattr(owner, "ability", None)
    if isinstance(ability, dict):
        method = "GET" if request.method in ("HEAD", "OPTIONS") else str(request.method)
        # What the view has no handler for is answered by the view, with 405, to whoever may do anything here at all.
        ability = ability.get(method) if method in ability or hasattr(owner, method.lower()) else next(iter(ability.values()))
    if ability is None and request.resolver_match is not None:
        ability = EXTERNAL_ROUTES.get(request.resolver_match.url_name or "")
    return ability


def refuse(request: HttpRequest) -> HttpResponse:
    """Signed out: the sign-in page, or 401 for the API and for scripts. Signed in: 404, whether foreign or not allowed."""
    signed_in = request.user.is_authenticated or identity_of(request).guest is not None
    if request.path.startswith(API) or is_script(request):
        return problem(404, "not-found") if signed_in else problem(401, "not-authenticated")
    if signed_in:
        raise Http404
    return redirect_to_login(request.get_full_path(), resolve_url("account_login"))
