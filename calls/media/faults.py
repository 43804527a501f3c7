"""How a fault is written down: by its kind and its place. Its words stay out of the log, because they may be a person's."""

from __future__ import annotations

import logging
from pathlib import Path

log = logging.getLogger(__name__)


def record(error: Exception, consequence: str) -> None:
    """One line that names the exception's type, where it was raised, and what follows from it."""
    at = error.__traceback__
    while at and at.tb_next:
        at = at.tb_next
    place = f"{Path(at.tb_frame.f_code.co_filename).name}:{at.tb_lineno}" if at else "unknown place"
    log.error("%s at %s: %s", type(error).__name__, place, consequence)
