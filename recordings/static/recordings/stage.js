// @ts-check
/** The tiles of a recording, as in the room: one for each person, always; one for each shared screen while it is there. */

import { copyOf, fill, one, show } from "../calls/dom.js";
import { announce, text } from "../calls/texts.js";
import { Part } from "./element.js";
import { drawStanding, standing } from "./standing.js";

/** @typedef {import("./manifest.js").Kept} Kept */
/** @typedef {import("./manifest.js").Manifest} Manifest */
/** @typedef {import("./manifest.js").Person} Person */

const SCREEN = ["screen", "screen-audio"];

/** One tile with the files that play in it. */
export class Tile {
    #told = "";

    /**
     * @param {string} id
     * @param {string} name who or whose screen it is
     * @param {Kept[]} sources
     * @param {{changed: () => void, blocked: () => void}} owner
     */
    constructor(id, name, sources, owner) {
        this.name = name;
        this.sources = sources.map((kept) => ({ kept, parts: kept.files.map((file) => new Part(file, owner)) }));
        this.element = copyOf("player-tile");
        this.element.dataset.tile = id;
        fill(this.element, { name, initials: initials(name) });
        for (const { kept, parts } of this.sources) {
            for (const { element } of parts) {
                if (element instanceof HTMLVideoElement) element.setAttribute("aria-label", kept.source === "cam" ? text("picture-of", { name }) : name);
                this.element.prepend(element);
            }
        }
        this.trouble = copyOf("player-trouble");
        one("[data-do=retry]", this.trouble).addEventListener("click", () => this.#retry());
    }

    get parts() {
        return this.sources.flatMap((source) => source.parts);
    }

    /**
     * Show what may be seen at this moment, and nothing else.
     * @param {number} at ms
     */
    draw(at) {
        const pictures = this.parts.filter((part) => part.element instanceof HTMLVideoElement);
        for (const part of pictures) part.element.toggleAttribute("data-shown", part.shows(at));
        const seen = pictures.some((part) => part.shows(at));
        const heard = this.sources.some(({ kept, parts }) => kept.source === "mic" && parts.some((part) => part.covers(at) && !part.trouble));
        this.element.toggleAttribute("data-picture", seen);
        this.element.toggleAttribute("data-voice", heard);
        drawStanding(one(".mark", this.element), this.#standing(at));
        this.#trouble(at);
    }

    /**
     * Does anything of this tile belong to this moment?
     * @param {number} at ms
     */
    covers(at) {
        return this.parts.some((part) => part.covers(at));
    }

    /**
     * @param {number} at ms
     * @returns {import("./standing.js").Standing}
     */
    #standing(at) {
        const here = this.sources.filter(({ parts }) => parts.some((part) => part.covers(at) && part.trouble !== "erased"));
        const gone = this.parts.some((part) => part.covers(at) && part.trouble === "erased");
        if (gone && !here.length) return { mark: "erased", words: text("mark-erased") };
        return standing(this.sources.map(({ kept }) => kept), (kept) => here.some((source) => source.kept === kept));
    }

    /** @param {number} at ms */
    #trouble(at) {
        const broken = this.sources.filter(({ parts }) => parts.some((part) => part.trouble === "broken" && part.covers(at)));
        const faults = broken.map(({ kept }) => text("part-broken", { source: text(`part-${kept.source}`) })).join(" ");
        const words = faults && text("part-told", { name: this.name, words: faults });
        if (words === this.#told) return;
        this.#told = words;
        fill(this.trouble, { trouble: words });
        show(this.trouble, words !== "");
        if (words) announce(words);
    }

    #retry() {
        for (const part of this.parts) if (part.trouble === "broken") part.retry();
    }
}

export class Stage {
    /**
     * @param {HTMLElement} place
     * @param {HTMLElement} troubles where a file that cannot be opened is named
     * @param {Manifest} manifest
     * @param {{changed: () => void, blocked: () => void}} owner
     */
    constructor(place, troubles, manifest, owner) {
        this.screens = one(".stage-screens", place);
        this.place = one(".stage-people", place);
        new ResizeObserver(() => this.#reach()).observe(this.place);
        this.people = manifest.people.map((person, index) => {
            const sources = person.sources.filter(({ source }) => !SCREEN.includes(source));
            return new Tile(`${index}/person`, named(person), sources, owner);
        });
        this.shared = manifest.people.flatMap((person, index) => {
            const sources = person.sources.filter(({ source, files }) => SCREEN.includes(source) && files.length);
            return sources.length ? [new Tile(`${index}/screen`, text("screen-of", { name: named(person) }), sources, owner)] : [];
        });
        this.place.append(...this.people.map((tile) => tile.element));
        this.place.dataset.count = String(Math.min(this.people.length, 10));
        for (const { element } of this.shared) {
            element.classList.add("tile-screen");
            show(element, false);
        }
        troubles.append(...this.tiles.map((tile) => tile.trouble));
        this.screens.append(...this.shared.map((tile) => tile.element));
    }

    get tiles() {
        return [...this.people, ...this.shared];
    }

    get parts() {
        return this.tiles.flatMap((tile) => tile.parts);
    }

    /** @param {number} at ms */
    draw(at) {
        for (const tile of this.tiles) tile.draw(at);
        for (const tile of this.shared) show(tile.element, tile.covers(at));
        show(this.screens, this.shared.some((tile) => tile.covers(at)));
    }

    /** What scrolls must be reachable by key: beside a shared screen the people may be more than fit. */
    #reach() {
        const { clientWidth, clientHeight, scrollWidth, scrollHeight } = this.place;
        if (scrollWidth > clientWidth || scrollHeight > clientHeight) this.place.tabIndex = 0;
        else this.place.removeAttribute("tabindex");
    }
}

/** @param {Person} person */
export const named = (person) => (person.you ? text("me", { name: person.name }) : person.name);

/** @param {string} name */
function initials(name) {
    const words = name.replace(/\(.*\)/, "").trim().split(/\s+/);
    const first = [words[0], words.length > 1 ? words[words.length - 1] : ""].map((word) => [...word][0] ?? "");
    return first.join("").toLocaleUpperCase(document.documentElement.lang);
}
