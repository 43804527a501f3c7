// @ts-check
/**
 * Recording, as people see it: everybody is told what the writer reports; hosts start and stop it and see who is in, who is out, and why.
 * A click changes nothing that is shown. What is shown follows the worker's `recording` message and the marks of each person.
 */

import { copyOf, fill, one, post, show } from "./dom.js";
import { drawMark, lines } from "./marks.js";
import { announce, has, text } from "./texts.js";

/** @typedef {import("./protocol.js").Mark} Mark */
/** @typedef {import("./people.js").Seen} Person */
/** @typedef {"off" | "starting" | "on" | "fault"} State */
/** @typedef {{url: string, tenant: string}} Where where recordings are started and stopped, and for which tenant */

/**
 * The mark of each state, as people see it: "idle" is a recording that runs while there is nobody to keep.
 * @type {Record<State | "idle" | "unknown", import("./marks.js").Shown>}
 */
const MARKS = { off: "off", idle: "off", starting: "starting", on: "captured", fault: "fault", unknown: "unknown" };
const LIVE = ["REQUESTED", "CAPTURING", "PAUSED"];
/** Whoever has one of these is in: kept now, or kept as soon as something is sent while a recording runs. @type {Mark[]} */
const IN = ["captured", "starting", "stopping", "paused", "agreed"];
/** Whoever has one of these is being kept, or the first or last piece is on its way. @type {Mark[]} */
const WRITTEN = ["captured", "starting", "stopping"];

/** A refusal of the server, by its code. */
class Refusal extends Error {}

export class Recording {
    /** @type {State | null} */
    #state = null;
    /** What was last heard: while nothing is known, whoever may stop a recording still can. @type {State} */
    #last = "off";
    #since = "";
    #host = false;
    #busy = false;
    #id = "";
    /** Is anything of anybody being written, by the marks? */
    #written = false;

    /**
     * @param {HTMLElement} element the room
     * @param {Where | null} where null for whoever may not record
     * @param {{call: () => string, say: (words: string) => void, fail: (words: string) => void, changed: () => void}} owner `call` is the id of
     *     this sitting; `fail` says what went wrong where the panel is not open
     */
    constructor(element, where, owner) {
        this.element = element;
        this.panel = one("#record-panel", element);
        this.button = one(".controls [data-do=record]", element);
        this.where = where;
        this.owner = owner;
        one("[data-do=record-start]", this.panel).addEventListener("click", () => this.start());
        one("[data-do=record-stop]", this.panel).addEventListener("click", () => this.stop());
    }

    get running() {
        return (this.#state ?? this.#last) !== "off";
    }

    /** May this page start and stop? */
    get offered() {
        return this.#host && this.where !== null;
    }

    /** What the button of the bar and its key do. */
    toggle() {
        return this.running ? this.stop() : this.start();
    }

    start() {
        return this.#try(async (where) => {
            const made = await this.#call(where.url, { call: this.owner.call() });
            this.#id = made.id;
        });
    }

    stop() {
        return this.#try(async (where) => {
            const id = this.#id || (await this.#find(where));
            await this.#call(`${where.url}/${encodeURIComponent(id)}/stop`, {});
            this.#id = "";
        });
    }

    /**
     * The worker's word. Everybody hears of a change; whoever comes later hears of it where something is being recorded.
     * @param {State} state
     * @param {string} since
     */
    heard(state, since) {
        if (!(state in MARKS) || ["unknown", "idle"].includes(state)) return;
        const before = this.#state;
        if (before === state && this.#since === since) return;
        this.#state = this.#last = state;
        this.#since = since;
        if (!this.running) this.#id = "";
        if (before !== state && (before !== null || state !== "off")) announce(text(`recording-told-${state}`));
        this.owner.say(state === "fault" ? text("recording-told-fault") : "");
        this.#problem("");
        this.#draw();
    }

    /** The line to the worker is gone: nobody says any more what is written. */
    lost() {
        this.#state = null;
        this.owner.say("");
        this.#draw();
    }

    /**
     * @param {Person[]} people
     * @param {string} me
     */
    people(people, me) {
        this.#host = people.some((person) => person.participant === me && person.role === "host");
        this.#written = people.some((person) => Object.values(person.marks).some((mark) => WRITTEN.includes(/** @type {Mark} */ (mark))));
        show(this.button, this.offered);
        if (!this.offered) {
            this.#draw();
            return;
        }
        const known = this.#state !== null;
        const isIn = (/** @type {Person} */ person) => !known || Object.values(person.marks).some((mark) => IN.includes(/** @type {Mark} */ (mark)));
        show(one("[data-side=out]", this.panel), known);
        this.#list("in", people.filter(isIn), me);
        this.#list("out", people.filter((person) => !isIn(person)), me);
        this.#draw();
    }

    /**
     * @param {"in" | "out"} side
     * @param {Person[]} people
     * @param {string} me
     */
    #list(side, people, me) {
        show(one(`[data-none=${side}]`, this.panel), people.length === 0);
        one(`[data-list=${side}]`, this.panel).replaceChildren(...people.map((person) => {
            const element = copyOf("recorded-person");
            element.dataset.participant = person.participant;
            fill(element, { name: person.participant === me ? text("me", { name: person.name }) : person.name });
            one(".person-marks", element).replaceChildren(...lines(person.marks).map(({ mark, words }) => {
                const item = document.createElement("li");
                const drawn = one(".mark", copyOf("tile"));
                drawMark(drawn, mark, words);
                item.append(drawn);
                return item;
            }));
            return element;
        }));
    }

    /** Nobody is told that a recording is starting while everybody has said no. */
    get #shown() {
        if (this.#state === "starting" && !this.#written) return "idle";
        return this.#state ?? "unknown";
    }

    #draw() {
        const state = this.#shown;
        const words = text(`recording-${state}`);
        const moment = state !== "idle" && this.#state && this.running && this.#since ? new Date(this.#since) : null;
        const time = moment && !Number.isNaN(moment.getTime()) ? moment.toLocaleTimeString(document.documentElement.lang, { hour: "2-digit", minute: "2-digit", hourCycle: "h23" }) : "";
        const line = time ? text("recording-since", { state: words, time }) : words;
        const top = one("[data-recording]", this.element);
        top.dataset.state = state;
        top.textContent = line;
        drawMark(one("[data-record-state]", this.panel), MARKS[state], line);
        this.button.dataset.state = state;
        this.button.setAttribute("aria-pressed", state === "starting" || state === "unknown" ? "mixed" : String(this.running));
        one("[data-word]", this.button).textContent = text(`record-word-${state === "idle" ? "on" : state}`);
        one("[data-slot=in-title]", this.panel).textContent = text(this.#state === null ? "record-in-unknown" : this.running ? "record-in" : "record-would-be-in");
        one("[data-slot=out-title]", this.panel).textContent = text(this.running ? "record-out" : "record-would-be-out");
        const [start, stop] = [one("[data-do=record-start]", this.panel), one("[data-do=record-stop]", this.panel)];
        const focused = document.activeElement === start || document.activeElement === stop;
        show(start, !this.running);
        show(stop, this.running);
        if (focused) (this.running ? stop : start).focus();
        for (const button of [start, stop]) button.setAttribute("aria-disabled", String(this.#busy));
    }

    /** @param {(where: Where) => Promise<void>} work */
    async #try(work) {
        if (this.#busy || !this.offered || !this.where) return;
        this.#busy = true;
        this.#problem("");
        this.#draw();
        try {
            await work(this.where);
        } catch (error) {
            const name = error instanceof Refusal ? `record-refused-${error.message}` : "record-unreached";
            this.#problem(text(has(name) ? name : "refused"));
        } finally {
            this.#busy = false;
            this.#draw();
            this.owner.changed();
        }
    }

    /** @param {string} words */
    #problem(words) {
        one("[data-slot=problem]", this.panel).textContent = words;
        if (words && this.panel.hidden) this.owner.fail(words);
    }

    /**
     * The recording that somebody else started, or that this page started before it was loaded again.
     * @param {Where} where
     */
    async #find(where) {
        const headers = { "Cleac-Tenant": where.tenant };
        const url = `${where.url}?call=${encodeURIComponent(this.owner.call())}`;
        const found = await this.#answer(await fetch(url, { credentials: "same-origin", cache: "no-store", headers }));
        const live = (found.results ?? []).find((/** @type {{call: string, state: string}} */ one) => one.call === this.owner.call() && LIVE.includes(one.state));
        if (!live) throw new Refusal("not-recording");
        return String(live.id);
    }

    /**
     * @param {string} url
     * @param {Record<string, unknown>} body
     */
    async #call(url, body) {
        return this.#answer(await post(url, body, { "Cleac-Tenant": this.where?.tenant ?? "" }));
    }

    /** @param {Response} answer */
    async #answer(answer) {
        const body = await answer.json().catch(() => ({}));
        if (!answer.ok) throw new Refusal(body.errors?.[0]?.code ?? body.code ?? String(answer.status));
        return body;
    }
}
