"""The API's own description, and the tenant that a key speaks for."""

from __future__ import annotations

from drf_spectacular.utils import extend_schema
from drf_spectacular.views import SpectacularAPIView
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from tenants.base_views import Endpoint


class Schema(SpectacularAPIView):
    """OpenAPI 3.1 of every endpoint."""

    ability = "api.schema"


class TenantDetail(Endpoint):
    """The tenant that the caller acts for."""

    ability = "tenant.see"

    class Output(serializers.Serializer[object]):
        slug = serializers.CharField()
        name = serializers.CharField()

    @extend_schema(operation_id="tenant", responses=Output)
    def get(self, request: Request) -> Response:
        return Response(self.Output(self.tenant).data)
