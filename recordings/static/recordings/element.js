// @ts-check
/**
 * One file in one media element, held to the page's clock.
 *
 * What must never happen here: a frame or a sound outside the stretches that the manifest names. A video element shows its last frame for
 * ever, so `shows` is true only inside a stretch, and only once the element has arrived in that stretch. A pause that ended plays from the
 * beginning, so an element that came to the end of its file is left alone.
 */

import { covering } from "./manifest.js";

/** @typedef {import("./manifest.js").File} File */
/** What is wrong with a file: it cannot be opened, the viewing is over, or it was taken away. @typedef {"" | "broken" | "over" | "erased"} Trouble */

const EXACT = 10; // ms; what is closer to the clock than this is on it
const DRIFT = 40; // ms; from here on the rate is bent
const BEND = 0.1; // of the rate, at most
const CATCH = 200; // ms in which a bent element would be on the clock again, were it not for BEND
const JUMP = 500; // ms; from here on the element is sent to the clock
const AHEAD = 10_000; // ms before a stretch that its file is fetched
const FORGET = 30_000; // ms away from every stretch that the file is let go
const EARLY = 60; // ms that an element may report before the first frame of a stretch it was sent to
const LATE = 250; // ms that it may still report after the end of one

export class Part {
    /** @type {Trouble} */
    trouble = "";
    /** Where to go as soon as the element knows its file, in ms. @type {number | null} */
    #aim = null;
    /** The stretch that the element has arrived in; -1 for none. */
    #arrived = -1;
    #bent = false;

    /**
     * @param {File} file
     * @param {{changed: () => void, blocked: () => void}} owner told when anything of the element changed, and when the browser wants a
     *     click before it plays
     */
    constructor(file, owner) {
        this.file = file;
        this.owner = owner;
        this.element = document.createElement(file.mime.startsWith("video/") ? "video" : "audio");
        this.element.preload = "auto";
        this.element.disableRemotePlayback = true;
        if (this.element instanceof HTMLVideoElement) {
            this.element.playsInline = true;
            this.element.disablePictureInPicture = true; // a window of its own would go on showing the last frame
        }
        for (const name of ["loadedmetadata", "loadeddata", "canplay", "canplaythrough", "seeked", "waiting", "stalled", "playing", "pause", "ended"]) {
            this.element.addEventListener(name, () => this.owner.changed());
        }
        this.element.addEventListener("error", () => this.#failed());
    }

    /** @param {number} at ms */
    covers(at) {
        return covering(this.file.spans_ms, at) >= 0;
    }

    /**
     * Is the clock free to run, as far as this file goes?
     * @param {number} at ms
     */
    ready(at) {
        if (this.trouble || !this.covers(at)) return true;
        const { element } = this;
        if (!element.hasAttribute("src") || this.#aim !== null || element.seeking) return false;
        return element.ended || (element.readyState >= HTMLMediaElement.HAVE_FUTURE_DATA && Math.abs(this.#off(at)) <= JUMP);
    }

    /**
     * May the picture be seen, or is the sound to be heard?
     * @param {number} at ms
     */
    shows(at) {
        const span = covering(this.file.spans_ms, at);
        return span >= 0 && !this.trouble && this.#arrived === span && this.element.readyState >= HTMLMediaElement.HAVE_CURRENT_DATA;
    }

    /**
     * Do what the clock does.
     * @param {number} at ms
     * @param {boolean} running
     * @param {number} speed
     */
    follow(at, running, speed) {
        if (this.trouble) return;
        if (!this.covers(at)) {
            this.#rest(at);
            return;
        }
        const { element } = this;
        this.#attach(at);
        this.#go();
        this.#look();
        if (element.readyState === HTMLMediaElement.HAVE_NOTHING) return;
        if (!element.seeking && Math.abs(this.#off(at)) > JUMP) this.send(at);
        if (!running) element.pause();
        else if (element.paused && !element.ended) element.play().catch((error) => this.#refused(error));
        this.#bend(at, speed);
    }

    /**
     * Go to a moment exactly, because somebody asked for it. Outside the stretches there is nowhere to go.
     * @param {number} at ms
     */
    send(at) {
        if (this.trouble || !this.element.hasAttribute("src")) return;
        this.#aim = at;
        this.#go();
    }

    /** Open the file again, after it could not be opened. */
    retry() {
        this.trouble = "";
        this.release();
        this.owner.changed();
    }

    /** Let go of the file and of everything that was fetched of it. */
    release() {
        this.#aim = null;
        this.#arrived = -1;
        if (!this.element.hasAttribute("src")) return;
        this.element.pause();
        this.element.removeAttribute("src");
        this.element.load();
    }

    /** @param {number} at ms */
    #attach(at) {
        if (this.element.hasAttribute("src")) return;
        this.element.src = this.file.url;
        this.#aim = at;
    }

    /** The clock is outside every stretch: be silent, and be ready where the next one begins. */
    #rest(/** @type {number} */ at) {
        this.element.pause();
        const next = this.file.spans_ms.find(([start]) => start > at)?.[0];
        if (next !== undefined && next - at <= AHEAD) {
            this.#attach(next);
            this.#go();
            if (this.#aim === null && !this.element.seeking && Math.abs(this.#off(next)) > EARLY) this.send(next);
            this.#look();
        } else if (this.file.spans_ms.every(([start, end]) => start - at > FORGET || at - end > FORGET)) {
            this.release();
        }
    }

    #go() {
        if (this.#aim === null || this.element.readyState === HTMLMediaElement.HAVE_NOTHING) return;
        this.element.currentTime = this.#aim / 1000;
        this.#aim = null;
    }

    /** While it seeks, an element reports where it will be and shows where it was: only an arrival counts. */
    #look() {
        const { element } = this;
        if (element.seeking || this.#aim !== null || element.readyState < HTMLMediaElement.HAVE_CURRENT_DATA) return;
        const here = element.currentTime * 1000;
        this.#arrived = this.file.spans_ms.findIndex(([start, end]) => start - EARLY <= here && here < end + LATE);
    }

    /**
     * How far the element is ahead of the clock, in ms. Where a file ends before its stretch does, its end is as far as it can go.
     * @param {number} at ms
     */
    #off(at) {
        const { currentTime, duration } = this.element;
        return currentTime * 1000 - (Number.isFinite(duration) ? Math.min(at, duration * 1000) : at);
    }

    /**
     * Bend the rate until the element is on the clock again.
     * @param {number} at ms
     * @param {number} speed
     */
    #bend(at, speed) {
        const off = this.#off(at);
        if (Math.abs(off) > DRIFT) this.#bent = true;
        if (Math.abs(off) < EXACT) this.#bent = false;
        const bend = this.#bent && !this.element.seeking ? Math.max(-BEND, Math.min(BEND, off / CATCH)) : 0;
        const rate = Math.round(speed * (1 - bend) * 100) / 100;
        if (this.element.playbackRate !== rate) this.element.playbackRate = rate;
    }

    /** @param {DOMException} error */
    #refused(error) {
        if (error.name === "NotAllowedError") this.owner.blocked();
    }

    /** Ask the server why: an element's own error does not tell a viewing that is over from a fault. */
    async #failed() {
        if (!this.element.hasAttribute("src")) return;
        this.trouble = "broken";
        this.release();
        this.owner.changed();
        const answer = await fetch(this.file.url, { headers: { Range: "bytes=0-0" }, credentials: "same-origin", cache: "no-store" }).catch(() => null);
        if (answer?.status !== 410) return;
        const body = await answer.json().catch(() => ({}));
        this.trouble = body.code === "restricted" ? "erased" : "over";
        this.owner.changed();
    }
}
