"""How production names its static files."""

from __future__ import annotations

from servestatic.storage import CompressedManifestStaticFilesStorage


class HashedStorage(CompressedManifestStaticFilesStorage):  # type: ignore[misc]  # reason: servestatic ships no types
    """Hashed, compressed names; imports between modules are rewritten to the hashed names too.

    Two modules that import each other, were it only in a comment about types, have no such names: collecting fails.
    """

    support_js_module_import_aggregation = True
