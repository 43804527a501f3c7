// @ts-check
/**
 * The connection that brings the others. The server offers, we answer.
 *
 * A line of the description is used again for another person, and the receiver then keeps its first track: so a track belongs to whom the
 * newest offer's list says, by mid. Neither the `track` event nor a track's id tells it.
 */

/** @typedef {import("./protocol.js").HeardTrack} HeardTrack */

const TRIES = 2; // restarts in a row before the whole call is joined anew

export class Subscriber {
    #newest = 0;
    #restarts = 0;

    /**
     * @param {RTCIceServer[]} iceServers
     * @param {{
     *   answer: (fields: {rev: number, sdp: string}) => void,
     *   restart: () => void,
     *   placed: (tracks: {place: HeardTrack, track: MediaStreamTrack}[]) => void,
     *   failed: () => void,
     *   changed: (state: RTCPeerConnectionState) => void,
     * }} owner
     */
    constructor(iceServers, owner) {
        this.owner = owner;
        this.pc = new RTCPeerConnection({ bundlePolicy: "max-bundle", iceServers });
        this.pc.onconnectionstatechange = () => {
            const state = this.pc.connectionState;
            owner.changed(state);
            if (state === "connected") this.#restarts = 0;
            if (state !== "failed") return;
            if (this.#restarts++ < TRIES) owner.restart();
            else owner.failed();
        };
    }

    /**
     * Take an offer, place every track of its list, answer. An offer older than the last one is left alone.
     * @param {{rev: number, sdp: string, tracks: HeardTrack[]}} message
     */
    async offered({ rev, sdp, tracks }) {
        if (rev < this.#newest) return;
        this.#newest = rev;
        await this.pc.setRemoteDescription({ type: "offer", sdp });
        this.owner.placed(this.#placed(tracks));
        await this.pc.setLocalDescription();
        this.owner.answer({ rev, sdp: this.pc.localDescription?.sdp ?? "" });
    }

    /**
     * What the worker says of its end. Once that is gone no ICE restart brings it back: its handshake would be another.
     * @param {string} state
     */
    told(state) {
        if (state === "failed" || state === "closed") this.owner.failed();
    }

    close() {
        this.pc.onconnectionstatechange = null;
        this.pc.close();
    }

    /** @param {HeardTrack[]} tracks */
    #placed(tracks) {
        const lanes = new Map(this.pc.getTransceivers().map((lane) => [lane.mid, lane.receiver.track]));
        return tracks.flatMap((place) => {
            const track = lanes.get(place.mid);
            return track ? [{ place, track }] : [];
        });
    }
}
