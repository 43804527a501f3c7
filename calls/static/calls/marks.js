// @ts-check
/** The marks of capture: which one stands for a person, and in which words. */

import { draw, one } from "./dom.js";
import { listed, text } from "./texts.js";

/** @typedef {import("./protocol.js").Mark} Mark */
/**
 * The mark of a person, or one that no person wears: "unknown" while nobody tells this page what is written, "off" where nothing is being kept
 * of anybody, which is no answer of anybody's either.
 * @typedef {Mark | "unknown" | "off"} Shown
 */
/** @typedef {Partial<Record<import("./protocol.js").Source, Shown>>} Marks */

/** Where several hold for one person, the first of these is shown. @type {Shown[]} */
const ORDER = ["unknown", "fault", "stopping", "captured", "starting", "paused", "agreed", "undecided", "declined"];
/** Sources in the order of speech; the sound of a screen is part of the screen. */
export const NAMED = /** @type {const} */ (["mic", "cam", "screen"]);

/**
 * The marks of somebody while nobody tells this page what is written: what was true before may not be true any more.
 * @param {Marks} marks
 * @returns {Marks}
 */
export function unknown(marks) {
    const sources = NAMED.filter((source) => marks[source]);
    return Object.fromEntries((sources.length ? sources : ["mic"]).map((source) => [source, "unknown"]));
}

/**
 * The one mark that stands for all sources of a person.
 * @param {Marks} marks
 * @returns {Shown}
 */
export function overall(marks) {
    const present = new Set(Object.values(marks));
    return ORDER.find((mark) => present.has(mark)) ?? "undecided";
}

/**
 * Is something of this person being kept now, as far as the writer has confirmed it?
 * @param {Marks} marks
 */
export const isKept = (marks) => Object.values(marks).includes("captured");

/**
 * The words beside the one mark. What is kept is named.
 * @param {Marks} marks
 */
export function wordsOf(marks) {
    const mark = overall(marks);
    const sources = NAMED.filter((source) => marks[source] === "captured");
    return text(`mark-${mark}`, { sources: listed(sources.map((source) => text(`source-${source}`))) });
}

/**
 * One line for each source, as the people panel shows them.
 * @param {Marks} marks
 * @returns {{mark: Shown, words: string}[]}
 */
export function lines(marks) {
    return NAMED.flatMap((source) => {
        const mark = marks[source];
        if (!mark) return [];
        const words = text(mark === "captured" ? "mark-now-captured" : `mark-${mark}`);
        return [{ mark, words: text("mark-of", { source: text(`source-${source}`), words }) }];
    });
}

/**
 * Draw a mark into an element made like the part `mark.html`.
 * @param {Element} element
 * @param {Shown} mark
 * @param {string} [words]
 */
export function drawMark(element, mark, words) {
    element.setAttribute("data-mark", mark);
    draw(one("svg", element), `mark-${mark}`);
    if (words !== undefined) one(".mark-words", element).textContent = words;
}
