// @ts-check
/**
 * Every message of the two sockets, as data: kind -> field -> what it holds. The mirror of calls/protocol/; a test holds both equal.
 */

/** @typedef {"mic" | "cam" | "screen" | "screen-audio"} Source */
/** @typedef {"captured" | "agreed" | "declined" | "undecided" | "starting" | "stopping" | "paused" | "fault"} Mark */
/** @typedef {Partial<Record<Source, Mark>>} Marks */
/** @typedef {{participant: string, name: string, role: string, mic: boolean, cam: boolean, screen: boolean, marks: Marks}} Person */
/** @typedef {{participant: string, name: string}} Waiting */
/** @typedef {{mid: string, source: Source}} SentTrack */
/** @typedef {{mid: string, participant: string, source: Source}} HeardTrack */
/** @typedef {{participant: string, source: "cam" | "screen", height: number}} Tile A picture that stands on the page now; `height` in the pixels of the screen, a whole number from 1 to 8192. */
/**
 * One question: the frozen words of its notice and what this person answered so far.
 * @typedef {{purpose: string, notice: string, title: string, what: string, why: string, who_sees: string, keep_text: string, answer: boolean | null}} Card
 */
/** @typedef {Record<string, Record<string, string>>} Table */

/** @type {Table} The lobby, from the page. */
export const LOBBY_SENT = {
    decide: { purpose: "text", granted: "bool" },
    ready: {},
};

/** @type {Table} The lobby, to the page. */
export const LOBBY_HEARD = {
    lobby: { title: "text", host: "text", state: "text", waiting_position: "number", cards: "list" },
    answered: { purpose: "text", granted: "bool" },
    admitted: {},
    denied: {},
    moved: { position: "number" },
    closed: { reason: "text" },
};

/** @type {Table} The call, from the page. */
export const CALL_SENT = {
    publish: { rev: "number", sdp: "text", tracks: "list" },
    subscribed: { rev: "number", sdp: "text" },
    restart: {},
    mute: { source: "text", muted: "bool" },
    show: { tiles: "list", pinned: "text" },
    decide: { purpose: "text", granted: "bool" },
    leave: {},
    admit: { participant: "text" },
    deny: { participant: "text" },
    remove: { participant: "text" },
    end: {},
};

/** @type {Table} The call, to the page. */
export const CALL_HEARD = {
    welcome: { me: "text", title: "text", started_at: "text", people: "list", media: "object" },
    joined: { person: "object" },
    left: { participant: "text", reason: "text" },
    person: { person: "object" },
    waiting: { people: "list" },
    hostless: { seconds: "number" },
    published: { rev: "number", sdp: "text" },
    offer: { rev: "number", sdp: "text", tracks: "list" },
    state: { pc: "text", state: "text" },
    speaking: { participants: "list" },
    recording: { state: "text", since: "text" },
    applied: { source: "text", mark: "text" },
    closed: { reason: "text" },
};

/** Which source a purpose is asked for, and the other way round. @type {Record<string, Source[]>} */
export const SOURCES = {
    "record-voice": ["mic"],
    "record-camera": ["cam"],
    "record-screen": ["screen", "screen-audio"],
};

/** The largest message either side takes, in bytes of UTF-8. */
export const LARGEST = 48 * 1024;

/** The most tiles that one `show` lists. */
export const MOST_TILES = 100;

/**
 * @param {string} type
 * @param {unknown} value
 */
function fits(type, value) {
    if (value === null) return true;
    if (type === "list") return Array.isArray(value);
    if (type === "object") return typeof value === "object" && !Array.isArray(value);
    return typeof value === { text: "string", bool: "boolean", number: "number" }[type];
}

/**
 * The message in `text`, or null for one that this page does not know: a newer server may say more than an open page understands.
 * `refused` belongs to both sockets and carries facts of its own.
 * @param {string} text
 * @param {Table} table
 * @returns {any}
 */
export function parse(text, table) {
    const message = JSON.parse(text);
    if (message.kind === "refused") return message;
    const fields = table[message.kind];
    const known = fields && Object.entries(fields).every(([name, type]) => fits(type, message[name] ?? null));
    return known ? message : null;
}

/**
 * A message as text. A programming error (unknown kind or field) throws: the server would close the socket.
 * @param {string} kind
 * @param {Record<string, unknown>} fields
 * @param {Table} table
 */
export function written(kind, fields, table) {
    const wanted = table[kind];
    if (!wanted || Object.keys(wanted).sort().join() !== Object.keys(fields).sort().join()) throw new TypeError(`not a message: ${kind}`);
    return JSON.stringify({ kind, ...fields });
}
