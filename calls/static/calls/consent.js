// @ts-check
/**
 * The cards on which a person decides, in the lobby and in the room. Yes and no are twins: nothing here treats one of them differently
 * before it was written down. A card shows as chosen only what the server has confirmed.
 */

import { all, copyOf, fill, one } from "./dom.js";
import { SOURCES } from "./protocol.js";
import { text } from "./texts.js";

/** @typedef {import("./protocol.js").Card} Card */
/** @typedef {import("./protocol.js").Mark} Mark */
/** @typedef {import("./protocol.js").Marks} Marks */
/** @typedef {import("./protocol.js").Source} Source */
/**
 * One question on the page. `asked` is an answer that was tapped and is not confirmed yet; `stopping` names sources that were being kept
 * when it was a no: each must be reported as applied before the no counts.
 * @typedef {{card: Card, element: HTMLElement, asked: boolean | null, stopping: Set<Source>}} Entry
 */

/** Something of the source may still be written. @type {Mark[]} */
const KEEPING = ["captured", "stopping"];

export class Cards extends EventTarget {
    /** @type {Map<string, Entry>} */
    #cards = new Map();
    /** @type {Marks} */
    #marks = {};

    /**
     * @param {HTMLElement} place
     * @param {{decide: (purpose: string, granted: boolean) => void, live: boolean}} owner `live` says that media may be flowing,
     *     so that a no has to be applied and not only written down
     */
    constructor(place, owner) {
        super();
        this.place = place;
        this.owner = owner;
    }

    /** @param {Card[]} cards */
    put(cards) {
        const same = cards.length === this.#cards.size && cards.every((card) => this.#cards.get(card.purpose)?.card.notice === card.notice);
        if (!same) this.#build(cards);
        for (const card of cards) if (this.#cards.get(card.purpose)?.asked === null) this.settle(card.purpose, card.answer);
        this.#changed();
    }

    /** The line is open (again): say what was tapped while it was not. A withdrawal in particular must not be lost with it. */
    again() {
        for (const [purpose, entry] of this.#cards) {
            entry.stopping.clear(); // the roster of the new line says what is so by then
            if (entry.asked !== null) this.owner.decide(purpose, entry.asked);
        }
    }

    /** @returns {Card[]} */
    get cards() {
        return [...this.#cards.values()].map((entry) => entry.card);
    }

    get done() {
        return this.cards.filter((card) => card.answer !== null).length;
    }

    /**
     * The server has written an answer down.
     * @param {string} purpose
     * @param {boolean | null} answer
     */
    settle(purpose, answer) {
        const entry = this.#cards.get(purpose);
        if (!entry) return;
        const fresh = entry.asked !== null;
        const withdrew = this.owner.live && entry.asked === false && entry.card.answer === true;
        entry.card.answer = answer;
        entry.asked = null;
        this.#draw(entry, fresh && answer !== null ? text(withdrew ? "withdrawn" : answer ? "saved-yes" : "saved-no") : null);
        this.#changed();
    }

    /**
     * What the worker says of our own sources, as far as it answers a card that waits for it or one that was changed elsewhere.
     * @param {Marks} marks
     */
    follow(marks) {
        this.#marks = marks;
        for (const [purpose, entry] of this.#cards) {
            if (entry.asked === false) this.#note(purpose, entry);
            if (entry.stopping.size) continue;
            const mark = (SOURCES[purpose] ?? []).map((source) => marks[source]).find(Boolean);
            if (!mark || mark === "undecided" || mark === "fault" || mark === "paused" || mark === "stopping") continue;
            const answer = mark !== "declined";
            if (entry.asked === null ? answer !== entry.card.answer : answer === entry.asked) this.settle(purpose, answer);
        }
    }

    /**
     * The worker has taken the recorder off a source, or put it on.
     * @param {Source} source
     * @param {Mark} mark
     */
    applied(source, mark) {
        for (const entry of this.#cards.values()) if (!KEEPING.includes(mark)) entry.stopping.delete(source);
    }

    /**
     * Remember which sources of a purpose are being kept while a no is on its way.
     * @param {string} purpose
     * @param {Entry} entry
     */
    #note(purpose, entry) {
        for (const source of SOURCES[purpose] ?? []) if (KEEPING.includes(this.#marks[source] ?? "undecided")) entry.stopping.add(source);
    }

    /**
     * What was asked was refused: say so.
     * @param {unknown} code of the refusal
     */
    fail(code) {
        for (const entry of this.#cards.values()) {
            if (entry.asked === null) continue;
            entry.asked = null;
            entry.stopping.clear();
            this.#draw(entry, text(code === "being-erased" ? "being-erased" : "not-saved"));
        }
    }

    /** @param {Card[]} cards */
    #build(cards) {
        this.#cards.clear();
        const level = this.owner.live ? "h3" : "h2";
        this.place.replaceChildren(...cards.map((card, index) => {
            const element = copyOf("card");
            fill(element, { title: card.title, what: card.what, why: card.why, who_sees: card.who_sees, keep_text: card.keep_text, state: "" });
            const title = document.createElement(level);
            title.id = `${this.place.dataset.cards || "card"}-${level}-${index}`;
            title.textContent = card.title;
            one("[data-slot=title]", element).replaceWith(title);
            one("[role=group]", element).setAttribute("aria-labelledby", title.id);
            if (this.owner.live) this.#fold(element);
            /** @type {Entry} */
            const entry = { card: { ...card }, element, asked: null, stopping: new Set() };
            element.dataset.purpose = card.purpose;
            for (const button of all("[data-answer]", element)) {
                button.addEventListener("click", () => this.#ask(card.purpose, button.dataset.answer === "yes"));
            }
            this.#cards.set(card.purpose, entry);
            return element;
        }));
    }

    /**
     * In the room the answers come first, one tap away; the words, read on the way in, are folded under them.
     * @param {HTMLElement} element
     */
    #fold(element) {
        const details = document.createElement("details");
        const summary = document.createElement("summary");
        summary.textContent = text("words");
        details.append(summary, one(".question-facts", element));
        element.append(details);
    }

    /**
     * @param {string} purpose
     * @param {boolean} granted
     */
    #ask(purpose, granted) {
        const entry = this.#cards.get(purpose);
        if (!entry || entry.asked === granted || (entry.asked === null && entry.card.answer === granted)) return;
        entry.asked = granted;
        entry.stopping.clear();
        if (this.owner.live && !granted) this.#note(purpose, entry);
        const stops = this.owner.live && !granted && entry.card.answer === true;
        this.#draw(entry, text(stops ? "stopping" : "saving"));
        this.owner.decide(purpose, granted);
    }

    /**
     * @param {Entry} entry
     * @param {string | null} state
     */
    #draw({ card, element, asked }, state) {
        element.toggleAttribute("data-asking", asked !== null);
        for (const button of all("[data-answer]", element)) {
            const yes = button.dataset.answer === "yes";
            button.setAttribute("aria-pressed", String(card.answer === yes));
            button.toggleAttribute("data-asked", asked === yes);
        }
        if (state !== null) one("[data-slot=state]", element).textContent = state;
    }

    #changed() {
        this.dispatchEvent(new Event("changed"));
    }
}
