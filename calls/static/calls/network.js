// @ts-check
/**
 * The network test: for each way a connection of its own, in which only the candidates of that way are left of the server's answer.
 *
 * Nothing is sent in it. That ICE and DTLS come about says that packets pass both ways.
 */

import { all, draw, one, post, show } from "./dom.js";
import { text } from "./texts.js";

/** @typedef {{protocol: string, host: string, port: string}} Address */
/** @typedef {"works" | "fails" | "absent" | "broken"} Outcome */

const PATIENCE = 10_000; // ms for one way; a worker keeps its end for 15 s
const AGAIN = [1000, 2000, 3000]; // ms between two tries to ask: a worker that has just gone has its successor within these
const CANDIDATE = /^a=candidate:\S+ \d+ (udp|tcp) \d+ (\S+) (\d+) typ host/;
const ICONS = { works: "icon-check", fails: "icon-warning", absent: "icon-info", broken: "icon-info" };
/** @type {Record<string, (address: Address) => boolean>} */
const WAYS = {
    udp4: ({ protocol, host }) => protocol === "udp" && !host.includes(":"),
    udp6: ({ protocol, host }) => protocol === "udp" && host.includes(":"),
    tcp4: ({ protocol, host }) => protocol === "tcp" && !host.includes(":"),
    tcp6: ({ protocol, host }) => protocol === "tcp" && host.includes(":"),
    relay: ({ protocol }) => protocol === "udp",
};

const page = one("#network");
const button = /** @type {HTMLButtonElement} */ (one("[data-do=test]", page));

/** We were asked too often, or could not answer: no verdict about the network. */
class NoAnswer extends Error {}

/**
 * Ask, and ask again while nobody can answer: that one of five ways found no worker at its moment says nothing about it.
 * @param {string} url
 * @param {Record<string, unknown>} body
 */
async function asked(url, body) {
    for (const pause of [...AGAIN, null]) {
        const answer = await post(url, body).catch(() => null);
        if (answer?.ok) return answer.json();
        if (answer && answer.status < 500) throw new NoAnswer(answer.status === 429 ? "too-many" : "broken");
        if (pause) await new Promise((resolve) => setTimeout(resolve, pause));
    }
    throw new NoAnswer("broken");
}

/**
 * @param {string} line
 * @returns {Address | null}
 */
function address(line) {
    const [, protocol, host, port] = line.match(CANDIDATE) ?? [];
    return protocol ? { protocol, host, port } : null;
}

/**
 * The connection is up, or it failed, or the time is over.
 * @param {RTCPeerConnection} pc
 * @returns {Promise<boolean>}
 */
function settled(pc) {
    return new Promise((resolve) => {
        setTimeout(() => resolve(false), PATIENCE);
        pc.onconnectionstatechange = () => {
            if (pc.connectionState === "connected") resolve(true);
            else if (pc.connectionState === "failed") resolve(false);
        };
    });
}

/**
 * There and back in milliseconds, as ICE has measured it; null where the browser does not say.
 * @param {RTCPeerConnection} pc
 */
async function roundTrip(pc) {
    for (const report of (await pc.getStats()).values()) {
        if (report.type === "candidate-pair" && report.nominated && report.currentRoundTripTime !== undefined) {
            return Math.max(1, Math.round(report.currentRoundTripTime * 1000));
        }
    }
    return null;
}

/**
 * Try one way. Every address that the answer names is added to `seen`.
 * @param {string} way
 * @param {RTCIceServer[]} iceServers
 * @param {Map<string, Address>} seen
 * @returns {Promise<{outcome: Outcome, ms?: number | null}>}
 */
async function attempt(way, iceServers, seen) {
    if (way === "relay" && !iceServers.length) return { outcome: "absent" };
    const relayed = way === "relay";
    const pc = new RTCPeerConnection({ bundlePolicy: "max-bundle", iceServers: relayed ? iceServers : [], iceTransportPolicy: relayed ? "relay" : "all" });
    try {
        pc.addTransceiver("audio", { direction: "recvonly" });
        await pc.setLocalDescription();
        const { sdp } = await asked(page.dataset.way ?? "", { sdp: pc.localDescription?.sdp ?? "" });
        let left = 0;
        const kept = String(sdp).split("\r\n").filter((line) => {
            const found = address(line);
            if (!found) return true;
            seen.set(`${found.protocol} ${found.host} ${found.port}`, found);
            const fits = WAYS[way](found);
            left += Number(fits);
            return fits;
        });
        if (!left) return { outcome: "absent" };
        const up = settled(pc);
        await pc.setRemoteDescription({ type: "answer", sdp: kept.join("\r\n") });
        return await up ? { outcome: "works", ms: await roundTrip(pc) } : { outcome: "fails" };
    } finally {
        pc.onconnectionstatechange = null;
        pc.close();
    }
}

/**
 * @param {string} way
 * @param {string} state
 * @param {number | null} [ms]
 */
function tell(way, state, ms) {
    const row = one(`li[data-way=${way}]`, page);
    row.dataset.state = state;
    draw(one("svg", row), ICONS[/** @type {Outcome} */ (state)] ?? "icon-clock");
    one("[data-slot=state]", row).textContent = ms ? text("works-in", { ms }) : text(state);
}

/** @param {string} found */
function conclude(found) {
    const lines = [`verdict-${found}`, `advice-${found}`].map((name) => Object.assign(document.createElement("p"), { textContent: text(name) }));
    one("[data-result]", page).replaceChildren(...lines);
    page.dataset.result = found;
    button.disabled = false;
}

/** @param {Iterable<Address>} addresses */
function list(addresses) {
    const items = [...addresses].map(({ protocol, host, port }) => {
        const words = text("address", { protocol: protocol.toUpperCase(), host, port });
        return Object.assign(document.createElement("li"), { textContent: words });
    });
    one("[data-list]", page).replaceChildren(...items);
    show(one("[data-addresses]", page), items.length > 0);
}

async function test() {
    button.disabled = true;
    delete page.dataset.result;
    one("[data-result]", page).textContent = text("testing");
    for (const way of Object.keys(WAYS)) tell(way, "trying");
    /** @type {Map<string, Address>} */
    const seen = new Map();
    /** @type {Set<string>} */
    const works = new Set();
    let trouble = "";
    try {
        const { ice_servers: relays } = await asked(page.dataset.relays ?? "", {});
        await Promise.all(Object.keys(WAYS).map(async (way) => {
            try {
                const { outcome, ms } = await attempt(way, relays, seen);
                if (outcome === "works") works.add(way);
                tell(way, outcome, ms);
            } catch (error) {
                trouble ||= error instanceof NoAnswer ? error.message : "broken";
                tell(way, "broken");
            }
        }));
    } catch (error) {
        trouble = error instanceof NoAnswer ? error.message : "broken";
        for (const way of Object.keys(WAYS)) tell(way, "broken");
    }
    list(seen.values());
    if (works.has("udp4") || works.has("udp6")) conclude("udp");
    else if (trouble) conclude(trouble);
    else if (works.has("tcp4") || works.has("tcp6")) conclude("tcp");
    else conclude(works.has("relay") ? "relay" : "none");
}

button.addEventListener("click", test);
for (const way of all("li[data-way]", page)) way.dataset.state = "waiting";
if ("RTCPeerConnection" in window) test();
else conclude("unsupported");
