"""How the API describes itself (OpenAPI 3.1): names of components, the key that opens it, and the problems that every operation may answer with."""

from __future__ import annotations

from typing import Any

from drf_spectacular.extensions import OpenApiAuthenticationExtension
from drf_spectacular.openapi import AutoSchema

SAFE = {
    "400": "A value is missing or wrong.",
    "401": "No valid API key or session.",
    "403": "This API key has no scope for that.",
    "404": "Not there, or not yours.",
    "406": "Only application/json is offered.",
    "429": "Too many tries in a short time.",
}
UNSAFE = {
    **SAFE,
    "409": "Not possible in the present state.",
    "410": "It is over.",
    "413": "The body is too large.",
    "415": "Only application/json is read.",
}


class ApiKey(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]  # reason: registers itself through an untyped hook
    """`Authorization: Bearer <key>`. The pages' own session is left out: it is for pages."""

    target_class = "tenants.base_views.ActorAuthentication"
    name = "apiKey"

    def get_security_definition(self, auto_schema: Any) -> dict[str, str]:
        return {"type": "http", "scheme": "bearer", "description": "An API key of a tenant, with the scopes that its owner gave it."}


class Schema(AutoSchema):
    """Nested Input and Output serializers are named after their endpoint; each operation tells its problems."""

    def get_tags(self) -> list[str]:
        return [self.path.removeprefix("/api/v1/").partition("/")[0]]

    def _get_serializer_name(self, serializer: Any, direction: Any, bypass_extensions: bool = False) -> str:
        kind = serializer if isinstance(serializer, type) else type(serializer)
        return str(kind.__qualname__.replace(".", ""))

    def _get_response_bodies(self, direction: Any = "response") -> Any:
        bodies = super()._get_response_bodies(direction)
        content = {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}
        problems = SAFE if self.method == "GET" else UNSAFE
        return bodies | {status: {"description": told, "content": content} for status, told in problems.items()}
