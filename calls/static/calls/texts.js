// @ts-check
/** Words that the page shows later. They are translated in the template `room_parts/texts.html`; no script holds a sentence. */

const kept = /** @type {HTMLTemplateElement | null} */ (document.getElementById("texts"));

/** @type {Map<string, string>} */
const words = new Map(
    [...(kept?.content.querySelectorAll("[data-text]") ?? [])].map((found) => [found.getAttribute("data-text") ?? "", found.textContent ?? ""]),
);

/**
 * The words called `name`, with each `{fact}` filled in.
 * @param {string} name
 * @param {Record<string, string | number>} [facts]
 */
export function text(name, facts = {}) {
    const found = words.get(name);
    if (found === undefined) throw new RangeError(`no words are called ${name}`);
    return found.replace(/\{(\w+)\}/g, (whole, fact) => String(facts[fact] ?? whole));
}

/**
 * Are there words called `name`?
 * @param {string} name
 */
export const has = (name) => words.has(name);

/**
 * Several words as one phrase, in the way of the page's language.
 * @param {string[]} parts
 */
export function listed(parts) {
    return new Intl.ListFormat(document.documentElement.lang, { style: "short", type: "unit" }).format(parts);
}

let turn = 0;

/**
 * Say something to those who cannot see it. Two lines take turns, so that the same words are spoken again.
 * @param {string} words
 */
export function announce(words) {
    const lines = document.querySelectorAll("[data-announce]");
    lines.forEach((line, index) => { line.textContent = index === turn ? words : ""; });
    turn = (turn + 1) % Math.max(lines.length, 1);
}
