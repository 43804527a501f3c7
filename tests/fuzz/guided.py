"""`python -m tests.fuzz.guided NAME FOLDER SECONDS`: one target under atheris, which keeps every input that reaches new code in FOLDER.

Only our own readers are instrumented, and what they import of others to read with. Exit 77 on a violation, whose input lies in `FOLDER/violations`.
"""

from __future__ import annotations

import logging
import sys
from pathlib import Path

import atheris

OURS = ["calls", "recordings", "tenants.errors", "aioice.stun", "aiortc.rtp", "aiortc.rtcrtpreceiver", "json"]


def main(name: str, folder: Path, seconds: int) -> None:
    with atheris.instrument_imports(include=OURS):
        from tests.fuzz.targets import TARGETS  # noqa: PLC0415 - reason: it must be imported while atheris listens

    logging.disable(logging.CRITICAL)
    target = TARGETS[name]
    corpus = folder / "corpus"
    options = [f"-max_total_time={seconds}", f"-artifact_prefix={folder / 'violations'}/", "-max_len=4096", "-rss_limit_mb=2048", "-timeout=10"]
    atheris.Setup([sys.argv[0], *options, "-print_final_stats=1", str(corpus)], target.run)
    atheris.Fuzz()


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]))
