"""Media workers as processes of their own, on the test database."""

from __future__ import annotations

import subprocess
import sys
import time
from typing import Any

from django.conf import settings

from calls import placement
from calls.media import wire
from calls.models import Participant, Worker
from tests import stack

PATIENCE = 60.0


class Process:
    """`python -m cleac_site.mediaworker` on the test database."""

    def __init__(self, **environment: str) -> None:
        command = [sys.executable, "-m", "cleac_site.mediaworker"]
        env = stack.child_environment() | {"CLEAC_MEDIA_UDP_PORT": "0"} | environment
        self.running = subprocess.Popen(command, cwd=stack.ROOT, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def ready(self) -> str:
        """The control address, once it is up and registered."""
        assert self.running.stdout is not None
        line = self.running.stdout.readline()
        words = dict(word.split("=") for word in line.split() if "=" in word)
        assert line.startswith("media worker ready udp="), self.running.stderr.read() if self.running.stderr else ""
        deadline = time.monotonic() + PATIENCE
        address = f"127.0.0.1:{words['control']}"
        while not Worker.objects.filter(control_address=address).exists():
            assert time.monotonic() < deadline
        return address

    def end(self, number: int) -> tuple[int, str]:
        """Exit code and what it said on the error stream."""
        if self.running.poll() is None:
            self.running.send_signal(number)
        _, said = self.running.communicate(timeout=PATIENCE)
        return self.running.returncode, said


async def pipe_to(place: placement.Place, participant: Participant) -> wire.Connection:
    """A pipe of this participant to the worker at `place`, as a web process opens it."""
    key = settings.CLEAC.pipe_key.get_secret_value().encode()
    ids: dict[str, Any] = {"tenant": participant.tenant_id, "call": participant.call_id, "participant": participant.pk}
    token = wire.participant_token(key, address=place.address, **ids, fence=place.fence, epoch=participant.epoch, now=time.time())
    return await wire.connect(place.address, token)
