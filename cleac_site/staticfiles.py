from servestatic.storage import CompressedManifestStaticFilesStorage


class HashedStorage(CompressedManifestStaticFilesStorage):  # type: ignore[misc]  # reason: servestatic ships no types
    """Hashed, compressed names; imports between modules are rewritten to the hashed names too."""

    support_js_module_import_aggregation = True
