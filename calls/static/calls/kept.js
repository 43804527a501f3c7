// @ts-check
/** How a recording would keep us: the picture or the neutral tile, and one line for each purpose. All of it stays in the browser. */

import { copyOf, one, show } from "./dom.js";
import { drawMark } from "./marks.js";
import { SOURCES } from "./protocol.js";
import { text } from "./texts.js";

/** @typedef {import("./protocol.js").Card} Card */
/** @typedef {import("./protocol.js").Source} Source */

export class Kept {
    /** @type {Card[]} */
    #cards = [];
    /** @type {MediaStreamTrack | null} */
    #camera = null;

    /** @param {HTMLElement} place */
    constructor(place) {
        this.place = place;
        this.video = /** @type {HTMLVideoElement} */ (one("video", place));
    }

    /** @param {Card[]} cards the questions with the answers that the server has written down */
    answers(cards) {
        this.#cards = cards.filter((card) => SOURCES[card.purpose]);
        show(this.place, this.#cards.length > 0);
        one("[data-kept-lines]", this.place).replaceChildren(...this.#cards.map((card) => this.#line(card)));
        this.#draw();
    }

    /** @param {MediaStreamTrack | null} track the camera, null while it is off */
    camera(track) {
        this.#camera = track;
        this.#draw();
    }

    /** Without a yes to the camera there is no picture here at all, as there would be none in a recording. */
    #draw() {
        const track = this.#agreed("cam") ? this.#camera : null;
        const shown = /** @type {MediaStream | null} */ (this.video.srcObject)?.getTracks()[0] ?? null;
        if (shown !== track) this.video.srcObject = track ? new MediaStream([track]) : null;
        one("[data-preview-kept]", this.place).toggleAttribute("data-on", track !== null);
        const words = track ? "" : text(this.#agreed("cam") ? "preview-off" : "kept-neutral");
        one("[data-slot=kept-camera]", this.place).textContent = words;
    }

    /** @param {Source} source */
    #agreed(source) {
        return this.#cards.some((card) => card.answer === true && SOURCES[card.purpose].includes(source));
    }

    /** @param {Card} card */
    #line(card) {
        const line = copyOf("kept-line");
        line.dataset.purpose = card.purpose;
        const source = text(`source-${SOURCES[card.purpose][0]}`);
        drawMark(one(".mark", line), card.answer ? "agreed" : "declined", text("mark-of", { source, words: text(card.answer ? "kept-yes" : "kept-no") }));
        return line;
    }
}
