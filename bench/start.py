"""First and second start of `manage.py run`: from the command to the address that answers. The environment is made already."""

from __future__ import annotations

import tempfile
from pathlib import Path

from .report import Report
from .site import running


def measure(report: Report, seconds: float) -> None:
    """Three folders; in each a first start, then a second one."""
    first, second = [], []
    for _ in range(3):
        with tempfile.TemporaryDirectory(prefix="cleac-bench-") as folder:
            data = Path(folder) / "data"
            with running(data) as site:
                first.append(site.seconds)
            with running(data) as site:
                second.append(site.seconds)
    report.spread("first start", first, "s")
    report.spread("second start", second, "s")
