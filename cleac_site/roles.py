"""What each process of a deployment runs: `python -m cleac_site.roles ROLE`. The image and `manage.py run` start the same commands.

`health` is for the container engine: it asks the web process of this container whether it is ready. No Django in here.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import urllib.request
from urllib.parse import urlsplit

PORT = 8000  # of the web process in a container
HEALTH_SECONDS = 5
MODULE = (sys.executable, "-m")
MANAGE = (sys.executable, "manage.py")
JOBS = (*MODULE, "celery", "-A", "cleac_site.celery")
QUIET = ("--without-gossip", "--without-mingle", "--without-heartbeat", "--loglevel", "INFO")
WORKER = (*JOBS, "worker", "--concurrency", "2", *QUIET)
MEDIA = (*MODULE, "cleac_site.mediaworker")
SITE = "cleac_site.asgi:application"
LARGEST_FRAME = 64 * 1024  # bytes of one frame, and of one message from however many; what a page may say (calls.protocol.LARGEST) fits
# No line for each request: such lines hold addresses of people.
SERVING = (
    *("--verbosity", "0", "--no-server-name"),
    *("--websocket-max-message-size", str(LARGEST_FRAME), "--websocket-max-frame-size", str(LARGEST_FRAME)),
)
WEB = (*MODULE, "daphne", *SERVING, "-b", "0.0.0.0", "-p", str(PORT), SITE)

# Role -> its commands in order. The last one takes this process's place, so that it gets the engine's signals itself.
ROLES: dict[str, tuple[tuple[str, ...], ...]] = {
    "migrate": ((*MANAGE, "check", "--deploy"), (*MANAGE, "migrate", "--noinput"), (*MANAGE, "migrate", "--noinput", "--database", "keys")),
    "web": (WEB,),
    "worker": (WORKER,),
    "timetable": ((*JOBS, "beat", "--loglevel", "INFO", "--pidfile="),),
    "media": (MEDIA,),
}


def main() -> int:
    parser = argparse.ArgumentParser(prog="cleac", description="Run one process of a deployment.")
    parser.add_argument("role", choices=[*ROLES, "health"])
    role = parser.parse_args().role
    if role == "health":
        return health()
    *before, last = ROLES[role]
    for command in before:
        code = subprocess.run(command, check=False).returncode
        if code:
            return code
    os.execv(last[0], last)  # noqa: S606 - reason: taking its place is the purpose; the command is a constant of this file


def health() -> int:
    """0 when the web process of this container is ready, else 1. Asked by the public name, because others are refused."""
    public = urlsplit(os.environ.get("CLEAC_PUBLIC_URL", "http://127.0.0.1"))
    request = urllib.request.Request(f"http://127.0.0.1:{PORT}/readyz", headers={"Host": public.hostname or "127.0.0.1"})  # noqa: S310 - reason: our own address
    try:
        with urllib.request.urlopen(request, timeout=HEALTH_SECONDS) as answer:  # noqa: S310 - reason: as above
            return 0 if answer.status == 200 else 1
    except OSError as error:
        print(error, file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
