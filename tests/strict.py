"""Nothing is silently left out: with CI set, a skipped, expected-to-fail or deselected test fails the run and is listed by name.

Also who runs what when two processes share the work. Tests of one file stay together, because each process would otherwise make the fixtures
of the file again. All tests on the running site are one group, in a process that takes nothing afterwards: the site writes into the
databases of its process for as long as it runs, and two calls of several browsers at once are too much for two cores.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import pytest
from xdist.scheduler import LoadScopeScheduling

IN_CI = os.environ.get("CI", "").lower() in ("1", "true", "yes")
ON_THE_SITE = frozenset(
    {
        "tests/compliance/test_reports_look.py",
        "tests/recordings/test_pages_look.py",
        "tests/site/test_api_contract.py",
        "tests/site/test_limits.py",
        "tests/site/test_pages_look.py",
        "tests/walks/test_a_device_check.py",
        "tests/walks/test_a_join_and_consent.py",
        "tests/walks/test_a_room_views.py",
        "tests/walks/test_a_states.py",
        "tests/walks/test_arrive.py",
        "tests/walks/test_c_playback.py",
        "tests/walks/test_c_recording.py",
        "tests/walks/test_c_worker_lost.py",
        "tests/walks/test_d_requests.py",
        "tests/walks/test_on_sqlite.py",
    }
)
SITE = "the running site"
left_out: dict[str, None] = {}  # in order, each once: a process that shares the work tells it too


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Whatever asks for a browser is a browser test, so that `--fast` cannot miss one that forgot its marker."""
    for item in items:
        fixtures = getattr(item, "fixturenames", ())
        if "browser" in fixtures:
            item.add_marker("browser")
        if "stack" in fixtures and together(item.nodeid) != SITE:
            raise pytest.UsageError(f"{item.nodeid} runs the site: its file belongs into ON_THE_SITE in tests/strict.py")


def together(nodeid: str) -> str:
    """The name of what a test stays together with: its file, or everything on the running site."""
    file = nodeid.partition("::")[0]
    return SITE if file in ON_THE_SITE else file


class TogetherScheduling(LoadScopeScheduling):
    """What stays together is taken as a whole by the next process that is free."""

    def _split_scope(self, nodeid: str) -> str:
        return together(nodeid)

    def _reschedule(self, node: Any) -> None:
        if SITE in self.assigned_work[node] and len(self.nodes) > 1:
            node.shutdown()  # when it has run what it has
        else:
            super()._reschedule(node)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> TogetherScheduling:
    return TogetherScheduling(config, log)


def pytest_deselected(items: Sequence[pytest.Item]) -> None:
    left_out.update(dict.fromkeys(f"deselected: {item.nodeid}" for item in items))


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
