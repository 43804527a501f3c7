// @ts-check
/** The controls of the player: buttons, seek bar, speed, volume and keys. They ask and show; the player does. */

import { all, draw, one, show } from "../calls/dom.js";
import { announce, text } from "../calls/texts.js";
import { clockTime } from "./manifest.js";

/** @typedef {"paused" | "playing" | "loading" | "ended" | "blocked"} State */
/**
 * @typedef {{toggle: () => void, seek: (at: number) => void, skip: (by: number) => void, speed: (to: number) => void,
 *     volume: (to: number, muted: boolean) => void}} Owner
 */

const STEP = 5_000; // ms of an arrow key
const LEAP = 10_000; // ms of the buttons and of J and L
const TYPING = "input:not([data-seek]), select, textarea, dialog[open] *";
const PRESSED = "button, a, summary"; // what the space bar presses already

export class Controls {
    #state = "";
    #muted = false;

    /**
     * @param {HTMLElement} element
     * @param {number} duration ms
     * @param {Owner} owner
     */
    constructor(element, duration, owner) {
        this.element = element;
        this.duration = duration;
        this.owner = owner;
        this.slider = /** @type {HTMLInputElement} */ (one("[data-seek]", element));
        this.loudness = /** @type {HTMLInputElement} */ (one("[data-volume]", element));
        this.slider.max = String(duration);
        this.slider.addEventListener("input", () => owner.seek(Number(this.slider.value)));
        this.slider.addEventListener("focus", () => this.#say(Number(this.slider.value)));
        this.loudness.addEventListener("input", () => this.#volume(this.loudness.value === "0"));
        const speed = /** @type {HTMLSelectElement} */ (one("[data-speed]", element));
        speed.addEventListener("change", () => owner.speed(Number(speed.value)));
        /** @type {Record<string, () => void>} */
        const acts = {
            play: () => owner.toggle(),
            back: () => owner.skip(-LEAP),
            forward: () => owner.skip(LEAP),
            mute: () => this.#mute(),
            keys: () => this.#help(),
        };
        for (const [name, act] of Object.entries(acts)) one(`[data-do=${name}]`, element).addEventListener("click", act);
        /** @type {Record<string, () => void>} */
        this.keys = {
            " ": acts.play,
            k: acts.play,
            j: acts.back,
            l: acts.forward,
            m: acts.mute,
            "?": acts.keys,
            ArrowLeft: () => owner.skip(this.#forward ? -STEP : STEP),
            ArrowRight: () => owner.skip(this.#forward ? STEP : -STEP),
            ArrowDown: () => owner.skip(-STEP),
            ArrowUp: () => owner.skip(STEP),
            Home: () => owner.seek(0),
            End: () => owner.seek(duration),
        };
        document.addEventListener("keydown", (event) => this.#key(event));
        this.#media();
        one("[data-slot=duration]", element).textContent = clockTime(duration);
        this.time(0, true);
    }

    /**
     * @param {number} at ms
     * @param {boolean} asked somebody went there, so that the words follow too
     */
    time(at, asked) {
        this.slider.value = String(at);
        const words = clockTime(at);
        const place = one("[data-slot=at]", this.element);
        if (place.textContent !== words) place.textContent = words;
        if (asked || document.activeElement !== this.slider) this.#say(at);
    }

    /**
     * @param {State} state
     * @param {boolean} wanted somebody pressed play, so that the button means pause
     */
    state(state, wanted) {
        const key = `${state} ${wanted}`;
        if (key === this.#state) return;
        const first = this.#state === "";
        this.#state = key;
        this.element.dataset.state = state;
        const button = one("[data-do=play]", this.element);
        const name = wanted ? "pause" : state === "ended" ? "again" : "play";
        draw(one("svg", button), `icon-${name}`);
        one("[data-word]", button).textContent = text(name);
        const words = text(`state-${state}`);
        one("[data-slot=state]", this.element).textContent = words;
        if (!first) announce(words);
    }

    get #forward() {
        return document.documentElement.dir !== "rtl";
    }

    /** @param {number} at ms */
    #say(at) {
        const words = text("position", { at: clockTime(at), all: clockTime(this.duration) });
        if (this.slider.getAttribute("aria-valuetext") !== words) this.slider.setAttribute("aria-valuetext", words);
    }

    #mute() {
        if (this.#muted && this.loudness.value === "0") this.loudness.value = "1";
        this.#volume(!this.#muted);
        announce(text(this.#muted ? "muted" : "not-muted"));
    }

    /** @param {boolean} muted */
    #volume(muted) {
        this.#muted = muted;
        const button = one("[data-do=mute]", this.element);
        button.setAttribute("aria-pressed", String(muted));
        draw(one("svg", button), muted ? "icon-speaker-off" : "icon-speaker");
        this.owner.volume(Number(this.loudness.value), muted);
    }

    #help() {
        /** @type {HTMLDialogElement} */ (one("#player-keys")).showModal();
    }

    /** @param {KeyboardEvent} event */
    #key(event) {
        if (this.element.hidden || event.ctrlKey || event.metaKey || event.altKey || !(event.target instanceof Element)) return;
        if (event.target.matches(TYPING) || document.querySelector("dialog[open]")) return;
        if (event.key === " " && event.target.matches(PRESSED)) return;
        const vertical = event.key === "ArrowUp" || event.key === "ArrowDown";
        if (vertical && event.target !== this.slider) return; // elsewhere they scroll the page
        const act = this.keys[event.key.length === 1 ? event.key.toLowerCase() : event.key];
        if (!act) return;
        event.preventDefault();
        if (!event.repeat || event.key.startsWith("Arrow")) act();
    }

    /** The keys for media on keyboards and headsets do what our buttons do. */
    #media() {
        const { mediaSession } = navigator;
        if (!mediaSession) return;
        for (const name of /** @type {const} */ (["play", "pause"])) mediaSession.setActionHandler(name, () => this.owner.toggle());
        mediaSession.setActionHandler("seekbackward", () => this.owner.skip(-LEAP));
        mediaSession.setActionHandler("seekforward", () => this.owner.skip(LEAP));
    }

    /** The viewing is over: nothing is left to control. */
    close() {
        show(this.element, false);
        for (const dialog of /** @type {HTMLDialogElement[]} */ (all("dialog[open]"))) dialog.close();
    }
}
