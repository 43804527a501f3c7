"""Who writes rows and who writes entries of the log, read from the source.

A function *writes* when it, or a private function of its module that it reaches through private ones, calls something that writes rows. Public
functions answer for their private helpers, so only public ones are found here, and private ones that no public one of the module reaches.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from configparser import ConfigParser
from dataclasses import dataclass, field
from functools import cache

from django.apps import apps

from .source import ROOT, modules

KIND = re.compile(r"[a-z][a-z0-9_]*\.[a-z][a-z0-9_]*")
SQL = re.compile(r"\s*(INSERT|UPDATE|DELETE|TRUNCATE)\s")
ONE_BY_ONE = {"save", "create", "create_user", "get_or_create", "update_or_create", "update", "delete", "bulk_create", "bulk_update", "blank"}
WRITES = ONE_BY_ONE | {f"a{name}" for name in ONE_BY_ONE}
LINKS = {"add", "set", "remove", "clear"}  # of a many-to-many field
NO_ROWS = {  # receivers of a call of such a name that are no rows
    "storage.store()": "objects, not rows",
    "response.data": "the body of an answer",
    "app.conf": "the settings of the queue",
    "found.setdefault(": "a dictionary",
    "digest": "a checksum",
}

Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass
class Found:
    """One function: does it write rows, which kinds of entries does it record, whom of its module does it call. Its own body only."""

    writes: bool = False
    kinds: set[str] = field(default_factory=set)
    calls: set[str] = field(default_factory=set)
    unreadable: list[int] = field(default_factory=list)  # lines that record a kind which cannot be read from the source


@cache
def functions() -> dict[str, dict[str, Found]]:
    """Module (dotted) -> function or Class.method -> what it does. Left out: models, migrations, and what may not know Django (import contract)."""
    contracts = ConfigParser()
    contracts.read(ROOT / ".importlinter")
    without = contracts["importlinter:contract:no-django"]["source_modules"].split()
    mine = [path for path in modules() if not path.endswith("/models.py")]
    return {dotted(path): dict(_of_module(path)) for path in mine if not any(f"{dotted(path)}.".startswith(f"{one}.") for one in without)}


@cache
def writers() -> dict[str, Found]:
    """Dotted name -> what it does together with its private helpers, of every function that writes rows or records an entry."""
    found = {}
    for module, members in functions().items():
        public = [name for name in members if not is_private(name)]
        helped = set().union(*(_reach(name, members) for name in public))
        for name in [*public, *(name for name in members if name not in helped)]:
            parts = [members[part] for part in _reach(name, members)]
            whole = Found(any(part.writes for part in parts), set().union(*(part.kinds for part in parts)))
            if whole.writes or whole.kinds:
                found[f"{module}.{name}"] = whole
    return found


def own(name: str) -> Found:
    """What a writer does in its own body, without its helpers."""
    module = max((module for module in functions() if name.startswith(f"{module}.")), key=len)
    return functions()[module][name.removeprefix(f"{module}.")]


@cache
def callers(name: str) -> set[str]:
    """Dotted names of the functions, other than itself, that call something of this last name; the writers that answer for them."""
    last, found = name.rpartition(".")[2], set()
    for module, members in functions().items():
        direct = {caller for caller, what in members.items() if last in what.calls and f"{module}.{caller}" != name}
        found |= {f"{module}.{public}" for public in members if f"{module}.{public}" in writers() and _reach(public, members) & direct}
    return found


def dotted(path: str) -> str:
    return path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")


def is_private(name: str) -> bool:
    return name.rpartition(".")[2].startswith("_")


def _reach(name: str, members: dict[str, Found]) -> set[str]:
    """The function and every private one of its module that it comes to through private ones."""
    seen, left = set(), [name]
    while left:
        here = left.pop()
        if here not in seen:
            seen.add(here)
            left += [other for other in members if is_private(other) and other.rpartition(".")[2] in members[here].calls]
    return seen


def _of_module(path: str) -> Iterator[tuple[str, Found]]:
    tree = modules()[path]
    outside = [node for node in tree.body if not isinstance(node, Function | ast.ClassDef)]
    yield "_when_imported", _read(outside, path)
    for node in tree.body:
        if isinstance(node, Function):
            yield node.name, _read([node], path)
        elif isinstance(node, ast.ClassDef):
            for inner in node.body:
                if isinstance(inner, Function):
                    yield f"{node.name}.{inner.name}", _read([inner], path)


def _read(body: list[ast.stmt], path: str) -> Found:
    found, logs = Found(), _names_of_the_log(path)
    for node in (inner for statement in body for inner in ast.walk(statement)):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and SQL.match(node.value):
            found.writes = True
        if isinstance(node, ast.Name | ast.Attribute):
            found.calls.add(node.id if isinstance(node, ast.Name) else node.attr)
        if not isinstance(node, ast.Call):
            continue
        found.writes |= writes_rows(node)
        if ast.unparse(node.func) in logs:
            kinds = _kinds(node.args[0], body, path) if node.args else set()
            found.kinds |= kinds
            found.unreadable += [] if kinds else [node.lineno]
    return found


def writes_rows(call: ast.Call) -> bool:
    """By its name and its receiver; in doubt it does."""
    if not isinstance(call.func, ast.Attribute):
        return False
    receiver = ast.unparse(call.func.value)
    if call.func.attr in LINKS:
        return receiver.rpartition(".")[2] in _many_to_many()
    return call.func.attr in WRITES and not receiver.startswith(tuple(NO_ROWS))


@cache
def _many_to_many() -> frozenset[str]:
    return frozenset(one.name for model in apps.get_models() for one in model._meta.many_to_many)


def _names_of_the_log(path: str) -> set[str]:
    """How `compliance.log.record` is called in this module."""
    if path == "compliance/log.py":
        return {"record"}
    names = set()
    for node in ast.walk(modules()[path]):
        if isinstance(node, ast.ImportFrom):
            home = _source(path, node)
            names |= {f"{alias.asname or alias.name}.record" for alias in node.names if (home, alias.name) == ("compliance", "log")}
            names |= {alias.asname or alias.name for alias in node.names if (home, alias.name) == ("compliance.log", "record")}
    return names


def _source(path: str, node: ast.ImportFrom) -> str:
    """The dotted module that `from ... import` names."""
    if not node.level:
        return node.module or ""
    package = path.removesuffix(".py").split("/")[: -node.level]
    return ".".join([*package, *([node.module] if node.module else [])])


def _kinds(expression: ast.expr, body: list[ast.stmt], path: str) -> set[str]:
    """Every kind that the expression may be: written out, or by names given a value in the function, the module or where it is imported from."""
    found = set()
    for node in ast.walk(expression):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and KIND.fullmatch(node.value):
            found.add(node.value)
        elif isinstance(node, ast.Name):
            local = [assigned.value for assigned in _assignments(body) if _gives(assigned, node.id)]
            found |= set().union(*(_kinds(value, [], path) for value in local)) if local else _constant(node.id, path)
    return found


def _constant(name: str, path: str) -> set[str]:
    tree = modules()[path]
    for node in tree.body:
        if isinstance(node, ast.Assign) and _gives(node, name):
            return _value_of(node, name)
        if isinstance(node, ast.ImportFrom) and name in [alias.asname or alias.name for alias in node.names]:
            home = _source(path, node).replace(".", "/")
            (alias,) = [alias.name for alias in node.names if (alias.asname or alias.name) == name]
            for other in (f"{home}.py", f"{home}/__init__.py"):
                if other in modules():
                    return _constant(alias, other)
    return set()


def _assignments(body: list[ast.stmt]) -> list[ast.Assign]:
    return [node for statement in body for node in ast.walk(statement) if isinstance(node, ast.Assign)]


def _gives(node: ast.Assign, name: str) -> bool:
    return any(isinstance(inner, ast.Name) and inner.id == name for target in node.targets for inner in ast.walk(target))


def _value_of(node: ast.Assign, name: str) -> set[str]:
    """The kind that a module gives this name, alone or as one of several in a row."""
    target, value = node.targets[0], node.value
    if isinstance(target, ast.Tuple) and isinstance(value, ast.Tuple):
        value = value.elts[[inner.id for inner in target.elts if isinstance(inner, ast.Name)].index(name)]
    return {value.value} if isinstance(value, ast.Constant) and isinstance(value.value, str) and KIND.fullmatch(value.value) else set()
