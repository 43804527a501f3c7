from django.apps import AppConfig


class CleacSiteConfig(AppConfig):
    name = "cleac_site"

    def ready(self) -> None:
        from . import checks  # noqa: F401, PLC0415 - reason: checks register themselves once settings are loaded
