"""The second wall (D9): PostgreSQL shows and takes only rows of the tenant that `scope` has named to it, whichever way a query comes.

Migrations build it, table by table, with `walled`; SQLite has no such wall and is left as it is. What holds it:
- It is forced, so it holds for the tables' owner too, which the application is. A superuser and a role with BYPASSRLS walk past it:
  `role_walks_past` says whether ours does.
- Without a tenant there is nothing: no row is found, none can be written. The name ends with the transaction.
- A row cannot point over the wall: what it refers to, where that belongs to a tenant, must belong to the same one. PostgreSQL's own check
  of a foreign key would not notice, it looks past the wall. Left out are references to rows of the same table: a policy may not ask its
  own table.
- What adds such a reference to a table later, or a table, says `walled` again; a house test compares the wall with the models.

It is a wall against our own mistakes. Whoever can send any statement as the application's role can also name any tenant.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from django.core.exceptions import FieldDoesNotExist
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.base.schema import BaseDatabaseSchemaEditor
from django.db.migrations.operations.base import Operation
from django.db.migrations.state import ProjectState
from django.db.models import ForeignKey, Model

POLICY = "one_tenant"
CURRENT = "(SELECT nullif(current_setting('cleac.tenant', true), '')::uuid)"  # a subquery, so that it is computed once for a statement


def walled(*names: str) -> Operation:
    """A migration operation that puts tables behind the wall.

    A name is that of a model of the migration's app with a tenant ("artefact"), or of a many-to-many field ("artefact.epochs"), whose rows
    belong to where the model's row belongs. A table that is behind the wall already gets the policy that its fields ask for now.
    """
    return Walled(*names)


class Walled(Operation):
    """Row security, forced, and one policy for each table. Undone, the tables stand open."""

    reversible = True

    def __init__(self, *names: str) -> None:
        self.names = names

    def state_forwards(self, app_label: str, state: ProjectState) -> None:
        """Models do not know of it."""

    def database_forwards(self, app_label: str, schema_editor: BaseDatabaseSchemaEditor, from_state: ProjectState, to_state: ProjectState) -> None:
        for wall in self._walls(app_label, schema_editor, to_state):
            for statement in wall.built():
                schema_editor.execute(statement)

    def database_backwards(self, app_label: str, schema_editor: BaseDatabaseSchemaEditor, from_state: ProjectState, to_state: ProjectState) -> None:
        for wall in self._walls(app_label, schema_editor, from_state):
            for statement in wall.taken_down():
                schema_editor.execute(statement)

    def describe(self) -> str:
        return f"Put {', '.join(self.names)} behind row security"

    def _walls(self, app_label: str, schema_editor: BaseDatabaseSchemaEditor, state: ProjectState) -> Iterator[Wall]:
        """None on another kind of database, nor for a model that lives elsewhere."""
        if schema_editor.connection.vendor != "postgresql":
            return
        for name in self.names:
            model_name, _, field = name.partition(".")
            model = state.apps.get_model(app_label, model_name)
            if self.allow_migrate_model(schema_editor.connection.alias, model):
                yield wall_of_pairs(model, field) if field else wall_of(model)


@dataclass(frozen=True)
class Wall:
    """One table's policy: which rows exist, and which may be written. Both are SQL conditions over a row of the table."""

    table: str
    seen: str
    written: str

    def built(self) -> list[str]:
        """Statements that put it up, in place of an older one."""
        return [
            f"ALTER TABLE {self.table} ENABLE ROW LEVEL SECURITY",
            f"ALTER TABLE {self.table} FORCE ROW LEVEL SECURITY",
            f"DROP POLICY IF EXISTS {POLICY} ON {self.table}",
            f"CREATE POLICY {POLICY} ON {self.table} USING ({self.seen}) WITH CHECK ({self.written})",
        ]

    def taken_down(self) -> list[str]:
        """Statements that take it away."""
        return [
            f"DROP POLICY IF EXISTS {POLICY} ON {self.table}",
            f"ALTER TABLE {self.table} NO FORCE ROW LEVEL SECURITY",
            f"ALTER TABLE {self.table} DISABLE ROW LEVEL SECURITY",
        ]


def wall_of(model: type[Model]) -> Wall:
    """The wall of a model with a tenant."""
    own = f"tenant_id = {CURRENT}"
    return Wall(model._meta.db_table, own, " AND ".join([own, *(_same_tenant(model, field) for field in references(model))]))


def wall_of_pairs(model: type[Model], field: str) -> Wall:
    """The wall of a many-to-many table: a pair is where its model's row is; to be written, both sides must be there."""
    pairs: Any = model._meta.get_field(field).remote_field
    own, other = [_same_tenant(pairs.through, side) for side in references(pairs.through, first=model)]
    return Wall(pairs.through._meta.db_table, own, f"{own} AND {other}")


def references(model: type[Model], first: type[Model] | None = None) -> list[ForeignKey[Any, Any]]:
    """Fields that point at something else which belongs to a tenant: those that point at `first`, then the others, each by name."""
    keys = [field for field in model._meta.local_fields if isinstance(field, ForeignKey) and field.related_model is not model]
    found = [field for field in keys if _has_tenant(field.related_model)]
    return sorted(found, key=lambda field: (field.related_model is not first, field.column))


def _has_tenant(model: Any) -> bool:
    try:
        model._meta.get_field("tenant")
    except FieldDoesNotExist:
        return False
    return True


def _same_tenant(model: type[Model], field: ForeignKey[Any, Any]) -> str:
    """The condition that a reference of a row stays inside the tenant, or is empty."""
    target: Any = field.related_model
    key = f"{model._meta.db_table}.{field.column}"
    found = f"SELECT 1 FROM {target._meta.db_table} of WHERE of.{target._meta.pk.column} = {key}"  # noqa: S608 - reason: names of our own models
    inside = f"EXISTS ({found} AND of.tenant_id = {CURRENT})"
    return f"({key} IS NULL OR {inside})" if field.null else inside


def role_walks_past(connection: BaseDatabaseWrapper) -> str:
    """The name of the role that a connection to PostgreSQL has, if row security does not hold for it; else nothing."""
    if connection.vendor != "postgresql":
        return ""
    with connection.cursor() as cursor:
        cursor.execute("SELECT rolname FROM pg_roles WHERE rolname = current_user AND (rolsuper OR rolbypassrls)")
        found = cursor.fetchone()
    return str(found[0]) if found else ""
