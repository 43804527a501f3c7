"""What a page sends, read without mercy: no name twice, no unknown kind, no unknown or missing field, no value of another type or size.

And above all no word of the page on who it is. Identity, role and tenant come from the ticket; a page that claims them is refused by the
claim's name (`IDENTITY`).
"""

from __future__ import annotations

import json
import types
from dataclasses import fields, is_dataclass
from functools import cache
from typing import Annotated, Any, Literal, NoReturn, Union, get_args, get_origin, get_type_hints

from tenants.errors import Refused

from . import IDENTITY, LARGEST, Message, Table


class Malformed(Refused):
    """What the page sent is no message of the protocol: it is told the code, and its socket is closed."""


def parse(text: str | bytes | None, table: Table) -> Message:
    """The message in one frame of a page. Raises Malformed with a code and, where it has one, the name of the field.

    Codes: `not-text`, `too-large`, `not-json`, `duplicate-key`, `not-an-object`, `unknown-kind`, `identity-claimed`,
    `unknown-field`, `missing-field`, `wrong-type`, `out-of-range`.
    """
    if not isinstance(text, str):
        raise Malformed("not-text")
    if len(text) > LARGEST or len(text.encode(errors="replace")) > LARGEST:
        raise Malformed("too-large", limit=LARGEST)
    try:
        content = json.loads(text, object_pairs_hook=_without_duplicates, parse_constant=_no_constant)
    except (ValueError, RecursionError):
        raise Malformed("not-json") from None
    if not isinstance(content, dict):
        raise Malformed("not-an-object")
    kind = content.pop("kind", None)
    message = table.get(kind) if isinstance(kind, str) else None
    if message is None:
        raise Malformed("unknown-kind")
    made = _made(message, content)
    assert isinstance(made, Message)
    return made


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise Malformed("duplicate-key")
    return found


def _no_constant(name: str) -> NoReturn:
    raise ValueError(name)  # RFC 8259 section 6 knows no NaN and no Infinity


@cache
def fields_of(made: type) -> dict[str, Any]:
    """Field -> type with its limits, in the order of the fields."""
    hints = get_type_hints(made, include_extras=True)
    return {field.name: hints[field.name] for field in fields(made)}


def _made(made: type, content: dict[str, Any]) -> Any:
    hints = fields_of(made)
    for name in content:
        if name not in hints:
            # The name of an unknown field is the page's own text, so it is not repeated.
            raise Malformed("identity-claimed", field=name) if name in IDENTITY else Malformed("unknown-field")
    for name in hints:
        if name not in content:
            raise Malformed("missing-field", field=name)
    return made(**{name: _value(hint, content[name], name) for name, hint in hints.items()})


def _value(hint: Any, value: Any, name: str) -> Any:
    """`value` as the type that a field asks for. A bool is no number, and no number is taken for another type."""
    if get_origin(hint) is Annotated:
        hint, limit = get_args(hint)
        checked = _value(hint, value, name)
        if not limit.least <= (checked if isinstance(checked, int) else len(checked)) <= limit.most:
            raise Malformed("out-of-range", field=name)
        return checked
    if get_origin(hint) is Literal:
        if isinstance(value, str) and value in get_args(hint):
            return value
        raise Malformed("out-of-range" if isinstance(value, str) else "wrong-type", field=name)
    if get_origin(hint) in (types.UnionType, Union):
        return None if value is None else _value(get_args(hint)[0], value, name)
    if get_origin(hint) is list and isinstance(value, list):
        return [_value(get_args(hint)[0], member, name) for member in value]
    if get_origin(hint) is dict and isinstance(value, dict):
        return {_value(str, key, name): _value(get_args(hint)[1], member, name) for key, member in value.items()}
    if is_dataclass(hint) and isinstance(hint, type) and isinstance(value, dict):
        return _made(hint, value)
    if type(value) is not hint:
        raise Malformed("wrong-type", field=name)
    if hint is str and not _is_unicode(value):
        raise Malformed("wrong-type", field=name)
    return value


def _is_unicode(text: str) -> bool:
    """False for half of a surrogate pair, which JSON can spell and UTF-8 cannot."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
