"""What a page leaves to people who have no mouse, found by pressing Tab until everything had its turn."""

from __future__ import annotations

from typing import Any

from playwright.async_api import Page

PARTS = 8
# What Tab must come to: whatever is there to be used. Of radio buttons with one name the browser stops at one.
# `reached` is everything that had the focus since, `unseen` what had it without showing it.
LISTEN = """() => {
    const usable = "a[href], button, input:not([type=hidden]), select, textarea, summary, [tabindex='0'], [contenteditable]";
    const shown = one => one.checkVisibility({visibilityProperty: true}) && !one.closest("[inert]") && !one.disabled;
    const group = one => one.type === "radio" ? `${one.form?.action} ${one.name}` : one;
    const name = one => one.outerHTML.slice(0, 160);
    const wanted = () => [...document.querySelectorAll(usable)].filter(shown);
    const reached = new Set(), unseen = [];
    document.addEventListener("focusin", ({target}) => {
        reached.add(group(target));
        const drawn = [null, "::after"].map(part => getComputedStyle(target, part)); // the second where a whole card is the link
        if (!drawn.some(one => one.outlineStyle !== "none" && parseFloat(one.outlineWidth) >= 2)) unseen.push(`focus is not seen: ${name(target)}`);
    });
    const pointed = () => [...document.querySelectorAll("body *")].filter(one => shown(one) && getComputedStyle(one).cursor === "pointer")
        .filter(one => !one.closest(`${usable}, label, .lane-track`) && !one.querySelector(usable)); // a lane does what the position bar does
    globalThis.keyboard = () => [
        ...wanted().filter(one => !reached.has(group(one))).map(one => `Tab does not come to ${name(one)}`),
        ...wanted().filter(one => one.tabIndex > 0).map(one => `before its turn: ${name(one)}`),
        ...pointed().map(one => `for a mouse alone: ${name(one)}`),
        ...unseen,
    ];
    const parts = document.querySelectorAll("input[type=datetime-local], input[type=date]").length; // each has a stop for day, month, ...
    return wanted().length + parts * PARTS;
}"""


async def left_to_the_mouse(page: Page) -> list[Any]:
    """Faults of this page for who uses it by key alone; after its last stop Tab begins again at the first."""
    stops = await page.evaluate(LISTEN.replace("PARTS", str(PARTS)))
    for _ in range(stops + 2):
        await page.keyboard.press("Tab")
    return list(await page.evaluate("keyboard()"))
