"""Nothing is silently left out: with CI set, a skipped, expected-to-fail or deselected test fails the run and is listed by name."""

from __future__ import annotations

import os
from collections.abc import Sequence

import pytest

IN_CI = os.environ.get("CI", "").lower() in ("1", "true", "yes")
left_out: list[str] = []


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Whatever asks for a browser is a browser test, so that `--fast` cannot miss one that forgot its marker."""
    for item in items:
        if "browser" in getattr(item, "fixturenames", ()):
            item.add_marker("browser")


def pytest_deselected(items: Sequence[pytest.Item]) -> None:
    left_out.extend(f"deselected: {item.nodeid}" for item in items)


def pytest_collectreport(report: pytest.CollectReport) -> None:
    if report.skipped:
        left_out.append(f"skipped: {report.nodeid}")


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    if hasattr(report, "wasxfail"):
        left_out.append(f"expected to fail: {report.nodeid}")
    elif report.skipped:
        left_out.append(f"skipped: {report.nodeid}")


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    if IN_CI and left_out and session.exitstatus == pytest.ExitCode.OK:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if IN_CI and left_out:
        terminalreporter.section("left out, which fails a run in CI", red=True)
        for line in left_out:
            terminalreporter.write_line(line)
