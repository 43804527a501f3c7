"""`manage.py tenant create|list|key`: the houses on this installation."""

from __future__ import annotations

import argparse
import json
import sys
from datetime import date
from typing import Any, NoReturn

from django.core.exceptions import ValidationError
from django.core.management.base import BaseCommand, CommandParser
from django.core.validators import validate_email
from django.db import Error as DatabaseFault
from django.utils import timezone
from rich.console import Console
from rich.table import Table

from cleac_site import founding
from tenants import accounts, queries, scope, services
from tenants.errors import Refused
from tenants.permissions import SCOPES, Actor

FAULT, WRONG_USE = 1, 2
REFUSALS = {
    "slug-malformed": "SLUG has 1 to 40 small letters, digits and hyphens, and begins and ends with a letter or digit",
    "name-malformed": "--name is too long or empty",
    "slug-taken": "there is a tenant of this SLUG already",
    "unknown-tenant": "there is no tenant of this SLUG",
    "ends-in-the-past": "--last-day lies in the past",
    "ends-too-late": "--last-day is where no calendar goes",
    "too-many-keys": "the tenant has too many keys; revoke one on its page of API keys",
}


class OneLineParser(CommandParser):
    """Wrong use is one line and exit 2."""

    def error(self, message: str) -> NoReturn:
        self.exit(WRONG_USE, f"{self.prog}: {message}\n")


def address(text: str) -> str:
    try:
        validate_email(text)
    except ValidationError:
        raise argparse.ArgumentTypeError(f"{text!r} is no e-mail address") from None
    return text.lower()


def day(text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no day like 2027-01-31") from None


class Command(BaseCommand):
    help = (
        "Make a tenant with its keys, notices and first owner, list the tenants, or make an API key. Exit 1 when it cannot be done, 2 for wrong use."
    )

    def create_parser(self, prog_name: str, subcommand: str, **kwargs: Any) -> CommandParser:
        parser = OneLineParser(prog=f"{prog_name} {subcommand}", description=self.help, called_from_command_line=True)
        self.add_base_argument(parser, "--settings", help="the Python path of a settings module")
        self.add_base_argument(parser, "--pythonpath", help="a folder to add to the Python path")
        self.add_base_argument(parser, "--traceback", action="store_true", help="raise on CommandError")
        self.add_base_argument(parser, "--no-color", action="store_true", help="no colours")
        self.add_base_argument(parser, "--force-color", action="store_true", help="colours in any case")
        self.add_base_argument(parser, "--skip-checks", action="store_true", help="skip system checks")
        parser.add_argument("-v", "--verbosity", type=int, default=1, help=argparse.SUPPRESS)
        self.add_arguments(parser)
        return parser

    def add_arguments(self, parser: CommandParser) -> None:
        actions = parser.add_subparsers(dest="action", required=True, metavar="create|list|key", parser_class=OneLineParser)
        create = actions.add_parser("create", help="a new tenant; its owner is mailed how to sign in")
        create.add_argument("slug", metavar="SLUG", help="its name in addresses: /t/SLUG/")
        create.add_argument("--name", required=True, help="its name on pages, in notices and mails")
        create.add_argument("--owner-email", required=True, type=address, help="its first owner")
        create.add_argument("--owner-name", default="", help="the owner's name (default: the address before the @)")
        create.add_argument("--contact-email", type=address, help="whom guests may ask (default: the owner's address)")
        create.add_argument("--json", action="store_true", help="{slug, id, name, owner, sign_in}")
        key = actions.add_parser("key", help="a key for the REST API, shown this once")
        key.add_argument("--tenant", required=True, metavar="SLUG")
        key.add_argument("--name", required=True, help="which program uses it")
        key.add_argument("--scope", required=True, action="append", choices=list(SCOPES), help="what it may do; may be given several times")
        end = key.add_mutually_exclusive_group()
        end.add_argument("--last-day", type=day, default=timezone.localdate() + services.KEY_LIFE, metavar="DAY", help="it works through this day")
        end.add_argument("--no-end", action="store_true", help="it works until somebody revokes it (default: a year)")
        key.add_argument("--json", action="store_true", help="{tenant, id, name, scopes, last_day, api_key}")
        listing = actions.add_parser("list", help="all tenants")
        listing.add_argument("--json", action="store_true", help="a list of {slug, id, name, created_at, members}")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            if options["action"] == "create":
                self._create(options)
            elif options["action"] == "key":
                self._key(options)
            else:
                self._list(as_json=options["json"])
        except Refused as refused:
            self._fail(REFUSALS.get(refused.code, refused.code), FAULT if refused.status >= 409 else WRONG_USE)
        except DatabaseFault as error:
            said = (str(error).strip().splitlines() or [type(error).__name__])[0]
            self._fail(f"the database cannot be used ({said}); `manage.py migrate` prepares one that answers", FAULT)

    def _fail(self, words: str, code: int) -> NoReturn:
        self.stderr.write(f"tenant: {words}")
        sys.exit(code)

    def _create(self, options: dict[str, Any]) -> None:
        email = options["owner_email"]
        tenant, owner = founding.found(
            slug=options["slug"],
            name=options["name"],
            contact_email=options["contact_email"] or email,
            owner_name=options["owner_name"] or email.partition("@")[0],
            owner_email=email,
            by=Actor.operator("tenant-create"),
            at=timezone.now(),
        )
        link = accounts.entrance(owner.user)
        if options["json"]:
            found = {"slug": tenant.slug, "id": str(tenant.pk), "name": tenant.name, "owner": email, "sign_in": link}
            self.stdout.write(json.dumps(found, indent=2))
        else:
            self.stdout.write(f"{tenant.name} is open at /t/{tenant.slug}/. A mail to {email} is on its way; the link in it, to hand over:")
            self.stdout.write(link)

    def _key(self, options: dict[str, Any]) -> None:
        tenant = queries.tenant_by_slug(options["tenant"])
        if tenant is None:
            raise Refused("unknown-tenant", 409)
        with scope.entered(tenant):
            by, at = Actor.operator("tenant-key"), timezone.now()
            last_day = None if options["no_end"] else options["last_day"]
            key, secret = services.issue_api_key(name=options["name"], scopes=options["scope"], last_day=last_day, by=by, at=at)
        if options["json"]:
            made = {"tenant": tenant.slug, "id": str(key.pk), "name": key.name, "scopes": key.scopes}
            made |= {"last_day": last_day.isoformat() if last_day else None, "api_key": secret}
            self.stdout.write(json.dumps(made, indent=2))
        else:
            self.stdout.write(secret)

    def _list(self, *, as_json: bool) -> None:
        found = [
            {"slug": one.slug, "id": str(one.pk), "name": one.name, "created_at": f"{one.created_at:%Y-%m-%dT%H:%M:%SZ}", "members": members}
            for one, members in queries.tenants()
        ]
        if as_json:
            self.stdout.write(json.dumps(found, indent=2))
            return
        table = Table("slug", "name", "created at", "members", "id", box=None, pad_edge=False)
        for row in found:
            table.add_row(*(str(row[column]) for column in ("slug", "name", "created_at", "members", "id")))
        console = Console()
        with console.capture() as text:
            console.print(table)
        self.stdout.write(text.get())
