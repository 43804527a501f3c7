// @ts-check
/** A socket entered with a single-use ticket. It comes back by itself, with a new ticket each time, until told why it must not. */

import { post } from "./dom.js";
import { parse, written } from "./protocol.js";

/** @typedef {import("./protocol.js").Table} Table */
/**
 * What a line tells its owner.
 * @typedef {object} Listener
 * @property {(message: any) => Promise<void> | void} heard one message; the next one waits until this is done
 * @property {(again: boolean) => void} opened the socket is open; `again` after a loss
 * @property {() => void} lost the socket is gone and will be opened again
 * @property {(code: string) => void} refused no ticket is given any more; `code` says why
 * @property {(call: string) => void} [entered] a ticket was given; `call` is the sitting that it is for
 */

const FIRST_PAUSE = 400; // ms
const LONGEST_PAUSE = 8000; // ms

/** The ticket endpoint said no, and asking again would not help. */
export class NoTicket extends Error {
    /** @param {string} code */
    constructor(code) {
        super(code);
        this.code = code;
    }
}

/**
 * A ticket for one socket, good for half a minute. Throws NoTicket when refused, other errors when the server could not be reached.
 * @param {string} url
 * @param {"lobby" | "call"} kind
 * @returns {Promise<{ticket: string, call?: string}>}
 */
export async function ticket(url, kind) {
    const answer = await post(url, { kind });
    if (answer.ok) return answer.json();
    if (answer.status >= 500 || answer.status === 429) throw new Error(`no ticket now: ${answer.status}`);
    const problem = await answer.json().catch(() => ({}));
    throw new NoTicket(problem.code ?? problem.state ?? (answer.status === 401 ? "signed-out" : "unknown"));
}

export class Line {
    /** @type {WebSocket | null} */
    #socket = null;
    #closed = false;
    #losses = 0;
    #opened = 0;
    /** @type {Promise<void>} */
    #turn = Promise.resolve();
    /** @type {() => void} */
    #wake = () => {};

    /**
     * @param {{path: string, ticketUrl: string, kind: "lobby" | "call", sent: Table, heard: Table}} where
     * @param {Listener} listener
     */
    constructor(where, listener) {
        this.where = where;
        this.listener = listener;
        window.addEventListener("online", () => this.#wake());
    }

    /** Fetch a ticket and open the socket. Resolves when it has been tried; a loss is answered by trying again. */
    async open() {
        try {
            const given = await ticket(this.where.ticketUrl, this.where.kind);
            if (this.#closed) return;
            if (given.call) this.listener.entered?.(given.call);
            this.#connect(given.ticket);
        } catch (error) {
            if (error instanceof NoTicket) this.#give(() => this.listener.refused(error.code));
            else this.#again();
        }
    }

    /**
     * Send a message. False when the socket is not open: what matters is said again after `opened`.
     * @param {string} kind
     * @param {Record<string, unknown>} [fields]
     */
    send(kind, fields = {}) {
        const text = written(kind, fields, this.where.sent);
        if (this.#socket?.readyState !== WebSocket.OPEN) return false;
        this.#socket.send(text);
        return true;
    }

    /** Close for good. Messages that were not handled yet are dropped. */
    close() {
        this.#closed = true;
        this.#socket?.close(1000);
        this.#wake();
    }

    /** Drop the socket and open a new one, as after a loss. */
    renew() {
        this.#socket?.close(4000);
    }

    /** @param {string} secret */
    #connect(secret) {
        const address = new URL(this.where.path, location.href);
        address.protocol = address.protocol === "https:" ? "wss:" : "ws:";
        const socket = new WebSocket(address, ["cleac.1", `ticket.${secret}`]);
        this.#socket = socket;
        socket.onopen = () => {
            const again = this.#opened++ > 0;
            this.#queue(socket, () => this.listener.opened(again));
        };
        socket.onmessage = (event) => {
            const message = parse(String(event.data), this.where.heard);
            if (message && message.kind !== "closed") this.#losses = 0; // whoever is only sent away waits longer each time
            if (message) this.#queue(socket, () => this.listener.heard(message));
        };
        socket.onclose = () => this.#queue(socket, () => void this.#again()); // after what was said before: it may say why
    }

    /**
     * One at a time, in order, and only while its own socket is the present one.
     * @param {WebSocket} socket
     * @param {() => Promise<void> | void} work
     */
    #queue(socket, work) {
        this.#turn = this.#turn.then(async () => {
            if (this.#closed || socket !== this.#socket) return;
            await work();
        }).catch((error) => reportError(error));
    }

    async #again() {
        if (this.#closed) return;
        this.#socket = null;
        this.#give(() => this.listener.lost());
        const pause = Math.min(LONGEST_PAUSE, FIRST_PAUSE * 2 ** this.#losses++) * (0.75 + Math.random() / 2);
        await new Promise((resolve) => {
            this.#wake = () => resolve(undefined);
            setTimeout(resolve, pause);
        });
        if (!this.#closed) await this.open();
    }

    /** @param {() => void} tell */
    #give(tell) {
        if (!this.#closed) tell();
    }
}
