"""Nothing is silently left out: with CI set, a skipped, expected-to-fail or deselected test fails the run and is listed by name.

Also who runs what when several processes share the work. Tests of one file stay together, because each process would otherwise make the
fixtures of the file again. Tests on the running site are two groups, each begun first in a process of its own: calls, and pages without a call.
Calls stay in one, because two calls of several browsers at once are too much for two cores. When a group is over its site is ended, and the
process takes what is left: first whatever else wants the machine for itself. A third process takes only what mostly waits for a database, so
that the cores are not idle meanwhile.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import pytest
from xdist.scheduler import LoadScopeScheduling

IN_CI = os.environ.get("CI", "").lower() in ("1", "true", "yes")
CALLS, PAGES = "calls on the running site", "pages of the running site"
ON_THE_SITE = {
    CALLS: frozenset(
        {
            "tests/walks/test_a_device_check.py",
            "tests/walks/test_a_join_and_consent.py",
            "tests/walks/test_a_line_lost.py",
            "tests/walks/test_a_network_page.py",
            "tests/walks/test_a_room_pages.py",
            "tests/walks/test_a_room_views.py",
            "tests/walks/test_b_two_workers.py",
            "tests/walks/test_c_playback.py",
            "tests/walks/test_c_recording.py",
            "tests/walks/test_c_worker_hangs.py",
            "tests/walks/test_c_worker_lost.py",
            "tests/walks/test_d_requests.py",
        }
    ),
    PAGES: frozenset(
        {
            "tests/compliance/test_reports_look.py",
            "tests/recordings/test_pages_look.py",
            "tests/site/test_api_contract.py",
            "tests/site/test_bad_requests.py",
            "tests/site/test_every_page.py",
            "tests/site/test_limits.py",
            "tests/site/test_memory.py",
            "tests/site/test_pages_look.py",
            "tests/walks/test_a_receipt.py",
            "tests/walks/test_a_states.py",
            "tests/walks/test_arrive.py",
        }
    ),
}
QUIET = tuple(f"tests/{folder}/" for folder in ("calls", "compliance", "consent", "house", "recordings", "tenants"))  # these mostly wait
WITH_A_BROWSER = frozenset(
    f"tests/{name}.py" for name in ("calls/test_layout_js", "calls/test_protocol_js", "recordings/test_playback_players", "recordings/test_player")
)
SECONDS = {  # of groups that take longer than the number of their tests says, about; the longest is begun first
    CALLS: 600,
    PAGES: 300,
    "tests/consent/test_gate.py": 20,
    "tests/media/test_a_layers.py": 60,
    "tests/media/test_sanitised.py": 150,
    "tests/site/test_bench.py": 40,
    "tests/site/test_bench_recovery.py": 40,
    "tests/site/test_demo.py": 80,
    "tests/site/test_run.py": 60,
    "tests/walks/test_on_sqlite.py": 40,
}
left_out: dict[str, None] = {}  # in order, each once: a process that shares the work tells it too


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Whatever asks for a browser is a browser test, so that `--fast` cannot miss one that forgot its marker."""
    for item in items:
        fixtures = getattr(item, "fixturenames", ())
        if "browser" in fixtures:
            item.add_marker("browser")
        if item.get_closest_marker("browser") and is_quiet(together(item.nodeid)):
            refuse(item, "has a browser: its file belongs into WITH_A_BROWSER in tests/strict.py")
        if "stack" in fixtures and together(item.nodeid) not in ON_THE_SITE:
            refuse(item, "runs the site: its file belongs into ON_THE_SITE in tests/strict.py")


def refuse(item: pytest.Item, words: str) -> None:
    """Raises UsageError. One of several processes tells the first one too, which ends the run with these words."""
    text = f"{item.nodeid} {words}"
    told: dict[str, str] = getattr(item.config, "workeroutput", {})
    told["refused"] = text
    raise pytest.UsageError(text)


def together(nodeid: str) -> str:
    """The name of what a test stays together with: its file, or one of the groups on the running site."""
    file = nodeid.partition("::")[0]
    return next((group for group, files in ON_THE_SITE.items() if file in files), file)


def is_quiet(group: str) -> bool:
    """May this run while two other processes have the machine?"""
    return group.startswith(QUIET) and group not in WITH_A_BROWSER


class TogetherScheduling(LoadScopeScheduling):
    """What stays together is taken as a whole by the next process that is free and may take it."""

    def _split_scope(self, nodeid: str) -> str:
        return together(nodeid)

    def _reschedule(self, node: Any) -> None:
        if not node.shutting_down and self.workqueue and self._following(node) is None:
            node.shutdown()  # when it has run what it has
        super()._reschedule(node)

    def _assign_work_unit(self, node: Any) -> None:
        following = self._following(node)
        if following is None:
            self.assigned_work.setdefault(node, {})
            node.shutdown()
            return
        self.workqueue.move_to_end(following, last=False)
        super()._assign_work_unit(node)

    def _following(self, node: Any) -> str | None:
        """The group that this process takes next; None where none is left that it may take."""
        waiting = sorted(self.workqueue, key=lambda group: (is_quiet(group), -self._seconds(group)))
        if self.nodes.index(node) > 1:
            waiting = [group for group in waiting if is_quiet(group)]
        return next(iter(waiting), None)

    def _seconds(self, group: str) -> float:
        return SECONDS.get(group, len(self.workqueue[group]) / 3)


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
    """A process that shared the work has ended: what it left out is left out, and what it refused to run is refused. Raises UsageError."""
    told = getattr(node, "workeroutput", {})
    left_out.update(dict.fromkeys(told.get("left_out", ())))
    if "refused" in told:  # else the runner takes it for a process that died, in words of its own
        raise pytest.UsageError(told["refused"])


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if IN_CI and left_out:
        terminalreporter.section("left out, which fails a run in CI", red=True)
        for line in left_out:
            terminalreporter.write_line(line)
