"""Nothing is silently left out: with CI set, a skipped, expected-to-fail or deselected test fails the run and is listed by name.

Also who runs what when several processes share the work: tests of the running site and of the browser stay together, because each process
would otherwise start its own, and so do those of one file.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import pytest

IN_CI = os.environ.get("CI", "").lower() in ("1", "true", "yes")
SITE = frozenset({"stack", "browser"})  # fixtures of which there is one
left_out: dict[str, None] = {}  # in order, each once: a process that shares the work tells it too


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Whatever asks for a browser is a browser test, so that `--fast` cannot miss one that forgot its marker."""
    for item in items:
        fixtures = getattr(item, "fixturenames", ())
        if "browser" in fixtures:
            item.add_marker("browser")
        item.add_marker(pytest.mark.xdist_group("site" if SITE.intersection(fixtures) else item.path.stem))


def pytest_deselected(items: Sequence[pytest.Item]) -> None:
    left_out.update(dict.fromkeys(f"deselected: {item.nodeid.rpartition('@')[0] or item.nodeid}" for item in items))


def pytest_collectreport(report: pytest.CollectReport) -> None:
    if report.skipped:
        left_out[f"skipped: {report.nodeid}"] = None


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    if hasattr(report, "wasxfail"):
        left_out[f"expected to fail: {report.nodeid}"] = None
    elif report.skipped:
        left_out[f"skipped: {report.nodeid}"] = None


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    told: dict[str, list[str]] | None = getattr(session.config, "workeroutput", None)
    if told is not None:  # one of several processes: the first one decides
        told["left_out"] = list(left_out)
    elif IN_CI and left_out and session.exitstatus == pytest.ExitCode.OK:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """A process that shared the work has ended: what it left out is left out."""
    left_out.update(dict.fromkeys(getattr(node, "workeroutput", {}).get("left_out", ())))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if IN_CI and left_out:
        terminalreporter.section("left out, which fails a run in CI", red=True)
        for line in left_out:
            terminalreporter.write_line(line)
