// @ts-check
/** One lane for each source of each person, below the seek bar and to its scale: what was kept is drawn, what was not is said. */

import { copyOf, fill, one } from "../calls/dom.js";
import { NAMED } from "../calls/marks.js";
import { listed, text } from "../calls/texts.js";
import { clockTime, stretches } from "./manifest.js";
import { named } from "./stage.js";
import { drawStanding } from "./standing.js";

/** @typedef {import("./manifest.js").Kept} Kept */
/** @typedef {import("./manifest.js").Manifest} Manifest */
/** @typedef {import("./manifest.js").Span} Span */

const SPOKEN = 6; // stretches that are named one by one

export class Lanes {
    /**
     * @param {HTMLElement} place
     * @param {Manifest} manifest
     * @param {(at: number) => void} seek
     */
    constructor(place, manifest, seek) {
        this.place = place;
        this.duration = manifest.duration_ms;
        this.lines = manifest.people.map((person) => {
            const item = copyOf("player-lanes");
            fill(item, { name: named(person) });
            const sources = person.sources.filter((kept) => NAMED.some((name) => name === kept.source));
            one(".lane-sources", item).append(...sources.map((kept) => this.#lane(kept)));
            return item;
        });
        one("ul", place).append(...this.lines);
        for (const track of place.querySelectorAll(".lane-track")) {
            track.addEventListener("click", (event) => seek(this.#moment(track, /** @type {MouseEvent} */ (event))));
        }
    }

    /** @param {number} at ms */
    draw(at) {
        this.place.style.setProperty("--at", String(this.duration ? at / this.duration : 0));
    }

    /** @param {Kept} kept */
    #lane(kept) {
        const lane = copyOf("player-lane");
        lane.dataset.source = kept.source;
        fill(lane, { source: text(`lane-${kept.source}`) });
        const spans = stretches(kept.files);
        const mark = one(".mark", lane);
        if (spans.length) {
            mark.remove();
            fill(lane, { spans: words(spans) });
            one(".lane-track", lane).append(...spans.map((span) => this.#stretch(span)));
        } else {
            const shown = kept.mark === "captured" ? "nothing" : kept.mark;
            drawStanding(mark, { mark: shown, words: text(`mark-${shown}`) });
        }
        return lane;
    }

    /** @param {Span} span */
    #stretch([start, end]) {
        const stretch = document.createElement("i");
        stretch.className = "lane-stretch";
        stretch.style.insetInlineStart = `${(start / this.duration) * 100}%`;
        stretch.style.inlineSize = `${((end - start) / this.duration) * 100}%`;
        return stretch;
    }

    /**
     * @param {Element} track
     * @param {MouseEvent} event
     */
    #moment(track, event) {
        const box = track.getBoundingClientRect();
        const part = (event.clientX - box.left) / box.width;
        return (getComputedStyle(track).direction === "rtl" ? 1 - part : part) * this.duration;
    }
}

/**
 * The stretches in words, for those who do not see the lane.
 * @param {Span[]} spans
 */
function words(spans) {
    if (spans.length > SPOKEN) return text("lane-many", { count: spans.length });
    return text("lane-kept", { spans: listed(spans.map(([from, to]) => text("lane-span", { from: clockTime(from), to: clockTime(to) }))) });
}
