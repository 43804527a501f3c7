// @ts-check
/** Who has the stage: everybody alike (grid), or one person large: whoever is pinned, else whoever speaks. Forgotten with the page. */

export class View {
    /** Speaker view was asked for. */
    speaker = false;
    /** The pinned participant, or "". */
    pinned = "";
    #last = "";

    /** @param {string} participant the loudest now; "" where nobody speaks, and then the last one keeps the stage */
    heard(participant) {
        this.#last = participant || this.#last;
    }

    /**
     * Pin somebody, or let the pinned one go.
     * @param {string} participant
     * @returns {boolean} is the participant pinned now?
     */
    pin(participant) {
        this.pinned = this.pinned === participant ? "" : participant;
        return this.pinned !== "";
    }

    /**
     * The participant who stands large, or "" where all stand alike.
     * @param {string[]} present in the order of the stage
     * @param {string} me chosen only where nobody else is there
     */
    main(present, me) {
        if (!present.includes(this.pinned)) this.pinned = "";
        if (this.pinned) return this.pinned;
        if (!this.speaker) return "";
        if (present.includes(this.#last) && this.#last !== me) return this.#last;
        return present.find((participant) => participant !== me) ?? me;
    }
}
