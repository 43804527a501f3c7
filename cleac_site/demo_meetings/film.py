"""The recorded meeting as it is played: three people with a made camera and microphone each, through the front door, in real time."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import AsyncExitStack
from functools import partial

from calls.media.client import Participant

NUMBERS = {"Hana": 1, "Gail": 2, "Gus": 3}  # burned into each one's picture
WITHDRAWS, AGREES_AGAIN, ENDS = 8.0, 12.0, 20.0  # seconds since the recording was asked for
CAMERA = "record-camera"


async def play(*, base: str, sign_in: str, room: str, links: Mapping[str, str]) -> str:
    """Hana records. Gail agrees, withdraws her camera and agrees again; Gus declines and is never kept. Returns the recording's id.

    `sign_in` is Hana's address, `room` that of the meeting's room, `links` the personal links of both guests.
    """
    async with AsyncExitStack() as ending:
        hana, gail, gus = (Participant(name, number, base) for name, number in NUMBERS.items())
        for one in (hana, gail, gus):
            ending.push_async_callback(one.close)
        await hana.sign_in(sign_in, room)
        await hana.answer(lambda purpose: True)
        await hana.join("mic", "cam")
        for guest, granted in ((gail, True), (gus, False)):
            await guest.open_link(links[guest.name])
            await _let_in(hana, guest, granted)
            await guest.join("mic", "cam")
        for listener in (hana, gail, gus):
            await listener.until("everybody is heard and seen", partial(_hears_the_others, listener))
        recording = await hana.record()
        await _recorded(hana, gail)
        await hana.end()
        return recording


async def _let_in(host: Participant, guest: Participant, granted: bool) -> None:
    async with asyncio.TaskGroup() as together:
        together.create_task(guest.answer(lambda purpose: granted))
        together.create_task(host.admit(guest.name))


def _hears_the_others(listener: Participant) -> bool:
    others = [name for name in NUMBERS if name != listener.name]
    return all(listener.hears(name, source) for name in others for source in ("mic", "cam"))


async def _recorded(hana: Participant, gail: Participant) -> None:
    """The twenty seconds. Each answer is given at its time, and its effect is waited for in the room."""
    clock = asyncio.get_running_loop().time
    began = clock()

    def marked(mark: str) -> bool:
        return gail.marks_of("Gail").get("cam") == mark

    await gail.until("her camera is kept", lambda: marked("captured"))
    await hana.until("her voice is kept", lambda: hana.marks_of("Hana").get("mic") == "captured")
    await asyncio.sleep(began + WITHDRAWS - clock())
    await gail.decide(CAMERA, False)
    await gail.until("her camera is kept no more", lambda: marked("declined"))
    await asyncio.sleep(began + AGREES_AGAIN - clock())
    await gail.decide(CAMERA, True)
    await gail.until("her camera is kept again", lambda: marked("captured"))
    await asyncio.sleep(began + ENDS - clock())
