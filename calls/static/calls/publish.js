// @ts-check
/** The connection that carries our own microphone, camera and screen. We offer, the server answers, one offer at a time. */

/** @typedef {import("./protocol.js").Source} Source */
/** @typedef {import("./protocol.js").SentTrack} SentTrack */

/** What one source may use, in bits per second, and how the browser is to treat its picture or sound. */
const LIMITS = { mic: 40_000, cam: 1_200_000, screen: 1_500_000, "screen-audio": 96_000 };
const HINTS = { mic: "speech", cam: "motion", screen: "detail", "screen-audio": "music" };
const CODECS = { audio: "audio/opus", video: "video/VP8" };
const TRIES = 2; // ICE restarts in a row before the whole call is joined anew

export class Publisher {
    #rev = 0;
    #waiting = false;
    #dirty = false;
    #restarts = 0;
    /** @type {Map<Source, RTCRtpTransceiver>} */
    #lanes = new Map();
    /** @type {Set<Source>} */
    #live = new Set();

    /**
     * @param {RTCIceServer[]} iceServers
     * @param {(kind: "publish", fields: {rev: number, sdp: string, tracks: SentTrack[]}) => void} send
     * @param {() => void} failed the connection could not be mended
     */
    constructor(iceServers, send, failed) {
        this.send = send;
        this.pc = new RTCPeerConnection({ bundlePolicy: "max-bundle", iceServers });
        this.pc.onconnectionstatechange = () => {
            if (this.pc.connectionState === "connected") this.#restarts = 0;
            if (this.pc.connectionState !== "failed") return;
            if (this.#restarts++ < TRIES) this.#offer(true);
            else failed();
        };
    }

    /**
     * Send `track` as `source`. A source that was sent before keeps its line in the description.
     * @param {Source} source
     * @param {MediaStreamTrack} track
     */
    async add(source, track) {
        if ("contentHint" in track) track.contentHint = HINTS[source];
        const lane = this.#lanes.get(source);
        if (!lane) this.#lanes.set(source, this.#lane(source, track));
        else await lane.sender.replaceTrack(track);
        if (this.#live.has(source)) return;
        if (lane) lane.direction = "sendonly";
        this.#live.add(source);
        await this.#offer();
    }

    /**
     * Send nothing from `source` for a while; its line stays, so that going on costs no new offer.
     * @param {Source} source
     */
    async pause(source) {
        await this.#lanes.get(source)?.sender.replaceTrack(null);
    }

    /**
     * Send nothing from these sources any more.
     * @param {Source[]} sources
     */
    async drop(...sources) {
        const gone = sources.filter((source) => this.#live.delete(source));
        for (const source of gone) {
            const lane = this.#lanes.get(source);
            if (!lane) continue;
            await lane.sender.replaceTrack(null);
            lane.direction = "inactive";
        }
        if (gone.length) await this.#offer();
    }

    /**
     * The server's answer. An answer to an older offer is left alone.
     * @param {{rev: number, sdp: string}} message
     */
    async answered({ rev, sdp }) {
        if (rev !== this.#rev || this.pc.signalingState !== "have-local-offer") return;
        await this.pc.setRemoteDescription({ type: "answer", sdp });
        this.#waiting = false;
        if (this.#dirty) await this.#offer();
    }

    close() {
        this.pc.onconnectionstatechange = null;
        this.pc.close();
    }

    /**
     * @param {Source} source
     * @param {MediaStreamTrack} track
     */
    #lane(source, track) {
        const kind = source === "mic" || source === "screen-audio" ? "audio" : "video";
        const lane = this.pc.addTransceiver(track, { direction: "sendonly", sendEncodings: [{ maxBitrate: LIMITS[source] }] });
        const codecs = RTCRtpSender.getCapabilities(kind)?.codecs.filter((codec) => codec.mimeType === CODECS[kind]) ?? [];
        if (codecs.length) lane.setCodecPreferences(codecs);
        return lane;
    }

    async #offer(iceRestart = false) {
        if (this.#waiting && !iceRestart) {
            this.#dirty = true;
            return;
        }
        this.#waiting = true;
        this.#dirty = false;
        await this.pc.setLocalDescription(await this.pc.createOffer({ iceRestart }));
        this.send("publish", { rev: ++this.#rev, sdp: this.pc.localDescription?.sdp ?? "", tracks: this.#tracks() });
    }

    /** @returns {SentTrack[]} */
    #tracks() {
        return [...this.#lanes].filter(([source]) => this.#live.has(source)).map(([source, lane]) => ({ mid: lane.mid ?? "", source }));
    }
}
