"""Rules of the house that no linter knows."""

from __future__ import annotations

import ast
import re

import pytest

from .source import lines, modules

MAY_QUERY = {"models.py", "queries.py", "services.py", "tasks.py"}
READS_WITHOUT_A_SCOPE = {
    "tenants/scope.py": "finds the tenant",
    "tenants/identity.py": "writes when a key was used",
    "tenants/keys/port.py": "keys live in another database, by id",
    "tenants/keys/service.py": "keys live in another database, by id",
    "calls/placement.py": "leases are read before a tenant is known",
    "cleac_site/demo.py": "makes the cast",
    "cleac_site/pages/views.py": "lists the tenants of a user",
}


def calls_manager(node: ast.AST) -> bool:
    return isinstance(node, ast.Attribute) and node.attr == "objects" and isinstance(node.value, ast.Name)


def may_query(path: str) -> bool:
    parts = path.split("/")
    return parts[-1] in MAY_QUERY or parts[1].removesuffix(".py") + ".py" in MAY_QUERY or path in READS_WITHOUT_A_SCOPE or parts[0] == "compliance"


@pytest.mark.parametrize("path", [p for p in modules() if not may_query(p)])
def test_only_models_queries_services_and_tasks_touch_a_manager(path: str) -> None:
    found = [node.lineno for node in ast.walk(modules()[path]) if calls_manager(node)]
    assert found == []


def test_every_module_that_may_query_without_a_scope_exists() -> None:
    assert set(READS_WITHOUT_A_SCOPE) <= set(modules())


@pytest.mark.parametrize("path", list(modules()))
def test_an_import_inside_a_function_carries_its_reason(path: str) -> None:
    text = lines(path)
    inside = [
        inner
        for node in ast.walk(modules()[path])
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        for inner in ast.walk(node)
        if isinstance(inner, ast.Import | ast.ImportFrom)
    ]
    assert [node.lineno for node in inside if "reason:" not in text[node.lineno - 1]] == []


@pytest.mark.parametrize("path", list(modules()))
def test_a_silenced_check_carries_its_reason(path: str) -> None:
    silenced = re.compile(r"#\s*(noqa|type:\s*ignore|nosec)")
    assert [number for number, line in enumerate(lines(path), 1) if silenced.search(line) and "reason:" not in line] == []


def test_services_are_keyword_only() -> None:
    services = [tree for path, tree in modules().items() if path.endswith("/services.py") or "/services/" in path]
    public = [n for tree in services for n in tree.body if isinstance(n, ast.FunctionDef) and not n.name.startswith("_")]
    assert [n.name for n in public if n.args.args or n.args.posonlyargs] == []


@pytest.mark.parametrize("path", list(modules()))
def test_a_broad_except_re_raises_or_leaves_an_entry(path: str) -> None:
    def broad(handler: ast.ExceptHandler) -> bool:
        return handler.type is None or (isinstance(handler.type, ast.Name) and handler.type.id in ("Exception", "BaseException"))

    def accounts(handler: ast.ExceptHandler) -> bool:
        inner = list(ast.walk(handler))
        return any(isinstance(n, ast.Raise) for n in inner) or any(isinstance(n, ast.Attribute) and n.attr in ("exception", "record") for n in inner)

    handlers = [n for n in ast.walk(modules()[path]) if isinstance(n, ast.ExceptHandler) and broad(n)]
    assert [h.lineno for h in handlers if not accounts(h)] == []
