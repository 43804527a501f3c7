// @ts-check
/** The countdown to the end of a call that nobody may host any more: seen each second, said at the start, near the end and when it is over. */

import { one, show } from "./dom.js";
import { announce, text } from "./texts.js";

const SAID_AGAIN = 10; // seconds before the end

export class Countdown {
    #endsAt = 0;
    /** @type {ReturnType<typeof setInterval> | undefined} */
    #ticking;
    #said = false;

    /** @param {HTMLElement} banner */
    constructor(banner) {
        this.banner = banner;
        this.words = one("[data-words]", banner);
    }

    /** @param {number | null} seconds until the call ends; null when somebody may host it again */
    told(seconds) {
        const counting = this.#ticking !== undefined;
        this.stop();
        if (seconds === null) {
            if (counting) announce(text("hostless-over"));
            return;
        }
        this.#endsAt = performance.now() + seconds * 1000;
        this.#said = seconds <= SAID_AGAIN;
        this.#ticking = setInterval(() => this.#tick(), 250);
        announce(this.#tick());
        show(this.banner, true);
    }

    /** Nothing is counted any more, or nobody tells us how far it is. */
    stop() {
        clearInterval(this.#ticking);
        this.#ticking = undefined;
        show(this.banner, false);
    }

    /** @returns {string} the words that stand there now */
    #tick() {
        const left = Math.max(0, Math.ceil((this.#endsAt - performance.now()) / 1000));
        const time = `${Math.floor(left / 60)}:${String(left % 60).padStart(2, "0")}`;
        const words = left ? text("hostless", { time }) : text("hostless-now");
        if (this.words.textContent !== words) this.words.textContent = words;
        if (left <= SAID_AGAIN && !this.#said) {
            this.#said = true;
            announce(words);
        }
        return words;
    }
}
