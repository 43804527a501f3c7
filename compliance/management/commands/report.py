"""`manage.py report dpo`: the data protection officer's report of one tenant for a span of days."""

from __future__ import annotations

import os
import sys
from datetime import date
from errno import EISDIR
from pathlib import Path
from typing import Any, NoReturn

from django.conf import settings
from django.core.management.base import BaseCommand, CommandParser
from django.db import Error as DatabaseFault
from django.utils import timezone, translation

from compliance.reports import document, making
from tenants import queries, scope
from tenants.permissions import Actor

FAULT, WRONG_USE = 1, 2
BY = Actor.operator("report")


class Command(BaseCommand):
    help = "Prove what is stored for a tenant and write its report. Exit 1 when it cannot be made, 2 for wrong use."

    def add_arguments(self, parser: CommandParser) -> None:
        kinds = parser.add_subparsers(dest="kind", required=True, metavar="dpo")
        dpo = kinds.add_parser("dpo", help="figures of meetings, decisions, recordings, requests, and what proves them")
        dpo.add_argument("--tenant", required=True, metavar="SLUG")
        dpo.add_argument("--from", dest="start", required=True, metavar="DAY", help="the first day, as 2026-10-01")
        dpo.add_argument("--to", dest="end", required=True, metavar="DAY", help="the last day, which is in it")
        dpo.add_argument("--lang", default="en", help="the language of the PDF (default: en)")
        dpo.add_argument("-o", dest="file", required=True, type=Path, metavar="FILE", help="the form follows its suffix: .pdf or .json")

    def handle(self, *args: Any, **options: Any) -> None:
        form, start, end = self._form(options["file"]), self._day(options["start"]), self._day(options["end"])
        if end < start:
            self._fail(f"--to {end} is before --from {start}", WRONG_USE)
        if options["lang"] not in dict(settings.LANGUAGES):
            self._fail(f"there is no translation {options['lang']!r}; there is: {', '.join(dict(settings.LANGUAGES))}", WRONG_USE)
        tenant = queries.tenant_by_slug(options["tenant"])
        if tenant is None:
            self._fail(f"there is no tenant {options['tenant']!r}; `manage.py tenant list` shows them all", WRONG_USE)
        draft = options["file"].with_name(f".{options['file'].name}.{os.getpid()}")  # what was there before stays until the new one is whole
        try:
            if options["file"].is_dir():
                raise IsADirectoryError(EISDIR, os.strerror(EISDIR))
            file = draft.open("xb")  # before anything is made: a report that cannot be kept leaves no entry
        except OSError as error:
            self._fail(f"{options['file']} cannot be written: {error.strerror}", WRONG_USE)
        try:
            with file, translation.override(options["lang"]):
                making.prove(tenant=tenant, everybody=[one for one, _members in queries.tenants()], by=BY, at=timezone.now())
                with scope.entered(tenant):
                    made = making.make(start=start, end=end, form=form, by=BY, at=timezone.now())
                    file.write(made.content)
                    file.flush()
                    draft.replace(options["file"])
        except (DatabaseFault, OSError) as error:
            said = (str(error).strip().splitlines() or [type(error).__name__])[0]
            self._fail(f"it could not be made ({said})", FAULT)
        finally:
            draft.unlink(missing_ok=True)
        self.stdout.write(f"{options['file']}: document {made.id}")

    def _form(self, file: Path) -> str:
        form = file.suffix.removeprefix(".").lower()
        if form not in document.MAKERS:
            later = " (not built yet)" if form in ("xlsx", "csv") else ""
            self._fail(f"no report has the suffix {file.suffix!r}{later}; there are: {', '.join(f'.{name}' for name in document.MAKERS)}", WRONG_USE)
        return form

    def _day(self, text: str) -> date:
        try:
            return date.fromisoformat(text)
        except ValueError:
            self._fail(f"{text!r} is no day such as 2026-10-01", WRONG_USE)

    def _fail(self, words: str, code: int) -> NoReturn:
        self.stderr.write(f"report: {words}")
        sys.exit(code)
