// @ts-check
/** The device check: a preview that never leaves the browser, a meter, a test sound, and help where a device cannot be had. */

import { all, draw, one, show } from "./dom.js";
import { Kept } from "./kept.js";
import { text } from "./texts.js";

/** @typedef {import("./devices.js").Devices} Devices */
/** @typedef {import("./devices.js").State} State */

const PAIR = /** @type {const} */ (["mic", "cam"]);
const ICONS = { mic: ["icon-mic", "icon-mic-off"], cam: ["icon-camera", "icon-camera-off"] };

export class Check {
    #frame = 0;
    #started = false;

    /**
     * @param {HTMLElement} step
     * @param {Devices} devices
     */
    constructor(step, devices) {
        this.step = step;
        this.devices = devices;
        this.video = /** @type {HTMLVideoElement} */ (one("video", step));
        this.kept = new Kept(one("[data-as-kept]", step));
        devices.addEventListener("changed", () => this.draw());
        for (const device of PAIR) one(`[data-toggle=${device}]`, step).addEventListener("click", () => this.#toggle(device));
        for (const select of /** @type {HTMLSelectElement[]} */ (all("[data-choose]", step))) {
            select.addEventListener("change", () => this.#choose(select));
        }
        one("[data-do=retry]", step).addEventListener("click", () => this.#acquire());
        one("[data-do=tone]", step).addEventListener("click", () => this.#tone());
    }

    /** Ask for the devices, once; coming back to the step keeps what was chosen. */
    async start() {
        this.#meter();
        if (this.#started) return;
        this.#started = true;
        await this.#acquire();
    }

    stop() {
        cancelAnimationFrame(this.#frame);
    }

    async #acquire() {
        one("[data-slot=camera]", this.step).textContent = text("preview-starting");
        await this.devices.acquire(PAIR.filter((device) => this.devices.wanted[device]));
    }

    draw() {
        const { tracks, states } = this.devices;
        const shown = /** @type {MediaStream | null} */ (this.video.srcObject)?.getTracks()[0] ?? null;
        if (shown !== tracks.cam) this.video.srcObject = tracks.cam ? new MediaStream([tracks.cam]) : null;
        one("[data-preview]", this.step).toggleAttribute("data-on", tracks.cam !== null);
        this.kept.camera(tracks.cam);
        one("[data-slot=camera]", this.step).textContent = text("preview-off");
        const on = { mic: Boolean(tracks.mic?.enabled), cam: tracks.cam !== null };
        for (const device of PAIR) {
            const button = one(`[data-toggle=${device}]`, this.step);
            button.setAttribute("aria-pressed", String(on[device]));
            draw(one("svg", button), ICONS[device][on[device] ? 0 : 1]);
            one("span", button).textContent = text(`${device}-${on[device] ? "on" : "off"}`);
        }
        one("[data-slot=say]", this.step).textContent = text(on.mic ? "mic-say" : "mic-none");
        this.#help(states);
        one("[data-slot=joining]", this.step).textContent = text(on.mic ? (on.cam ? "join-both" : "join-mic") : on.cam ? "join-cam" : "join-none");
        this.#lists();
    }

    /** @param {Record<"mic" | "cam", State>} states */
    #help(states) {
        for (const trouble of /** @type {const} */ (["blocked", "absent", "busy"])) {
            const devices = PAIR.filter((device) => states[device] === trouble);
            const words = devices.length === 2 ? text("both-devices") : devices.length ? text(`device-${devices[0]}`) : "";
            one(`[data-slot=${trouble}]`, this.step).textContent = words && text(trouble === "absent" && devices.length === 2 ? "help-absent-both" : `help-${trouble}`, { devices: words });
            show(one(`[data-help=${trouble}]`, this.step), words !== "");
        }
        show(one("[data-help=again]", this.step), PAIR.some((device) => states[device] !== "ok" && states[device] !== "off"));
    }

    async #lists() {
        for (const device of /** @type {const} */ (["cam", "mic", "speaker"])) {
            const select = /** @type {HTMLSelectElement} */ (one(`[data-choose=${device}]`, this.step));
            const found = await this.devices.list(device);
            const options = found.map((entry) => new Option(entry.label || text("default-device"), entry.deviceId));
            if (!options.length) options.push(new Option(text(device === "speaker" ? "default-device" : "no-device"), ""));
            const current = device === "speaker" ? this.devices.chosen.speaker : this.devices.tracks[device]?.getSettings().deviceId;
            select.replaceChildren(...options);
            if (current && found.some((entry) => entry.deviceId === current)) select.value = current;
            select.disabled = options.length < 2;
        }
    }

    /** @param {"mic" | "cam"} device */
    async #toggle(device) {
        const track = this.devices.tracks[device];
        if (!track) await this.devices.acquire([device]);
        else if (device === "cam") this.devices.release("cam");
        else track.enabled = !track.enabled;
        this.devices.remember();
        this.draw();
    }

    /** @param {HTMLSelectElement} select */
    async #choose(select) {
        const device = select.dataset.choose;
        if (device === "mic" || device === "cam") await this.devices.choose(device, select.value);
        else this.devices.chosen.speaker = select.value;
    }

    async #tone() {
        const line = one("[data-slot=tone]", this.step);
        line.textContent = text("tone-playing");
        await this.devices.tone();
        line.textContent = text("tone-over");
    }

    #meter() {
        const meter = /** @type {HTMLMeterElement} */ (one("meter", this.step));
        const tick = () => {
            meter.value = this.devices.level();
            this.#frame = requestAnimationFrame(tick);
        };
        cancelAnimationFrame(this.#frame);
        tick();
    }
}
