"""Base page and base endpoint, and the one place where refusals become answers."""

from __future__ import annotations

import json
from io import BytesIO
from typing import Any, ClassVar, TypeVar

from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect, JsonResponse
from django.middleware.csrf import CsrfViewMiddleware
from django.urls import reverse
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _
from django.views.generic import TemplateView
from drf_spectacular.utils import OpenApiParameter
from drf_standardized_errors.formatter import ExceptionFormatter
from drf_standardized_errors.handler import exception_handler
from drf_standardized_errors.types import ErrorResponse
from rest_framework import exceptions, fields
from rest_framework.authentication import BaseAuthentication
from rest_framework.parsers import JSONParser
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.serializers import Serializer
from rest_framework.views import APIView

from .errors import Refused
from .identity import identity_of
from .models import Membership, Person, Tenant
from .permissions import Actor

T = TypeVar("T")
BODY_LIMIT = 64 * 1024  # bytes of an API request
SECRET_LIMIT = 1024  # bytes of a body that carries a link's secret or a ticket's kind
PAGE = 100  # entries of one answer
MOST_OFFSET = 1_000_000
OFFSET = OpenApiParameter("offset", {"type": "integer", "minimum": 0, "maximum": MOST_OFFSET}, description="How many to skip.")


class Page(TemplateView):
    """A page with an ability. Personal pages are never stored by a browser or proxy."""

    ability: ClassVar[str | dict[str, str]]

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
        response = super().dispatch(request, *args, **kwargs)
        response.headers.setdefault("Cache-Control", "no-store, private")
        return response

    @property
    def actor(self) -> Actor:
        return required(identity_of(self.request).actor)

    @property
    def person(self) -> Person:
        return required(identity_of(self.request).person)

    @property
    def tenant(self) -> Tenant:
        return required(identity_of(self.request).tenant)

    @property
    def membership(self) -> Membership:
        return required(identity_of(self.request).membership)


class OwnPage(Page):
    """One's own data. Mounted twice: `my_*` for a guest with a personal link, `own_*` inside the dashboard for a member of the tenant."""

    ability = "mine.see"

    @property
    def staff(self) -> bool:
        """Is the reader at home in the tenant's dashboard?"""
        return identity_of(self.request).membership is not None

    @property
    def frame(self) -> str:
        """The template around the page."""
        return "cleac_site/tenant_base.html" if self.staff else "calls/frame.html"

    def address(self, name: str, *args: object) -> str:
        """The address of the reader's own page of that name."""
        return reverse(f"own_{name}", args=[self.tenant.slug, *args]) if self.staff else reverse(f"my_{name}", args=args)


class SeeOther(HttpResponseRedirect):
    """After a form: go and get that page (RFC 9110 section 15.4.4)."""

    status_code = 303


def required(value: T | None) -> T:
    """`value`, or `Refused("not-found", 404)` when the identity has none."""
    if value is None:
        raise Refused("not-found", 404)
    return value


def body_of(request: HttpRequest, name: str, limit: int = SECRET_LIMIT) -> str:
    """One text of a small JSON body; empty for anything else, so that nonsense is answered like a wrong value."""
    if len(request.body) > limit:
        return ""
    try:
        value = json.loads(request.body)
    except (ValueError, RecursionError):
        return ""
    found = value.get(name) if isinstance(value, dict) else None
    return found if isinstance(found, str) and found.isascii() else ""


class ActorAuthentication(BaseAuthentication):
    """Takes over what the middleware found; a browser session must also pass the CSRF check."""

    def authenticate(self, request: Request) -> tuple[Any, Any] | None:
        identity = identity_of(request._request)
        if identity.credential == "session":
            self._check_csrf(request)
        return (request._request.user, identity) if identity.actor else None

    def authenticate_header(self, request: Request) -> str:
        return 'Bearer realm="cleac"'

    @staticmethod
    def _check_csrf(request: Request) -> None:
        check = CsrfViewMiddleware(lambda _request: HttpResponse())
        check.process_request(request._request)
        if check.process_view(request._request, lambda _request: HttpResponse(), (), {}) is not None:
            raise exceptions.PermissionDenied(_("The CSRF token is missing or wrong."), code="csrf")


class SmallJSONParser(JSONParser):
    """JSON of at most `BODY_LIMIT` bytes; more is refused before it is understood."""

    def parse(self, stream: Any, media_type: str | None = None, parser_context: Any = None) -> Any:
        whole = stream.read(BODY_LIMIT + 1)
        if len(whole) > BODY_LIMIT:
            raise RefusedError(Refused("body-too-large", 413, limit=BODY_LIMIT))
        return super().parse(BytesIO(whole), media_type, parser_context)


class Endpoint(APIView):
    """A REST endpoint: one ability for each method, nested Input and Output serializers, refusals as RFC 9457 problems."""

    ability: ClassVar[str | dict[str, str]]
    authentication_classes = (ActorAuthentication,)
    parser_classes = (SmallJSONParser,)
    Input: type[Serializer[Any]]
    Asked: type[Serializer[Any]]
    Output: type[Serializer[Any]]

    @property
    def actor(self) -> Actor:
        return required(identity_of(self.request._request).actor)

    @property
    def tenant(self) -> Tenant:
        return required(identity_of(self.request._request).tenant)

    def asked(self, request: Request) -> dict[str, Any]:
        """The validated body. Raises DRF's ValidationError, which becomes a problem with one line for each field."""
        form = self.Input(data=request.data)
        form.is_valid(raise_exception=True)
        return dict(form.validated_data)

    def wanted(self, request: Request) -> dict[str, Any]:
        """The validated query, by the endpoint's `Asked`. Raises as `asked`; a parameter that the endpoint does not know is refused too."""
        form = self.Asked(data=request.query_params.dict())
        unknown = sorted(set(request.query_params) - set(form.fields))
        if unknown:
            raise exceptions.ValidationError({name: _("There is no such parameter.") for name in unknown})
        form.is_valid(raise_exception=True)
        return dict(form.validated_data)

    def paged(self, found: QuerySet[Any], offset: int) -> Response:
        """At most `PAGE` of them from `offset` on, by the endpoint's `Output`."""
        some = list(found[offset : offset + PAGE + 1])
        return Response(self.Output({"results": some[:PAGE], "next_offset": offset + PAGE if len(some) > PAGE else None}).data)


class Offset(Serializer[Any]):
    """The query of every list."""

    offset = fields.IntegerField(min_value=0, max_value=MOST_OFFSET, default=0)


class Following(Serializer[Any]):
    """The end of every list: what to ask for next, or null."""

    next_offset = fields.IntegerField(allow_null=True)


class RefusedError(exceptions.APIException):
    """A `Refused` on its way through DRF."""

    def __init__(self, refused: Refused) -> None:
        super().__init__(detail=refused.code, code=refused.code)
        self.status_code = refused.status


def problem_handler(error: Exception, context: Any) -> Response | None:
    """Every error of the API as application/problem+json (RFC 9457); a Refused keeps its code, status and facts."""
    facts = error.facts if isinstance(error, Refused) else {}
    response = exception_handler(RefusedError(error) if isinstance(error, Refused) else error, context)
    if response is not None:
        response.data.update(facts)
        response.content_type = "application/problem+json"
    return response


class ProblemFormatter(ExceptionFormatter):
    """RFC 9457 members plus `errors`, one item for each field at fault."""

    def format_error_response(self, error_response: ErrorResponse) -> dict[str, Any]:
        errors = [{"code": e.code, "detail": e.detail, "attr": e.attr} for e in error_response.errors]
        return {
            "type": "about:blank",
            "title": str(errors[0]["detail"]),
            "status": getattr(self.exc, "status_code", 500),
            "code": errors[0]["code"],
            "errors": errors,
        }


def problem(status: int, code: str, *, wait: int = 0) -> HttpResponse:
    """An RFC 9457 body for refusals that no endpoint has seen yet; `wait` are the seconds after which to ask again."""
    titles = {
        401: gettext("A valid API key or session is needed."),
        403: gettext("This API key has no scope for that."),
        404: gettext("Not found."),
        429: gettext("There were too many tries in a short time."),
    }
    body = {"type": "about:blank", "title": titles[status], "status": status, "code": code}
    response = JsonResponse(body, status=status, content_type="application/problem+json")
    if status == 401:
        response["WWW-Authenticate"] = 'Bearer realm="cleac"'
    if wait:
        response["Retry-After"] = str(wait)  # RFC 9110 section 10.2.3
    return response
