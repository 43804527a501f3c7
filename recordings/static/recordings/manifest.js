// @ts-check
/** What the server says about one viewing: who was in the call, what was kept of each, and where it is to be had. */

/** @typedef {import("../calls/protocol.js").Source} Source */
/** @typedef {import("../calls/protocol.js").Mark} Mark */
/** A stretch of recording time that holds media: from and to, in ms. @typedef {[number, number]} Span */
/** @typedef {{id: string, mime: string, url: string, spans_ms: Span[]}} File */
/** @typedef {{source: Source, mark: Mark | "erased", files: File[]}} Kept */
/** @typedef {{name: string, you: boolean, sources: Kept[]}} Person */
/** @typedef {{duration_ms: number, incomplete: boolean, people: Person[]}} Manifest */

/**
 * The manifest that the page carries.
 * @param {string} id of the element that holds it
 * @returns {Manifest}
 */
export function manifest(id) {
    return JSON.parse(document.getElementById(id)?.textContent ?? "");
}

/**
 * Which of these stretches covers a moment; -1 for none. A stretch covers its start and not its end.
 * @param {Span[]} spans
 * @param {number} at ms of recording time
 */
export const covering = (spans, at) => spans.findIndex(([start, end]) => start <= at && at < end);

/**
 * All stretches of several files as one list in the order of time, with overlaps joined.
 * @param {File[]} files
 * @returns {Span[]}
 */
export function stretches(files) {
    /** @type {Span[]} */
    const joined = [];
    for (const [start, end] of files.flatMap((file) => file.spans_ms).sort((one, other) => one[0] - other[0])) {
        const last = joined.at(-1);
        if (last && start <= last[1]) last[1] = Math.max(last[1], end);
        else joined.push([start, end]);
    }
    return joined;
}

/**
 * mm:ss, or h:mm:ss from one hour on.
 * @param {number} ms
 */
export function clockTime(ms) {
    const seconds = Math.floor(ms / 1000);
    const [hours, minutes, rest] = [Math.floor(seconds / 3600), Math.floor(seconds / 60) % 60, seconds % 60];
    const text = [minutes, rest].map((part) => String(part).padStart(2, "0")).join(":");
    return hours ? `${hours}:${text}` : text;
}
