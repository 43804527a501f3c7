"""The project's own Python files, parsed once."""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
APPS = ("cleac_site", "tenants", "calls", "consent", "recordings", "compliance")


@cache
def modules() -> dict[str, ast.Module]:
    """Path relative to the project -> syntax tree, migrations left out."""
    found = {}
    for app in APPS:
        for path in sorted((ROOT / app).rglob("*.py")):
            if "migrations" not in path.parts:
                found[str(path.relative_to(ROOT))] = ast.parse(path.read_text())
    return found


def lines(path: str) -> list[str]:
    return (ROOT / path).read_text().splitlines()
