"""Every reader of what others wrote, with what must hold whatever it is given."""

from __future__ import annotations

from ..engine import Target
from . import control, datagrams, depacketiser, descriptions, extensions, files, messages, packets

TARGETS: dict[str, Target] = {
    target.name: target
    for target in (
        datagrams.TARGET,
        descriptions.TARGET,
        packets.TARGET,
        control.TARGET,
        extensions.TARGET,
        depacketiser.TARGET,
        messages.TARGET,
        files.JOURNAL,
        files.PLAYBACK,
    )
}
