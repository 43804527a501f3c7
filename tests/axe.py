"""Accessibility faults of a page in a browser, by axe-core and by the width of the window."""

from __future__ import annotations

from functools import cache
from importlib.resources import files

from playwright.async_api import Page

RULES = ["wcag2a", "wcag2aa", "wcag21aa", "wcag22aa", "best-practice"]
# Colours on their way from one look to the next are nobody's, so what moves comes to its end first; what never ends is not waited for. Only
# violations are told in full: lists of everything that is in order are ten times as long as the page.
FAULTS = """async rules => {
  const moving = document.getAnimations().filter(one => one.playState === "running" && Number.isFinite(one.effect.getComputedTiming().endTime));
  await Promise.allSettled(moving.map(one => one.finished));
  const report = await axe.run({runOnly: rules, resultTypes: ["violations"]});
  const found = report.violations.flatMap(rule => rule.nodes.map(node => `${rule.id}: ${node.html}`));
  return document.documentElement.scrollWidth > window.innerWidth ? [...found, "wider than the window"] : found;
}"""


@cache
def script() -> str:
    return files("axe_core_python").joinpath("axe.min.js").read_text()


async def faults(page: Page) -> list[str]:
    """What the page has now, each with its rule and element. The script is put into a page once, and stays until another one is loaded."""
    if not await page.evaluate("'axe' in window"):
        await page.evaluate(script())
    found: list[str] = await page.evaluate(FAULTS, RULES)
    return found
