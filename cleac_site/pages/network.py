"""The page on which people find out which ways to the media workers their network lets through, before a call or when one fails.

Not for strangers, nor for who came by a link that was revoked: each way that is tried makes a worker do a handshake. Whoever is known tries
as often as `NETWORK_TESTS` allows, and the worker bounds what it has open at a time (`calls.media.probes`). No camera, no microphone, nothing
is written down.
"""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest, HttpResponse, JsonResponse
from django.http.response import HttpResponseBase
from django.utils import timezone

from calls import services
from calls.media.sdp import MOST_BYTES
from tenants.base_views import OwnPage, body_of, problem
from tenants.errors import Refused
from tenants.identity import identity_of
from tenants.throttle import Limit

# A test is one question for relays and five offers, so this is some fifty tests: a whole office may stand behind one address. While nobody
# can answer each is asked up to four times.
NETWORK_TESTS = Limit("network-tests", times=300, seconds=600)


class Invited(OwnPage):
    """For who may still come to a meeting: members of the tenant, and guests whose link was not revoked."""

    ability = "network.test"

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        """Raises Refused("not-found", 404)."""
        if not may_test(request):
            raise Refused("not-found", 404)
        answer: HttpResponseBase = super().dispatch(request, *args, **kwargs)
        return answer


def may_test(request: HttpRequest) -> bool:
    """A revoked link still shows its holder what is held about them, and nothing of meetings to come."""
    guest = identity_of(request).guest
    return guest is None or guest.link.revoked_at is None


class Network(Invited):
    """The test itself is done by the page's script."""

    template_name = "cleac_site/network.html"
    http_method_names = ("get", "head")

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        urls = {"relays": self.address("network_relays"), "way": self.address("network_way"), "home": self.address("home")}
        return super().get_context_data(urls=urls, **kwargs)


class NetworkStep(Invited):
    """One question of the test."""

    http_method_names = ("post",)

    def post(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        """429 with `Retry-After` to who asks too often; else what `answer` says."""
        taken = NETWORK_TESTS.take(request)
        if taken.wait:
            return problem(429, "too-many-tests", wait=taken.wait)
        try:
            return JsonResponse(self.answer())
        except Refused as refused:
            return JsonResponse({"code": refused.code}, status=refused.status)

    def answer(self) -> dict[str, Any]:
        """Raises Refused."""
        raise NotImplementedError


class NetworkRelays(NetworkStep):
    """`{"ice_servers": [...]}`: the operator's TURN servers with credentials for one test, often none."""

    def answer(self) -> dict[str, Any]:
        return {"ice_servers": services.relays_for_a_test(at=timezone.now())}


class NetworkWay(NetworkStep):
    """`{"sdp": <offer>}` -> `{"sdp": <answer>}` of a media worker; 503 with a code while none can answer."""

    def answer(self) -> dict[str, Any]:
        return {"sdp": services.try_way(sdp=body_of(self.request, "sdp", 2 * MOST_BYTES))}
