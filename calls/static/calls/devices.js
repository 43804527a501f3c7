// @ts-check
/** Our own camera, microphone and speaker. Nothing in here sends anything anywhere. */

/** @typedef {"mic" | "cam"} Device */
/** @typedef {"ok" | "off" | "blocked" | "absent" | "busy"} State */

const KINDS = /** @type {const} */ ({ mic: "audioinput", cam: "videoinput", speaker: "audiooutput" });
const FAULTS = /** @type {Record<string, State>} */ ({
    NotAllowedError: "blocked",
    SecurityError: "blocked",
    NotFoundError: "absent",
    OverconstrainedError: "absent",
    NotReadableError: "busy",
    AbortError: "busy",
});
const REMEMBERED = "cleac.devices"; // of this tab only: whoever was muted is still muted after a reload
const TONE = { length: 0.7, pitches: [523, 659] }; // seconds, Hz

/** True where the browser has what a call needs. */
export const supported = () => "RTCPeerConnection" in window && Boolean(navigator.mediaDevices?.getUserMedia);

export class Devices extends EventTarget {
    /** @type {Record<Device, MediaStreamTrack | null>} */
    tracks = { mic: null, cam: null };
    /** @type {Record<Device, State>} */
    states = { mic: "off", cam: "off" };
    /** @type {Record<"mic" | "cam" | "speaker", string>} */
    chosen = { mic: "", cam: "", speaker: "" };
    /** @type {AudioContext | null} */
    #context = null;
    /** @type {AnalyserNode | null} */
    #meter = null;
    /** @type {MediaStreamAudioSourceNode | null} */
    #metered = null;

    constructor() {
        super();
        navigator.mediaDevices?.addEventListener("devicechange", () => this.#changed());
    }

    /**
     * Ask for microphone and camera together, so that the browser asks once; where that fails, for each alone.
     * @param {Device[]} wanted
     */
    async acquire(wanted) {
        const missing = wanted.filter((device) => !this.tracks[device]);
        if (missing.length === 2 && (await this.#take(missing))) return;
        for (const device of missing) await this.#take([device]);
    }

    /** What was on when this tab last said so; both at first. @returns {Record<Device, boolean>} */
    get wanted() {
        try {
            return { mic: true, cam: true, ...JSON.parse(sessionStorage.getItem(REMEMBERED) ?? "{}") };
        } catch {
            return { mic: true, cam: true };
        }
    }

    /** Keep for a reload what is on now. */
    remember() {
        const on = { mic: Boolean(this.tracks.mic?.enabled), cam: Boolean(this.tracks.cam) };
        try {
            sessionStorage.setItem(REMEMBERED, JSON.stringify(on));
        } catch {
            return; // storage is switched off: a reload shows the device check again
        }
    }

    /** @param {Device} device */
    release(device) {
        const track = this.tracks[device];
        if (track) track.onended = null;
        track?.stop();
        this.tracks[device] = null;
        this.states[device] = "off";
        if (device === "mic") this.#listen(null);
        this.#changed();
    }

    /**
     * Use another device. Returns the new track, or null when it could not be had.
     * @param {Device} device
     * @param {string} id
     */
    async choose(device, id) {
        this.chosen[device] = id;
        const muted = this.tracks[device]?.enabled === false;
        this.release(device);
        await this.#take([device]);
        const track = this.tracks[device];
        if (track && muted) track.enabled = false;
        return track;
    }

    /**
     * What can be chosen. Names are empty until a permission was given.
     * @param {"mic" | "cam" | "speaker"} device
     */
    async list(device) {
        const found = (await navigator.mediaDevices?.enumerateDevices()) ?? [];
        return found.filter((entry) => entry.kind === KINDS[device] && entry.deviceId);
    }

    /** How loud the microphone is now, 0 to 1. */
    level() {
        if (!this.#meter) return 0;
        const samples = new Float32Array(this.#meter.fftSize);
        this.#meter.getFloatTimeDomainData(samples);
        const power = samples.reduce((sum, sample) => sum + sample * sample, 0) / samples.length;
        return Math.min(1, Math.sqrt(power) * 4);
    }

    /** Two short notes on the chosen speaker. Resolves when they are over. */
    async tone() {
        const context = await this.#audio();
        if ("setSinkId" in context) await /** @type {any} */ (context).setSinkId(this.chosen.speaker).catch(() => {});
        const gain = new GainNode(context, { gain: 0.2 });
        gain.connect(context.destination);
        const notes = TONE.pitches.map((frequency, index) => {
            const note = new OscillatorNode(context, { frequency });
            note.connect(gain);
            note.start(context.currentTime + index * (TONE.length / 2));
            note.stop(context.currentTime + (index + 1) * (TONE.length / 2));
            return note;
        });
        await new Promise((resolve) => { notes[notes.length - 1].onended = resolve; });
        gain.disconnect();
    }

    /**
     * @param {Device[]} wanted
     * @returns {Promise<boolean>}
     */
    async #take(wanted) {
        const exactly = (/** @type {Device} */ device) => (this.chosen[device] ? { deviceId: { ideal: this.chosen[device] } } : {});
        const audio = wanted.includes("mic") && { echoCancellation: true, noiseSuppression: true, autoGainControl: true, ...exactly("mic") };
        const size = { width: { ideal: 1280 }, height: { ideal: 720 }, frameRate: { ideal: 25, max: 30 } };
        const video = wanted.includes("cam") && { ...size, ...exactly("cam") };
        try {
            const stream = await navigator.mediaDevices.getUserMedia({ audio, video });
            for (const track of stream.getTracks()) this.#keep(track.kind === "audio" ? "mic" : "cam", track);
            return true;
        } catch (error) {
            const state = FAULTS[error instanceof Error ? error.name : ""] ?? "absent";
            if (wanted.length === 1) this.states[wanted[0]] = state;
            this.#changed();
            return false;
        }
    }

    /**
     * @param {Device} device
     * @param {MediaStreamTrack} track
     */
    #keep(device, track) {
        this.tracks[device] = track;
        this.states[device] = "ok";
        track.onended = () => {
            this.tracks[device] = null;
            this.states[device] = "absent";
            this.dispatchEvent(new CustomEvent("lost", { detail: device }));
            this.#changed();
        };
        if (device === "mic") this.#listen(track);
        this.#changed();
    }

    /** @param {MediaStreamTrack | null} track */
    async #listen(track) {
        this.#metered?.disconnect();
        this.#metered = this.#meter = null;
        if (!track) return;
        const context = await this.#audio();
        this.#meter = new AnalyserNode(context, { fftSize: 1024 });
        this.#metered = context.createMediaStreamSource(new MediaStream([track]));
        this.#metered.connect(this.#meter);
    }

    async #audio() {
        this.#context ??= new AudioContext();
        if (this.#context.state === "suspended") await this.#context.resume().catch(() => {});
        return this.#context;
    }

    #changed() {
        this.dispatchEvent(new Event("changed"));
    }
}
