"""How a line of the log looks. What a stranger can cause takes one line, whatever the library that noticed it would write. Standard library only."""

from __future__ import annotations

import copy
import logging

SERVER = ("daphne.http_protocol", "daphne.ws_protocol")  # they write a traceback as their message
REFUSALS = "django.security"  # and everything under it: requests that were refused for what they are


class Line(logging.Formatter):
    """Time, level, name, message. A traceback only for a fault of ours: a request that is refused has none."""

    def format(self, record: logging.LogRecord) -> str:
        if kind := kind_of_bad_request(record):
            record = copy.copy(record)
            record.msg, record.args = f"a request was refused: {kind}", ()
        elif is_refusal(record):
            record = copy.copy(record)
            record.exc_info = record.exc_text = None
        return super().format(record)


def is_refusal(record: logging.LogRecord) -> bool:
    """True for a request that was answered with a status below 500, or that was refused before anything was done."""
    if f"{record.name}.".startswith(f"{REFUSALS}."):
        return True
    return record.name == "django.request" and getattr(record, "status_code", 500) < 500


def kind_of_bad_request(record: logging.LogRecord) -> str:
    """The exception that ended a request before it reached us; empty for any other record. Its words stay out: a stranger chose them."""
    if record.name not in SERVER or not str(record.msg).lstrip().startswith("Traceback"):
        return ""
    return str(record.msg).rstrip().rpartition("\n")[2].partition(":")[0] or "no name"
