"""Door 3: one media worker. One UDP port for all media, one TCP control address, two threads for the database.

SIGTERM or SIGINT: takes no new calls, tells every page to move, gives the leases back, exits 0. `manage.py media drain` does the same to
the calls and leaves the process; it then takes none. Exit 2 when an address or the form of the packet path cannot be used, 1 when a thread
for the database has ended by a fault.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import os
import signal
import sys
import time
from collections.abc import Callable

import django
import uvloop

from cleac_site import memory

memory.keep_off_the_disk()
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "cleac_site.settings")
django.setup()

from django.conf import settings  # noqa: E402 - reason: the settings module must be named first

from calls.control import Control  # noqa: E402 - reason: models need loaded apps
from calls.media import clock, forms  # noqa: E402 - reason: after django.setup, with its neighbours
from calls.media.addresses import as_told  # noqa: E402 - reason: after django.setup, with its neighbours
from calls.media.edge import Edge  # noqa: E402 - reason: as above
from calls.media.native.library import Unusable  # noqa: E402 - reason: as above
from calls.media.orders import Answer, Order  # noqa: E402 - reason: as above
from calls.media.worker import Worker  # noqa: E402 - reason: as above
from calls.placement import Load  # noqa: E402 - reason: as above
from recordings import capture as recording  # noqa: E402 - reason: as above

WATCH_EVERY = 1.0  # seconds between two looks at the database's thread: a worker without it is of no use
LATELY = 5.0  # seconds over which the share of a core is averaged
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
        form = forms.chosen(env.media_path)
        edge = await Edge.bind(env.media_udp_host, env.media_udp_port, as_told(env.media_public_ip), tcp=env.media_tcp, form=form)
    except Unusable as fault:
        return refuse("the native packet path", str(fault), "CLEAC_MEDIA_PATH")
    except OSError as error:
        return refuse(f"media port {env.media_udp_host}:{env.media_udp_port}", error.strerror, "CLEAC_MEDIA_UDP_HOST and CLEAC_MEDIA_UDP_PORT")
    control: Control | None = None

    def ask(order: Order) -> None:
        if control is not None:  # before it exists no call is known, and no pipe has its token
            control.ask(order)

    worker = Worker(edge, env.pipe_key.get_secret_value().encode(), ask, env.media_last_n)
    capture = recording.Capture(worker, ask)
    try:
        address = await worker.listen(env.media_control_host, env.media_control_port, env.media_control_advertise)
    except OSError as error:
        await edge.close()
        return refuse(f"TCP {env.media_control_host}:{env.media_control_port}", error.strerror, "CLEAC_MEDIA_CONTROL_HOST or _PORT")

    def answered(answer: Answer) -> None:
        loop.call_soon_threadsafe(worker.tell, answer)

    processor = Processor()

    def load() -> Load:
        return Load(worker.forwarded, processor.share(), env.media_capacity)

    control = Control(address, answered, wish=recording.wish, handlers=recording.HANDLERS, load=load)
    control.start()
    capture.start()
    print(f"media worker ready udp={edge.port} control={address.rpartition(':')[2]} path={form}", flush=True)
    await until_stopped(asked_to_stop, control, worker, capture)
    in_order = control.in_order
    control.drain()
    await capture.drain("moved")
    await worker.drain()
    await asyncio.to_thread(control.stop, PATIENCE)
    await edge.close()
    return 0 if in_order else 1


async def until_stopped(asked_to_stop: asyncio.Event, control: Control, worker: Worker, capture: recording.Capture) -> None:
    """Return when this process is to end. An operator who drains it leaves it alive: its calls go, once, when their time is over."""
    moved = False
    while not asked_to_stop.is_set() and control.in_order:
        if not moved and worker.leaves_at is not None and worker.leaves_at <= clock.now():
            moved = True
            await capture.drain("moved")
            await worker.move()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(asked_to_stop.wait(), WATCH_EVERY)


class Processor:
    """The part of one core that this process has used of late; more than 1 where several threads ran at once.

    It is averaged over `LATELY`, from nothing at the start: a second of work, as a start or a join takes, is no load.
    """

    def __init__(self, used: Callable[[], float] = time.process_time, clock: Callable[[], float] = time.monotonic) -> None:
        self._read_used, self._clock = used, clock
        self._used, self._at, self._share = used(), clock(), 0.0

    def share(self) -> float:
        used, at = self._read_used(), self._clock()
        elapsed = max(at - self._at, 0.001)
        self._share += ((used - self._used) / elapsed - self._share) * (1 - math.exp(-elapsed / LATELY))
        self._used, self._at = used, at
        return self._share


def refuse(what: str, reason: str | None, option: str) -> int:
    print(f"media worker: {what} cannot be used ({reason}): change {option}", file=sys.stderr, flush=True)
    return 2


if __name__ == "__main__":
    sys.exit(main())
