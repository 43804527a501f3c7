// @ts-check
/** Tells the server which pictures the page shows and how large, so that no other is sent. While the page is out of sight, none is. */

import { MOST_TILES } from "./protocol.js";

/**
 * `pinned`: the participant whom this page wants to see whoever speaks.
 * @typedef {{tiles: import("./protocol.js").Tile[], pinned: string | null}} InSight
 */

const PAUSE = 250; // ms: changes that come one upon the other are told as one
/** The greatest height that is told, in px. */
export const HIGHEST = 8192;

export class Shown {
    #said = "";
    #timer = 0;
    /**
     * @param {(words: InSight) => boolean} send false where it could not be said: it is said again after `again`
     * @param {() => InSight} look what is in sight now, the most important first
     */
    constructor(send, look) {
        this.send = send;
        this.look = look;
        document.addEventListener("visibilitychange", () => this.#tell());
        document.addEventListener("enterpictureinpicture", () => this.#tell(), true);
        document.addEventListener("leavepictureinpicture", () => this.#tell(), true);
    }

    /** Something may have changed. */
    changed() {
        this.#timer ||= window.setTimeout(() => this.#tell(), PAUSE);
    }

    /** The other end is a new one and knows nothing. */
    again() {
        this.#said = "";
        this.changed();
    }

    #tell() {
        clearTimeout(this.#timer);
        this.#timer = 0;
        const { tiles, pinned } = this.look();
        const words = { tiles: tiles.slice(0, MOST_TILES), pinned };
        const said = JSON.stringify(words);
        if (said !== this.#said && this.send(words)) this.#said = said;
    }
}
