"""Every route of the site as (name, path template, ability), found by walking the URL configuration."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from django.test import RequestFactory
from django.urls import URLPattern, URLResolver, get_resolver, resolve

from tenants.middleware import ability_of

EXAMPLES = {
    "slug": "acme",
    "uuid": "00000000-0000-4000-8000-000000000000",
    "token": "no-such-token",
    "key": "no-such-key",
    "uidb36": "0",
}


@dataclass(frozen=True)
class Route:
    name: str
    path: str
    ability: str | None
    view: Any

    def __str__(self) -> str:
        return f"{self.name} {self.path}"


def every_route(resolver: URLResolver | None = None, prefix: str = "/") -> Iterator[Route]:
    resolver = resolver or get_resolver()
    for entry in resolver.url_patterns:
        template = prefix + _filled(entry)
        if isinstance(entry, URLResolver):
            yield from every_route(entry, template)
        elif isinstance(entry, URLPattern):
            yield Route(entry.name or "", template, _ability(entry, template), entry.callback)


def _filled(entry: URLPattern | URLResolver) -> str:
    text = str(entry.pattern)
    if text.startswith("^"):
        text = text.strip("^$").replace("(?P<uidb36>[0-9A-Za-z]+)-(?P<key>.+)/", "0-no-such-key/").replace("(?P<key>[-:\\w]+)/", "no-such-key/")
        return text
    for name, converter in entry.pattern.converters.items():
        kind = type(converter).__name__.removesuffix("Converter").lower()
        value = EXAMPLES.get(name) or EXAMPLES.get(kind) or "1"
        text = text.replace(f"<{kind}:{name}>", value).replace(f"<{name}>", value)
    return text


def _ability(entry: URLPattern, path: str) -> str | None:
    request = RequestFactory().get(path)
    request.resolver_match = resolve(path)
    return ability_of(entry.callback, request)
