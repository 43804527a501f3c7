// @ts-check
/** Everything around the stage: bar, panels, banners, dialogs and keys. It shows and asks; the room does. */

import { all, draw, one, show } from "./dom.js";
import { Floating } from "./floating.js";
import { drawMark } from "./marks.js";
import { announce, text } from "./texts.js";

/**
 * What the controls ask of the room. Said here and not imported: the room imports this module.
 * @typedef {{
 *     on: (device: "mic" | "cam") => boolean,
 *     sharing: boolean,
 *     toggleMic: () => Promise<void>,
 *     toggleCam: () => Promise<void>,
 *     toggleScreen: () => Promise<void>,
 *     recording: { offered: boolean, running: boolean, toggle: () => void },
 *     stage: { picture: () => HTMLVideoElement | null },
 *     toggleView: () => boolean,
 *     turnPage: (way: -1 | 1) => boolean,
 *     leaveCall: () => void,
 *     endCall: () => void,
 *     eraseMine: () => Promise<string>,
 * }} Room
 */
/** @typedef {import("./protocol.js").Waiting} Waiting */

const KEYS = /** @type {Record<string, string>} */ ({ m: "mic", v: "cam", s: "share", p: "people", k: "consent", r: "record", g: "view", i: "float", "?": "keys" });
const TURNS = /** @type {Record<string, -1 | 1>} */ ({ PageUp: -1, PageDown: 1 });
const TYPING = "input, select, textarea, [contenteditable], dialog[open] *";

export class Controls {
    /** @type {Record<string, () => void>} */
    #acts;
    #keptWords = "";

    /**
     * @param {HTMLElement} element
     * @param {Room} room
     */
    constructor(element, room) {
        this.element = element;
        this.room = room;
        this.floating = new Floating(one("[data-do=float]", element), one("[data-stage]", element), {
            picture: () => room.stage.picture(),
            say: (words) => this.say("note", words),
        });
        this.#acts = {
            mic: () => this.#then(room.toggleMic(), () => text(room.on("mic") ? "mic-on" : "mic-off")),
            cam: () => this.#then(room.toggleCam(), () => text(room.on("cam") ? "cam-on" : "cam-off")),
            share: () => this.#then(room.toggleScreen()),
            people: () => this.#panel("people"),
            consent: () => this.#panel("consent"),
            record: () => this.#record(),
            view: () => this.#view(),
            float: () => this.floating.toggle(),
            "record-panel": () => this.#panel("record"),
            keys: () => this.#dialog("keys").showModal(),
            leave: () => room.leaveCall(),
            dismiss: () => this.say("note", ""),
            "close-panel": () => this.#panel(""),
            "ask-end": () => this.#ask("ask-end", () => room.endCall()),
            "ask-erase": () => this.#ask("ask-erase", () => this.#erase()),
        };
        for (const button of all("[data-do]", element)) {
            const act = this.#acts[button.dataset.do ?? ""];
            if (act) button.addEventListener("click", act);
        }
        document.addEventListener("keydown", (event) => this.#key(event));
        this.#buttons();
    }

    /**
     * @param {{name: string}} person
     * @param {() => void} remove
     */
    askRemove(person, remove) {
        one("#ask-remove-title").textContent = text("ask-remove", { name: person.name });
        this.#ask("ask-remove", remove);
    }

    /**
     * Show words in a banner, or take it away.
     * @param {"line" | "note" | "knock" | "recording"} banner
     * @param {string} words
     */
    say(banner, words) {
        const element = one(`[data-banner=${banner}]`, this.element);
        const place = element.querySelector("p") ?? element;
        place.textContent = words;
        show(element, words !== "");
    }

    /**
     * @param {Waiting[]} people
     * @param {boolean} fresh somebody is new in the list
     */
    knock(people, fresh) {
        const words = people.length === 1 ? text("knock", { name: people[0].name }) : text("knock-many", { count: people.length });
        const count = one("[data-count]", this.element);
        count.textContent = String(people.length);
        show(count, people.length > 0);
        if (!people.length || this.#open === "people") this.say("knock", "");
        else this.say("knock", words);
        if (fresh && this.#open === "people") announce(words);
    }

    /**
     * @param {number | null} kept null while nobody tells this page what is written
     * @param {number} people
     */
    kept(kept, people) {
        const words = kept === null ? text("kept-unknown") : text(people === 1 ? "kept-now-alone" : "kept-now", { kept, all: people });
        if (words === this.#keptWords) return;
        this.#keptWords = words;
        drawMark(one("[data-kept]", this.element), kept === null ? "unknown" : kept ? "captured" : "off", words);
        announce(words);
    }

    /** @param {import("./marks.js").Shown} mark */
    own(mark) {
        drawMark(one("[data-control-mark]", this.element), mark);
        this.floating.look();
        this.#buttons();
    }

    /** @param {boolean} alone */
    alone(alone) {
        show(one(".stage-alone", this.element), alone);
    }

    /** @param {"connecting" | "connected" | "trouble"} state */
    network(state) {
        const element = one("[data-network]", this.element);
        element.dataset.state = state;
        one("span", element).textContent = text(state);
    }

    /** @param {number} passed milliseconds */
    time(passed) {
        const seconds = Math.floor(passed / 1000);
        const parts = [Math.floor(seconds / 3600), Math.floor(seconds / 60) % 60, seconds % 60];
        const [hours, minutes, rest] = parts.map((part) => String(part).padStart(2, "0"));
        one("[data-timer]", this.element).textContent = parts[0] ? `${parts[0]}:${minutes}:${rest}` : `${parts[1]}:${rest}`;
        one("[data-timer]", this.element).setAttribute("datetime", `PT${hours}H${minutes}M${rest}S`);
    }

    get #open() {
        return this.element.dataset.panel ?? "";
    }

    /** @param {string} name a panel, or "" for none; the open one is closed */
    #panel(name) {
        const before = this.#open;
        const open = name === before ? "" : name;
        this.element.dataset.panel = open;
        for (const panel of ["people", "consent", "record"]) {
            show(one(`#${panel}-panel`, this.element), panel === open);
            one(`.controls [data-do=${panel}]`, this.element).setAttribute("aria-expanded", String(panel === open));
        }
        if (open === "people") this.say("knock", "");
        one(open ? `#${open}-title` : `.controls [data-do=${before}]`, this.element).focus();
    }

    /** Stop, and erase: said where it was asked. */
    async #erase() {
        const told = one("[data-slot=erased]", this.element);
        told.textContent = "";
        told.textContent = await this.room.eraseMine();
    }

    /** Start or stop; whoever starts sees at once who is in and who is out. */
    #record() {
        const { recording } = this.room;
        if (!recording.offered) return;
        if (!recording.running && this.#open !== "record") this.#panel("record");
        recording.toggle();
    }

    #view() {
        const speaker = this.room.toggleView();
        one("[data-do=view]", this.element).setAttribute("aria-pressed", String(speaker));
        announce(text(speaker ? "view-speaker" : "view-grid"));
    }

    /** @param {string} id */
    #dialog(id) {
        return /** @type {HTMLDialogElement} */ (one(`#${id}`));
    }

    /**
     * @param {string} id
     * @param {() => void} yes
     */
    #ask(id, yes) {
        const dialog = this.#dialog(id);
        dialog.returnValue = "";
        dialog.onclose = () => { if (dialog.returnValue === "yes") yes(); };
        dialog.showModal();
    }

    #buttons() {
        const states = /** @type {const} */ ([
            ["mic", this.room.on("mic"), "mic-on", "mic-off", "icon-mic", "icon-mic-off"],
            ["cam", this.room.on("cam"), "cam-on", "cam-off", "icon-camera", "icon-camera-off"],
            ["share", this.room.sharing, "sharing", "share", "icon-share-off", "icon-share"],
        ]);
        for (const [name, on, whenOn, whenOff, iconOn, iconOff] of states) {
            const button = one(`.controls [data-do=${name}]`, this.element);
            button.dataset.state = on ? "on" : "off";
            one("[data-word]", button).textContent = text(on ? whenOn : whenOff);
            draw(one("svg", button), on ? iconOn : iconOff);
        }
        show(one(".controls [data-do=share]", this.element), "getDisplayMedia" in (navigator.mediaDevices ?? {}));
    }

    /**
     * @param {Promise<void>} work
     * @param {() => string} [words]
     */
    async #then(work, words) {
        await work;
        this.#buttons();
        if (words) announce(words());
    }

    /** @param {KeyboardEvent} event */
    #key(event) {
        if (this.element.hidden || event.repeat || event.ctrlKey || event.metaKey || event.altKey) return;
        const target = event.target instanceof Element ? event.target : document.body;
        if (target.matches(TYPING)) return;
        if (event.key === "Escape" && this.#open) this.#panel("");
        const way = TURNS[event.key];
        if (way && !target.closest(".panel") && this.room.turnPage(way)) event.preventDefault();
        const act = KEYS[event.key.toLowerCase()];
        if (act) this.#acts[act]();
    }
}
