#!/usr/bin/env python3
"""Door 0: sets itself up on a fresh machine, then run / test / doctor / every command.

This file is read by whatever `python3` a machine has, so it keeps to syntax that an old one can parse far enough to say what it needs.
"""

import os
import sys

OLDEST = (3, 11)


def refusal(version: "tuple[int, ...]") -> str:
    """What to say to an interpreter of this version; empty when it is new enough."""
    if tuple(version[:2]) >= OLDEST:
        return ""
    words = "Cleac needs Python %d.%d or newer, this is %d.%d: start manage.py with a newer one, for example python3.12.\n"
    return words % (OLDEST + tuple(version[:2]))


def main() -> int:
    words = refusal(sys.version_info[:2])
    if words:
        sys.stderr.write(words)
        return 2
    from cleac_site import bootstrap  # noqa: PLC0415 - reason: an old interpreter cannot parse it

    try:
        bootstrap.ensure(sys.argv)
        return bootstrap.dispatch(sys.argv)
    except KeyboardInterrupt:
        sys.stderr.write("cleac: stopped\n")
        return 1


if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "cleac_site.settings")
    sys.exit(main())
