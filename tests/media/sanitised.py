"""`python -m tests.media.sanitised LIBRARY TESTS...`: tests with another build of the packet path in C. Exits as pytest does."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from calls.media.native import build

if __name__ == "__main__":
    build.library = lambda prefix=None: Path(sys.argv[1])
    sys.exit(pytest.main(["-q", "-p", "no:cacheprovider", "-p", "no:xdist", *sys.argv[2:]]))
