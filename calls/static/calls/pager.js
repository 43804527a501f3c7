// @ts-check
/** Which page of the stage is shown, and the bar to turn pages with: buttons, keys, a swipe. Without a second page there is no bar. */

import { fill, one, show } from "./dom.js";
import { announce, text } from "./texts.js";

/** @typedef {import("./layout.js").Plan} Plan */

const SWIPE = 60; // px that a finger moves to turn a page

export class Pager {
    /** The page that is asked for, counted from 0. */
    page = 0;
    #pages = 1;

    /**
     * @param {HTMLElement} stage where a swipe turns pages; holds the bar
     * @param {() => void} turned
     */
    constructor(stage, turned) {
        this.stage = stage;
        this.bar = one("[data-pager]", stage);
        this.turned = turned;
        for (const [action, way] of /** @type {const} */ ([["page-back", -1], ["page-on", 1]])) {
            one(`[data-do=${action}]`, this.bar).addEventListener("click", () => this.turn(way));
        }
        this.#swipes();
    }

    /**
     * One page back or on; at the ends nothing turns.
     * @param {-1 | 1} way
     * @returns {boolean} are there pages at all?
     */
    turn(way) {
        const page = Math.max(0, Math.min(this.#pages - 1, this.page + way));
        if (page !== this.page) {
            this.page = page;
            this.turned();
            announce(this.#words());
        }
        return this.#pages > 1;
    }

    /**
     * @param {Plan} plan
     * @param {string} speaks the name of somebody who speaks and stands on another page, or ""
     */
    draw({ page, pages, pager }, speaks) {
        this.page = page;
        this.#pages = pages;
        show(this.bar, pages > 1);
        if (pages === 1) return;
        fill(this.bar, { page: text("page-short", { page: page + 1, pages }), speaks: speaks && text("page-speaks", { name: speaks }) });
        one("[data-do=page-back]", this.bar).setAttribute("aria-disabled", String(page === 0));
        one("[data-do=page-on]", this.bar).setAttribute("aria-disabled", String(page === pages - 1));
        for (const [side, length] of Object.entries(pager)) this.bar.style.setProperty(`--${side}`, `${length}px`);
    }

    #words() {
        return text("page", { page: this.page + 1, pages: this.#pages });
    }

    #swipes() {
        let [fromX, fromY] = [0, 0];
        this.stage.addEventListener("touchstart", ({ touches: [touch] }) => { [fromX, fromY] = [touch.clientX, touch.clientY]; }, { passive: true });
        this.stage.addEventListener("touchend", ({ changedTouches: [touch] }) => {
            const [across, down] = [touch.clientX - fromX, touch.clientY - fromY];
            if (Math.abs(across) < SWIPE || Math.abs(across) < 2 * Math.abs(down)) return;
            this.turn((across < 0) === (getComputedStyle(this.stage).direction === "ltr") ? 1 : -1);
        }, { passive: true });
    }
}
