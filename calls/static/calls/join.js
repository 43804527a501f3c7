// @ts-check
/** From the invitation into the call, one step at a time: who invites, answers, devices, waiting room, room. */

import { Check } from "./check.js";
import { Cards } from "./consent.js";
import { Devices, supported } from "./devices.js";
import { all, context, one, show } from "./dom.js";
import { drawMark, NAMED } from "./marks.js";
import { LOBBY_HEARD, LOBBY_SENT } from "./protocol.js";
import { Room } from "./room.js";
import { Line } from "./signalling.js";
import { announce, listed, text } from "./texts.js";

/** @typedef {"welcome" | "answers" | "devices" | "waiting"} Step */
/** @typedef {import("./protocol.js").Card} Card */

const STATES = /** @type {Record<string, string>} */ ({ DENIED: "denied", REMOVED: "removed" });

class Join {
    /** @type {Step[]} */
    #steps = ["welcome", "answers", "devices", "waiting"];
    /** @type {Step} */
    #step = "welcome";
    #asked = false;
    #admitted = false;
    #entered = false;

    constructor() {
        this.context = context();
        this.devices = new Devices();
        this.check = new Check(one("[data-step=devices]"), this.devices);
        this.cards = new Cards(one("[data-step=answers] [data-cards]"), {
            decide: (purpose, granted) => this.line.send("decide", { purpose, granted }),
            live: false,
        });
        this.cards.addEventListener("changed", () => {
            this.#count();
            this.check.kept.answers(this.cards.cards);
        });
        this.line = new Line(
            { path: this.context.lobby_url, ticketUrl: this.context.ticket_url, kind: "lobby", sent: LOBBY_SENT, heard: LOBBY_HEARD },
            { heard: (message) => this.#hear(message), opened: () => {}, lost: () => this.#lost(), refused: (code) => this.#over(code) },
        );
        for (const step of all("[data-step]")) {
            step.querySelector("[data-do=next]")?.addEventListener("click", () => this.#next());
            step.querySelector("[data-do=back]")?.addEventListener("click", () => this.#go(this.#beside(-1)));
            step.querySelector("[data-do=answers]")?.addEventListener("click", () => this.#go("answers"));
        }
    }

    async start() {
        if (!supported()) {
            this.#over("unsupported");
            return;
        }
        one("[data-step=welcome] [data-do=next]").removeAttribute("disabled"); // before this, a tap would have been lost
        if (this.context.cards) this.#ask(this.context.cards);
        this.#progress();
        if (this.context.start === "call") await this.#resume();
        else await this.line.open();
    }

    /** After a reload in the call: straight back, with the devices that were on. Whoever was muted is not even asked for a microphone. */
    async #resume() {
        const missing = /** @type {const} */ (["mic", "cam"]).filter((device) => this.devices.wanted[device]);
        await this.devices.acquire([...missing]);
        await this.#enter();
    }

    /** @param {any} message */
    #hear(message) {
        show(one("[data-lobby-banner]"), false);
        switch (message.kind) {
            case "lobby": return this.#lobby(message);
            case "answered": return this.cards.settle(message.purpose, message.granted);
            case "moved": return this.#position(message.position);
            case "admitted": return this.#letIn();
            case "denied": return this.#over("denied");
            case "refused": return this.cards.fail(message.code);
            case "closed": return message.reason === "worker-lost" ? undefined : this.#over(message.reason);
        }
    }

    /** @param {{state: string, waiting_position: number | null, cards: Card[]}} message */
    #lobby({ state, waiting_position, cards }) {
        if (STATES[state]) {
            this.#over(STATES[state]);
            return;
        }
        this.#ask(cards);
        this.cards.again();
        if (waiting_position) this.#position(waiting_position);
        if (this.#step === "waiting") this.line.send("ready");
    }

    /** @param {Card[]} cards */
    #ask(cards) {
        this.#asked = true;
        this.cards.put(cards);
        if (this.#step === "answers" && !cards.length) this.#go("devices");
        else this.#progress();
    }

    #next() {
        if (this.#step === "answers" && !(this.#asked && this.cards.done === this.cards.cards.length)) {
            this.#say(text("answer-all"));
            return;
        }
        this.#go(this.#beside(1));
    }

    /**
     * The step before or after, leaving out the questions where it is known that none is asked.
     * @param {1 | -1} way
     * @returns {Step}
     */
    #beside(way) {
        const steps = this.#shown();
        return steps[Math.max(0, Math.min(steps.length - 1, steps.indexOf(this.#step) + way))];
    }

    #shown() {
        return this.#steps.filter((step) => step !== "answers" || !this.#asked || this.cards.cards.length > 0);
    }

    /** @param {Step} step */
    #go(step) {
        this.#step = step;
        for (const name of this.#steps) show(one(`[data-step=${name}]`), name === step);
        this.#progress();
        window.scrollTo(0, 0);
        one(`[data-step=${step}] h1`).focus();
        if (step === "devices") this.check.start();
        else this.check.stop();
        if (step !== "waiting") return;
        this.devices.remember();
        if (this.#admitted) this.#enter();
        else this.line.send("ready");
    }

    #progress() {
        const steps = this.#shown();
        const line = one("[data-progress]");
        line.textContent = text("progress", { step: steps.indexOf(this.#step) + 1, steps: steps.length });
        show(line, true);
    }

    #count() {
        const { done, cards } = this.cards;
        one("[data-step=answers] [data-do=next]").setAttribute("aria-disabled", String(done < cards.length));
        this.#say(text("answered", { done, all: cards.length }));
    }

    /** @param {string} words */
    #say(words) {
        one("[data-answered]").textContent = words;
    }

    /** @param {number} position */
    #position(position) {
        one("[data-step=waiting] [data-slot=position]").textContent = text(position === 1 ? "position-next" : "position", { position });
    }

    #letIn() {
        this.#admitted = true;
        if (this.#step === "waiting") this.#enter();
    }

    async #enter() {
        if (this.#entered) return;
        this.#entered = true;
        announce(text("joining"));
        const cards = this.cards.cards;
        this.line.close();
        this.check.stop();
        show(one("#join"), false);
        show(one("[data-step=room]"), true);
        document.documentElement.dataset.in = "room";
        one("#room-title").focus();
        await new Room(this.context, this.devices, cards, (state, kept, erased) => this.#over(state, kept, erased)).enter();
    }

    /**
     * What this page saw being kept of us, and whether it was erased from here.
     * @param {import("./protocol.js").Source[]} kept
     * @param {boolean} erased
     */
    #after(kept, erased) {
        const sources = NAMED.filter((source) => kept.some((one) => one.startsWith(source)));
        const words = sources.length ? text("after-kept", { sources: listed(sources.map((source) => text(`source-${source}`))) }) : text(erased ? "erased-own" : "after-nothing");
        const mark = one("[data-after-mark]");
        drawMark(mark, sources.length ? "captured" : erased ? "stopping" : "off", words);
        mark.dataset.sources = sources.join(" ");
        show(one("[data-after-withdraw]"), sources.length > 0);
    }

    #lost() {
        const banner = one("[data-lobby-banner]");
        banner.textContent = text("lobby-lost");
        show(banner, true);
    }

    /**
     * @param {string} state
     * @param {import("./protocol.js").Source[]} [kept] after a call: which of our sources were captured
     * @param {boolean} [erased] after a call: whether what was captured before was erased from there
     */
    #over(state, kept, erased = false) {
        this.line.close();
        this.check.stop();
        this.devices.release("mic");
        this.devices.release("cam");
        delete document.documentElement.dataset.in;
        for (const name of this.#steps) show(one(`[data-step=${name}]`), false);
        show(one("[data-progress]"), false);
        show(one("[data-lobby-banner]"), false);
        const page = one("[data-step=over]");
        const states = all("[data-state]", page);
        const wanted = states.find((card) => card.dataset.state === state) ?? one("[data-state=unknown]", page);
        for (const card of states) show(card, card === wanted);
        show(one("[data-after]", page), kept !== undefined);
        if (kept) this.#after(kept, erased);
        show(page, true);
        show(one("#join"), true);
        one("h1", wanted).focus();
    }
}

new Join().start();
