"""The one way to say no. Plain Python: the media worker uses it too."""

from __future__ import annotations


class Refused(Exception):
    """A refusal with a stable `code`, an HTTP `status` and `facts` that a client may show.

    Pages, endpoints and consumers each translate it once (`tenants.base_views`, `calls.consumers`).
    """

    def __init__(self, code: str, status: int = 400, **facts: object) -> None:
        super().__init__(code)
        self.code = code
        self.status = status
        self.facts = facts
