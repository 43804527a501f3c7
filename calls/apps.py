from django.apps import AppConfig


class CallsConfig(AppConfig):
    name = "calls"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        from . import personal_data, receivers  # noqa: F401, PLC0415 - reason: declarations and receivers need loaded models
