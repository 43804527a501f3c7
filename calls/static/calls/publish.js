// @ts-check
/** The connection that carries our own microphone, camera and screen. We offer, the server answers, one offer at a time. */

/** @typedef {import("./protocol.js").Source} Source */
/** @typedef {import("./protocol.js").SentTrack} SentTrack */

/** What one source may use, in bits per second, and how the browser is to treat its picture or sound. */
const LIMITS = { mic: 40_000, cam: 1_200_000, screen: 1_500_000, "screen-audio": 96_000 };
/** A camera's layers, the smallest first. */
const LAYERS = [{ rid: "q", maxBitrate: 120_000 }, { rid: "h", maxBitrate: 400_000 }, { rid: "f", maxBitrate: LIMITS.cam }];
/** From so many pixels of a picture on a second and a third layer are of use; browsers send no more of a smaller one either. */
const TWO = 480 * 270;
const THREE = 960 * 540;
const HINTS = { mic: "speech", cam: "motion", screen: "detail", "screen-audio": "music" };
const CODECS = { audio: "audio/opus", video: "video/VP8" };
const REPAIRS = "video/rtx"; // lost packets again in a stream of their own (RFC 4588)
/** Each picture needs only the one before it, so each is worth repairing: of pictures that others do not need, browsers refuse to send lost packets again. */
const ONE_TEMPORAL_LAYER = "L1T1";
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
        this.failed = failed;
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
        else await this.#replace(source, lane.sender, track);
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

    /**
     * What the worker says of its end. Once that is gone no ICE restart brings it back: its handshake would be another.
     * @param {string} state
     */
    told(state) {
        if (state === "failed" || state === "closed") this.failed();
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
        const lane = this.#transceiver(source, track);
        const codecs = RTCRtpSender.getCapabilities(kind)?.codecs.filter(({ mimeType }) => mimeType === CODECS[kind] || mimeType === REPAIRS) ?? [];
        if (codecs.length) lane.setCodecPreferences(codecs);
        return lane;
    }

    /**
     * A camera in layers, so that everybody can be sent the one that fits; in one where the browser refuses. A screen is one layer: its
     * letters must stay sharp.
     * @param {Source} source
     * @param {MediaStreamTrack} track
     */
    #transceiver(source, track) {
        /** @param {RTCRtpEncodingParameters[]} sendEncodings */
        const made = (sendEncodings) => this.pc.addTransceiver(track, { direction: "sendonly", sendEncodings });
        const one = [{ maxBitrate: LIMITS[source] }];
        if (source !== "cam") return made(one);
        try {
            return made(layersOf(track));
        } catch {
            return made(one);
        }
    }

    /**
     * @param {Source} source
     * @param {RTCRtpSender} sender
     * @param {MediaStreamTrack} track
     */
    async #replace(source, sender, track) {
        await sender.replaceTrack(track);
        const parameters = sender.getParameters();
        if (source !== "cam" || parameters.encodings.length !== LAYERS.length) return;
        layersOf(track).forEach((layer, place) => Object.assign(parameters.encodings[place], layer));
        await sender.setParameters(parameters);
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

/**
 * A quarter and a half of each side, and the whole; of a small picture fewer, the best of them always whole.
 * @param {MediaStreamTrack} track
 * @returns {RTCRtpEncodingParameters[]}
 */
function layersOf(track) {
    const { width = 1280, height = 720 } = track.getSettings();
    const best = width * height >= THREE ? 2 : width * height >= TWO ? 1 : 0;
    return LAYERS.map(({ rid, maxBitrate }, place) => ({
        rid,
        scalabilityMode: ONE_TEMPORAL_LAYER,
        active: place <= best,
        scaleResolutionDownBy: 2 ** Math.max(0, best - place),
        maxBitrate: place === best ? LIMITS.cam : maxBitrate,
    }));
}
