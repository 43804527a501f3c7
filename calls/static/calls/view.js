// @ts-check
/**
 * Who has the stage: everybody alike (grid), or somebody large: whatever is pinned, else shared screens, else, in speaker view, whoever
 * speaks. Forgotten with the page.
 */

/** @typedef {import("./layout.js").Cast} Cast */

/** @param {string} id of a tile */
export const isScreen = (id) => id.endsWith("/screen");

export class View {
    /** Speaker view was asked for. */
    speaker = false;
    /** The tile that is pinned, or "". */
    pinned = "";
    #last = "";

    /** @param {string} participant the loudest now; "" where nobody speaks, and then the last one keeps the stage */
    heard(participant) {
        this.#last = participant || this.#last;
    }

    /**
     * Pin a tile, or let the pinned one go.
     * @param {string} id
     * @returns {boolean} is it pinned now?
     */
    pin(id) {
        this.pinned = this.pinned === id ? "" : id;
        return this.pinned !== "";
    }

    /**
     * A pinned person stands beside shared screens, a pinned screen before everything else; letting go brings back what was before. Our own
     * screen stands among the people: we have it before us anyway, and want to see them.
     * @param {string[]} ids every tile in the order of the stage
     * @param {string} me large only where nobody else is there, or pinned
     * @returns {Cast}
     */
    cast(ids, me) {
        if (!ids.includes(this.pinned)) this.pinned = "";
        if (isScreen(this.pinned)) return { main: [this.pinned], beside: "", rest: ids.filter((id) => id !== this.pinned) };
        const screens = ids.filter((id) => isScreen(id) && id !== `${me}/screen`);
        const people = ids.filter((id) => !isScreen(id));
        const large = this.pinned || (this.speaker ? this.#speaking(people, `${me}/person`) : "");
        const rest = ids.filter((id) => id !== large && !screens.includes(id));
        if (screens.length) return { main: screens, beside: large, rest };
        return { main: large ? [large] : [], beside: "", rest };
    }

    /**
     * @param {string[]} people
     * @param {string} own
     */
    #speaking(people, own) {
        const last = `${this.#last}/person`;
        if (people.includes(last) && last !== own) return last;
        return people.find((id) => id !== own) ?? own;
    }
}
