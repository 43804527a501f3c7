// @ts-check
/** The page's one clock: recording time, taken from performance.now(). Media elements follow it; it follows none of them. */

export class Clock {
    #base = 0;
    /** performance.now() when the clock stood at #base, or null while it stands still. @type {number | null} */
    #since = null;
    #speed = 1;

    /** @param {number} duration ms */
    constructor(duration) {
        this.duration = duration;
    }

    /** Recording time in ms. */
    get now() {
        const passed = this.#since === null ? 0 : (performance.now() - this.#since) * this.#speed;
        return Math.min(this.duration, this.#base + passed);
    }

    set now(to) {
        this.#base = Math.max(0, Math.min(this.duration, to));
        if (this.#since !== null) this.#since = performance.now();
    }

    get running() {
        return this.#since !== null;
    }

    set running(wanted) {
        if (wanted === this.running) return;
        this.#base = this.now;
        this.#since = wanted ? performance.now() : null;
    }

    get speed() {
        return this.#speed;
    }

    set speed(to) {
        this.now = this.now;
        this.#speed = to;
    }
}
