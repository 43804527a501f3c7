"""The documentation names what is there."""

from __future__ import annotations

from cleac_site.settings import Environment

from .source import ROOT


def variable_of(name: str) -> str:
    alias = Environment.model_fields[name].validation_alias
    return str(alias) if alias else f"CLEAC_{name.upper()}"


def test_operations_names_every_setting() -> None:
    text = (ROOT / "docs" / "operations.md").read_text()
    assert [v for v in map(variable_of, Environment.model_fields) if f"`{v}`" not in text] == []
