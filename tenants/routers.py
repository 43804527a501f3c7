"""Which database holds a model: sealed keys live apart, in the alias `keys`, with short backups of their own (D18)."""

from __future__ import annotations

from typing import Any

from django.db.models import Model

KEY_MODELS = frozenset({"tenantkey", "sealedkey"})


class KeysRouter:
    """Sends the key models to `keys` and everything else to `default`. No relation crosses."""

    def _alias(self, app_label: str, model_name: str | None) -> str:
        return "keys" if app_label == "tenants" and model_name in KEY_MODELS else "default"

    def db_for_read(self, model: type[Model], **hints: Any) -> str:
        return self._alias(model._meta.app_label, model._meta.model_name)

    db_for_write = db_for_read

    def allow_relation(self, one: Model, other: Model, **hints: Any) -> bool:
        return self.db_for_read(type(one)) == self.db_for_read(type(other))

    def allow_migrate(self, db: str, app_label: str, model_name: str | None = None, **hints: Any) -> bool:
        if model_name is None:
            return db == str(hints.get("target_db", "default"))
        return self._alias(app_label, model_name) == db
