"""A process with media in clear in its memory leaves no image of it when it falls."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.stack import Stack

LIMIT = re.compile(r"^Max core file size\s+(\S+)\s+(\S+)", re.MULTILINE)


def family(pid: int) -> list[int]:
    """A process and everybody it has started."""
    children = [int(child) for task in Path(f"/proc/{pid}/task").iterdir() for child in (task / "children").read_text().split()]
    return [pid, *(one for child in children for one in family(child))]


@pytest.mark.parametrize("door", ["web", "jobs", "media"])
def test_no_process_that_opens_media_may_write_an_image_of_its_memory(stack: Stack, door: str) -> None:
    limits = {pid: LIMIT.search(Path(f"/proc/{pid}/limits").read_text()) for pid in family(stack.processes[door].pid)}

    assert {pid: found.groups() for pid, found in limits.items() if found} == dict.fromkeys(limits, ("0", "0"))
