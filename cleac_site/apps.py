from django.apps import AppConfig


class CleacSiteConfig(AppConfig):
    name = "cleac_site"

    def ready(self) -> None:
        from . import celery, checks  # noqa: F401, PLC0415 - reason: checks and the broker need loaded settings
