"""Makes what is missing of the demo, on the service that the environment names. Exit 0 done, 1 not, with one line that says why.

`run` starts it once its pages answer, `demo` when something is missing.
"""

from __future__ import annotations

import os
import sys

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "cleac_site.settings")
django.setup()

from django.conf import settings  # noqa: E402 - reason: the settings module must be named first
from django.db import DatabaseError  # noqa: E402 - reason: as above

from calls.media.client import Unexpected  # noqa: E402 - reason: as above

from . import making  # noqa: E402 - reason: models need loaded apps


def main() -> int:
    if not settings.DEV:
        print("there is no demo in production", file=sys.stderr)
        return 2
    try:
        making.make(settings.CLEAC.data)
    except (Unexpected, TimeoutError, making.Unfinished, OSError, DatabaseError) as error:
        print(f"the demo's meeting was not made: {error}", file=sys.stderr, flush=True)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
