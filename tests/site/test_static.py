"""What production serves as static files."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from django.core.management import call_command

IMPORT = re.compile(r"""(?:\bfrom\s*|\bimport\s*\(?\s*)["'](\.{1,2}/[^"']+\.js)["']""")


def test_production_collects_hashed_files_whose_modules_import_only_each_other(tmp_path: Path, settings: Any) -> None:
    """A name says its content, so no page can mix modules of two versions."""
    settings.STATIC_ROOT = str(tmp_path)
    settings.STORAGES = {**settings.STORAGES, "staticfiles": {"BACKEND": "cleac_site.staticfiles.HashedStorage"}}

    call_command("collectstatic", interactive=False, verbosity=0)

    [room] = [path for path in (tmp_path / "calls").glob("room.*.js") if path.name != "room.js"]
    waiting, seen = [room], {room}
    while waiting:
        module = waiting.pop()
        for name in IMPORT.findall(module.read_text()):
            imported = (module.parent / name).resolve()
            assert re.fullmatch(r"[a-z]+\.[0-9a-f]{12}\.js", imported.name)
            assert imported.exists()
            waiting += [imported] if imported not in seen else []
            seen.add(imported)
    assert {path.name.split(".")[0] for path in seen} >= {"room", "controls", "signalling", "protocol"}
