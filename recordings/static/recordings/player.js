// @ts-check
/** The player of a recording: every file in an element of its own, all of them held to one clock. */

import { one, show } from "../calls/dom.js";
import { Clock } from "./clock.js";
import { Controls } from "./controls.js";
import { Lanes } from "./lanes.js";
import { manifest } from "./manifest.js";
import { Stage } from "./stage.js";

const LOADING = 500; // ms of waiting before the page says so
const UNSEEN = 250; // ms between looks at the clock, also while the window is hidden and nothing is drawn

class Player {
    #wanted = false;
    #blocked = false;
    #over = false;
    #ended = false;
    /** performance.now() when the clock began to wait for a file. @type {number | null} */
    #waiting = null;
    #ticking = false;

    /** @param {HTMLElement} element */
    constructor(element) {
        this.element = element;
        const told = manifest("manifest");
        this.clock = new Clock(told.duration_ms);
        const owner = { changed: () => this.#tick(), blocked: () => this.#block() };
        this.stage = new Stage(one("[data-stage]", element), one("[data-troubles]", element), told, owner);
        this.parts = this.stage.parts;
        this.lanes = new Lanes(one("[data-lanes]", element), told, (at) => this.seek(at));
        this.controls = new Controls(one("[data-controls]", element), told.duration_ms, {
            toggle: () => this.toggle(),
            seek: (at) => this.seek(at),
            skip: (by) => this.seek(this.clock.now + by),
            speed: (to) => { this.clock.speed = to; this.#tick(); },
            volume: (to, muted) => { for (const { element: media } of this.parts) Object.assign(media, { volume: to, muted }); },
        });
        show(one("[data-incomplete]", element), told.incomplete);
        const empty = this.parts.length === 0;
        show(one("[data-nothing]", element), empty);
        show(this.controls.element, !empty);
        setInterval(() => this.#tick(), UNSEEN);
        this.#tick();
    }

    toggle() {
        if (this.#ended) this.seek(0);
        this.#wanted = !this.#wanted;
        this.#blocked = false;
        this.#tick();
        if (this.#wanted) requestAnimationFrame(() => this.#frame());
    }

    /** @param {number} at ms */
    seek(at) {
        if (this.#over) return;
        this.clock.now = at;
        if (this.clock.now < this.clock.duration) this.#ended = false;
        for (const part of this.parts) if (part.covers(this.clock.now)) part.send(this.clock.now);
        this.#tick();
        this.controls.time(this.clock.now, true);
    }

    #frame() {
        this.#tick();
        if (this.#wanted) requestAnimationFrame(() => this.#frame());
    }

    /** One look at the clock and at every file. Elements report from within, so it does not run inside itself. */
    #tick() {
        if (this.#over || this.#ticking) return;
        this.#ticking = true;
        const { clock } = this;
        const at = clock.now;
        if (this.#wanted && at >= clock.duration) {
            this.#wanted = false;
            this.#ended = true;
        }
        const waits = this.parts.some((part) => !part.ready(at));
        clock.running = this.#wanted && !waits;
        for (const part of this.parts) part.follow(at, clock.running, clock.speed);
        this.#draw(at, waits);
        this.#ticking = false;
        if (this.parts.some((part) => part.trouble === "over")) this.#close();
    }

    /**
     * @param {number} at ms
     * @param {boolean} waits
     */
    #draw(at, waits) {
        this.stage.draw(at);
        this.lanes.draw(at);
        this.controls.time(at, false);
        this.#waiting = waits ? this.#waiting ?? performance.now() : null;
        const long = this.#waiting !== null && performance.now() - this.#waiting >= LOADING;
        if (long) this.controls.state("loading", this.#wanted);
        else if (this.#blocked) this.controls.state("blocked", false);
        else if (this.#ended) this.controls.state("ended", false);
        else if (!this.#wanted) this.controls.state("paused", false);
        else if (!waits) this.controls.state("playing", true);
    }

    /** The browser plays sound only after a click in this page. */
    #block() {
        this.#wanted = false;
        this.#blocked = true;
        this.#tick();
    }

    /** The viewing is over: everything that was fetched is let go, and the page says how to go on. */
    #close() {
        this.#over = true;
        this.#wanted = this.clock.running = false;
        for (const part of this.parts) part.release();
        this.controls.close();
        for (const name of ["stage", "troubles", "lanes", "incomplete"]) show(one(`[data-${name}]`, this.element), false);
        const card = one("[data-over]", this.element);
        show(card, true);
        one("h2", card).focus();
    }
}

new Player(one("[data-player]"));
