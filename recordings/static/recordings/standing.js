// @ts-check
/** What is to be said of a person at one moment of a recording: a mark and its words. */

import { draw, one } from "../calls/dom.js";
import { NAMED, overall } from "../calls/marks.js";
import { listed, text } from "../calls/texts.js";

/** @typedef {import("../calls/protocol.js").Marks} Marks */
/** @typedef {import("../calls/protocol.js").Source} Source */
/** @typedef {import("./manifest.js").Kept} Kept */
/** The marks of capture, and two that only a player knows. @typedef {import("../calls/protocol.js").Mark | "erased" | "nothing"} Shown */
/** @typedef {{mark: Shown, words: string}} Standing */

/**
 * The mark of one source where nothing of it is played.
 * @param {Kept} kept
 * @returns {Shown}
 */
const silent = (kept) => (kept.mark === "captured" ? "nothing" : kept.mark);

/**
 * One mark for several sources of a person: what is kept here; else that nothing is; else why nothing ever was.
 * @param {Kept[]} sources
 * @param {(kept: Kept) => boolean} playing is media of this source played now?
 * @returns {Standing}
 */
export function standing(sources, playing) {
    const here = NAMED.filter((name) => sources.some((kept) => kept.source === name && playing(kept)));
    if (here.length) return { mark: "captured", words: text("mark-captured", { sources: listed(here.map((name) => text(`source-${name}`))) }) };
    const marks = sources.map(silent);
    const first = /** @type {const} */ (["nothing", "erased"]).find((mark) => marks.includes(mark));
    const mark = first ?? /** @type {import("../calls/protocol.js").Mark} */ (overall(/** @type {Marks} */ (Object.fromEntries(sources.map((kept) => [kept.source, kept.mark])))));
    return { mark, words: text(`mark-${mark}`) };
}

/**
 * Draw it into an element made like the part `mark.html`, if it is not there already.
 * @param {Element} element
 * @param {Standing} standing
 */
export function drawStanding(element, { mark, words }) {
    const line = one(".mark-words", element);
    if (element.getAttribute("data-mark") === mark && line.textContent === words) return;
    element.setAttribute("data-mark", mark);
    draw(one("svg", element), `mark-${mark}`);
    line.textContent = words;
}
