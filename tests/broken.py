"""Rows that the database does not let anybody touch: what a job meets when one thing of many is broken."""

from __future__ import annotations

from django.db import connection
from django.db.models import Model

REFUSE = """
CREATE FUNCTION refuse_a_row() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
  IF OLD.id::text = TG_ARGV[0] THEN RAISE EXCEPTION 'broken on purpose'; END IF;
  IF TG_OP = 'DELETE' THEN RETURN OLD; END IF;
  RETURN NEW;
END $$;
"""


def broken(row: Model) -> None:
    """From now on until the end of the test's transaction, whoever changes or deletes this row gets an error. Once in a test."""
    table = row._meta.db_table
    with connection.cursor() as cursor:
        cursor.execute(REFUSE)
        cursor.execute(
            f"CREATE TRIGGER refuse BEFORE UPDATE OR DELETE ON {table} FOR EACH ROW EXECUTE FUNCTION refuse_a_row('{row.pk}')"  # noqa: S608 - reason: names of ours
        )
