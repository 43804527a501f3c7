"""Door 3: one media worker. One UDP port for all media, one TCP control address, one thread for the database.

SIGTERM or SIGINT: takes no new calls, tells every page to move, gives the leases back, exits 0. Exit 2 when an address cannot be used,
1 when the thread for the database has ended by a fault.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys

import django
import uvloop

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "cleac_site.settings")
django.setup()

from django.conf import settings  # noqa: E402 - reason: the settings module must be named first

from calls.control import Control  # noqa: E402 - reason: models need loaded apps
from calls.media.addresses import as_told  # noqa: E402 - reason: after django.setup, with its neighbours
from calls.media.edge import Edge  # noqa: E402 - reason: as above
from calls.media.orders import Answer, Order  # noqa: E402 - reason: as above
from calls.media.worker import Worker  # noqa: E402 - reason: as above
from recordings import capture as recording  # noqa: E402 - reason: as above

WATCH_EVERY = 1.0  # seconds between two looks at the database's thread: a worker without it is of no use
PATIENCE = 10.0  # seconds the database's thread has to give the leases back


def main() -> int:
    """Run until asked to stop; returns the exit code."""
    return uvloop.run(serve())


async def serve() -> int:
    """Open both addresses, register, carry calls. Returns the exit code."""
    asked_to_stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, asked_to_stop.set)
    env = settings.CLEAC
    try:
        edge = await Edge.bind(env.media_udp_host, env.media_udp_port, as_told(env.media_public_ip), tcp=env.media_tcp)
    except OSError as error:
        return refuse(f"media port {env.media_udp_host}:{env.media_udp_port}", error, "CLEAC_MEDIA_UDP_HOST and CLEAC_MEDIA_UDP_PORT")
    control: Control | None = None

    def ask(order: Order) -> None:
        if control is not None:  # before it exists no call is known, and no pipe has its token
            control.ask(order)

    worker = Worker(edge, env.pipe_key.get_secret_value().encode(), ask)
    capture = recording.Capture(worker, ask)
    try:
        address = await worker.listen(env.media_control_host)
    except OSError as error:
        await edge.close()
        return refuse(f"TCP {env.media_control_host}", error, "CLEAC_MEDIA_CONTROL_HOST")

    def answered(answer: Answer) -> None:
        loop.call_soon_threadsafe(worker.tell, answer)

    control = Control(address, answered, wish=recording.wish, handlers=recording.HANDLERS)
    control.start()
    capture.start()
    print(f"media worker ready udp={edge.port} control={address.rpartition(':')[2]}", flush=True)
    while not asked_to_stop.is_set() and control.is_alive():
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(asked_to_stop.wait(), WATCH_EVERY)
    in_order = control.is_alive()
    control.drain()
    await capture.drain("moved")
    await worker.drain()
    await asyncio.to_thread(control.stop, PATIENCE)
    await edge.close()
    return 0 if in_order else 1


def refuse(what: str, error: OSError, option: str) -> int:
    print(f"media worker: {what} cannot be used ({error.strerror}): change {option}", file=sys.stderr, flush=True)
    return 2


if __name__ == "__main__":
    sys.exit(main())
