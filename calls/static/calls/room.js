// @ts-check
/** The room: the roster and the media of one call, and the controls over our own part in it. */

import { Cards } from "./consent.js";
import { Controls } from "./controls.js";
import { Countdown } from "./countdown.js";
import { one, post, show } from "./dom.js";
import { drawMark, isKept, overall, unknown, wordsOf } from "./marks.js";
import { People } from "./people.js";
import { CALL_HEARD, CALL_SENT } from "./protocol.js";
import { Publisher } from "./publish.js";
import { Recording } from "./recording.js";
import { Line } from "./signalling.js";
import { Subscriber } from "./subscribe.js";
import { announce, text } from "./texts.js";
import { Stage } from "./tiles.js";

/** @typedef {import("./devices.js").Devices} Devices */
/** @typedef {import("./protocol.js").Card} Card */
/** @typedef {import("./people.js").Seen} Seen */
/** @typedef {import("./protocol.js").Person} Person */
/** @typedef {import("./protocol.js").Source} Source */
/** @typedef {import("./protocol.js").Waiting} Waiting */
/** @typedef {import("./protocol.js").HeardTrack} HeardTrack */

const LISTEN_EVERY = 250; // ms between looks at who speaks

export class Room {
    /** @type {Map<string, Person>} */
    #people = new Map();
    /** @type {Waiting[]} */
    #waiting = [];
    /** @type {{place: HeardTrack, track: MediaStreamTrack}[]} */
    #heard = [];
    /** @type {Publisher | null} */
    #pub = null;
    /** @type {Subscriber | null} */
    #sub = null;
    /** @type {MediaStream | null} */
    #screen = null;
    #me = "";
    #startedAt = 0;
    /** Does the server tell us what is written? Not before the first word, and not while the line is lost. */
    #told = false;
    #over = false;
    /** Why we are to come back, in the server's words; empty when it said nothing. */
    #moving = "";
    #call = "";
    /** Which of our own sources were captured while this page watched, and were not erased since. @type {Set<Source>} */
    #keptOfMe = new Set();
    /** Was anything erased from here? */
    #erased = false;
    /** Sources that were still marked as captured when they were erased: their mark goes out a moment later. @type {Set<Source>} */
    #goingOut = new Set();

    /**
     * @param {{ticket_url: string, call_url: string, erase_url: string, recordings: import("./recording.js").Where | null}} where
     * @param {Devices} devices
     * @param {Card[]} cards
     * @param {(state: string, kept: Source[], erased: boolean) => void} over the room is left for good; `state` names the page to show,
     *     `kept` what of us was captured and not erased from here, `erased` whether something was
     */
    constructor(where, devices, cards, over) {
        this.element = one("[data-step=room]");
        this.devices = devices;
        this.eraseUrl = where.erase_url;
        this.leave = over;
        this.line = new Line(
            { path: where.call_url, ticketUrl: where.ticket_url, kind: "call", sent: CALL_SENT, heard: CALL_HEARD },
            { heard: (message) => this.#hear(message), opened: () => {}, lost: () => this.#lost(this.#moving || "reconnecting"), refused: (code) => this.#shut(code), entered: (call) => { this.#call = call; } },
        );
        this.stage = new Stage(one("[data-stage]", this.element), (words) => this.line.send("show", words));
        this.recording = new Recording(this.element, where.recordings ?? null, {
            call: () => this.#call,
            say: (words) => this.controls.say("recording", words),
            fail: (words) => this.controls.say("note", words),
            changed: () => this.#draw(),
        });
        this.controls = new Controls(this.element, this);
        this.people = new People(one("#people-panel", this.element), {
            admit: (participant) => this.line.send("admit", { participant }),
            deny: (participant) => this.line.send("deny", { participant }),
            remove: (person) => this.controls.askRemove(person, () => this.line.send("remove", { participant: person.participant })),
        });
        this.cards = new Cards(one("#consent-panel [data-cards]", this.element), {
            decide: (purpose, granted) => this.line.send("decide", { purpose, granted }),
            live: true,
        });
        this.cards.put(cards);
        devices.addEventListener("lost", (event) => this.#deviceLost(/** @type {CustomEvent} */ (event).detail));
        this.countdown = new Countdown(one("[data-banner=hostless]", this.element));
        this.ticking = setInterval(() => this.#tick(), LISTEN_EVERY);
    }

    enter() {
        this.controls.say("line", text("connecting"));
        this.#draw();
        return this.line.open();
    }

    get sharing() {
        return this.#screen !== null;
    }

    /** @param {"mic" | "cam"} device */
    on(device) {
        const track = this.devices.tracks[device];
        return Boolean(track?.enabled);
    }

    /** Microphone: silence goes on flowing, so that the others' clocks stay right; everybody is told. */
    async toggleMic() {
        const track = this.devices.tracks.mic;
        if (track) track.enabled = !track.enabled;
        else if (!(await this.#acquire("mic"))) return;
        this.#mute("mic");
    }

    /** Camera: off means that the device is let go and its light goes out. */
    async toggleCam() {
        if (this.devices.tracks.cam) {
            this.devices.release("cam");
            await this.#pub?.pause("cam");
        } else if (!(await this.#acquire("cam"))) {
            return;
        }
        this.#mute("cam");
    }

    async toggleScreen() {
        if (this.#screen) {
            await this.#stopScreen();
            return;
        }
        try {
            this.#screen = await navigator.mediaDevices.getDisplayMedia({ video: { frameRate: { max: 15 } }, audio: true });
        } catch {
            this.controls.say("note", text("share-failed"));
            return;
        }
        const [picture] = this.#screen.getVideoTracks();
        picture.onended = () => this.#stopScreen();
        await this.#sendScreen();
        this.#draw();
    }

    toggleView() {
        return this.stage.toggleView();
    }

    /** @param {-1 | 1} way */
    turnPage(way) {
        return this.stage.turn(way);
    }

    leaveCall() {
        this.line.send("leave");
        this.#end("left");
    }

    endCall() {
        this.line.send("end");
    }

    /** Have erased what this meeting has of us, and every yes with it; returns what to say. By request: the line may be lost, and must not matter. */
    async eraseMine() {
        const answer = await post(this.eraseUrl, {}).catch(() => null);
        if (answer?.ok) this.#forget();
        return text(answer?.ok ? "erased-own" : "erased-not");
    }

    /** @param {any} message */
    async #hear(message) {
        switch (message.kind) {
            case "welcome": return this.#welcome(message);
            case "joined": return this.#joined(message.person);
            case "person": return this.#person(message.person);
            case "left": return this.#left(message.participant);
            case "waiting": return this.#knock(message.people);
            case "hostless": return this.countdown.told(message.seconds);
            case "published": return this.#pub?.answered(message);
            case "offer": return this.#sub?.offered(message);
            case "state": return (message.pc === "pub" ? this.#pub : this.#sub)?.told(message.state);
            case "speaking": return this.stage.spoken(message.participants);
            case "recording": return this.recording.heard(message.state, message.since);
            case "applied": return this.#applied(message.source, message.mark);
            case "refused": return this.#refused(message.code);
            case "closed": return this.#closed(message.reason);
        }
    }

    /** @param {{me: string, started_at: string, people: Person[], media: {ice_servers: RTCIceServer[]}}} message */
    async #welcome({ me, started_at, people, media }) {
        this.#hangUp();
        this.#moving = "";
        const words = text(this.#me ? "back" : "connected");
        this.#me = me;
        this.#startedAt = Date.parse(started_at);
        this.#told = true;
        this.#people = new Map(people.map((person) => [person.participant, person]));
        this.#remember();
        const again = () => this.line.renew();
        this.#sub = new Subscriber(media.ice_servers, {
            answer: (fields) => this.line.send("subscribed", fields),
            restart: () => this.line.send("restart"),
            placed: (tracks) => {
                this.#heard = tracks;
                this.#draw();
            },
            failed: again,
            changed: (state) => this.controls.network(state === "failed" || state === "disconnected" ? "trouble" : "connected"),
        });
        this.#pub = new Publisher(media.ice_servers, (kind, fields) => this.line.send(kind, fields), again);
        this.controls.network("connected");
        this.controls.say("line", "");
        this.cards.again();
        this.stage.shown.again();
        await this.#sendAll();
        this.#draw();
        announce(words);
    }

    async #sendAll() {
        const { mic, cam } = this.devices.tracks;
        if (mic) await this.#pub?.add("mic", mic);
        if (cam) await this.#pub?.add("cam", cam);
        if (this.#screen) await this.#sendScreen();
        if (mic && !mic.enabled) this.line.send("mute", { source: "mic", muted: true });
    }

    /** @param {"mic" | "cam"} source */
    #mute(source) {
        this.line.send("mute", { source, muted: !this.on(source) });
        this.devices.remember();
        this.#draw();
    }

    async #sendScreen() {
        const [picture] = this.#screen?.getVideoTracks() ?? [];
        const [sound] = this.#screen?.getAudioTracks() ?? [];
        if (picture) await this.#pub?.add("screen", picture);
        if (sound) await this.#pub?.add("screen-audio", sound);
    }

    async #stopScreen() {
        for (const track of this.#screen?.getTracks() ?? []) track.stop();
        this.#screen = null;
        await this.#pub?.drop("screen", "screen-audio");
        this.#draw();
    }

    /**
     * @param {"mic" | "cam"} device
     * @returns {Promise<boolean>}
     */
    async #acquire(device) {
        await this.devices.acquire([device]);
        const track = this.devices.tracks[device];
        if (track) await this.#pub?.add(device, track);
        else this.controls.say("note", text(`note-${this.devices.states[device]}`, { devices: text(`device-${device}`) }));
        return track !== null;
    }

    /** @param {"mic" | "cam"} device */
    async #deviceLost(device) {
        if (this.#over) return;
        await this.#pub?.pause(device);
        this.line.send("mute", { source: device, muted: true });
        this.controls.say("note", text("device-lost", { devices: text(`device-${device}`) }));
        this.#draw();
    }

    /** @param {Person} person */
    #joined(person) {
        const known = this.#people.has(person.participant);
        this.#people.set(person.participant, person);
        if (!known && person.participant !== this.#me) announce(text("came", { name: person.name }));
        this.#draw();
    }

    /** @param {Person} person */
    #person(person) {
        const before = this.#people.get(person.participant);
        this.#people.set(person.participant, person);
        if (before && before.screen !== person.screen && person.participant !== this.#me) {
            announce(text(person.screen ? "shares" : "shares-no-more", { name: person.name }));
        }
        if (person.participant === this.#me) {
            this.#remember();
            this.cards.follow(person.marks);
        }
        this.#draw();
    }

    /** @param {string} participant */
    #left(participant) {
        const person = this.#people.get(participant);
        this.#people.delete(participant);
        if (person && participant !== this.#me) announce(text("went", { name: person.name }));
        this.#draw();
    }

    /** @param {Waiting[]} people */
    #knock(people) {
        const before = new Set(this.#waiting.map((guest) => guest.participant));
        const fresh = people.some((guest) => !before.has(guest.participant));
        this.#waiting = people;
        this.people.waiting(people);
        this.controls.knock(people, fresh);
    }

    /**
     * @param {Source} source
     * @param {import("./protocol.js").Mark} mark
     */
    #applied(source, mark) {
        const own = this.#people.get(this.#me);
        if (!own) return;
        own.marks = { ...own.marks, [source]: mark };
        this.#remember();
        this.cards.applied(source, mark);
        this.cards.follow(own.marks);
        this.#draw();
    }

    /** @param {unknown} code */
    #refused(code) {
        this.cards.fail(code);
        this.controls.say("note", text("refused"));
    }

    #draw() {
        if (this.#over) return;
        const people = [...this.#people.values()].map((person) => this.#seen(person));
        this.stage.people(people, this.#me);
        this.stage.heard(this.#heard);
        this.stage.own("person", this.devices.tracks.cam);
        this.stage.own("screen", this.#screen?.getVideoTracks()[0] ?? null);
        this.people.present(people, this.#me);
        const kept = people.filter((person) => isKept(person.marks)).length;
        this.recording.people(people, this.#me);
        this.controls.kept(this.#told ? kept : null, people.length);
        this.controls.alone(people.length === 1);
        const marks = people.find((person) => person.participant === this.#me)?.marks ?? unknown({});
        drawMark(one("[data-own-mark]", this.element), overall(marks), wordsOf(marks));
        this.controls.own(overall(marks));
    }

    /** Note what is captured of us, for the page after the call. */
    #remember() {
        for (const [source, mark] of Object.entries(this.#people.get(this.#me)?.marks ?? {})) {
            const ours = /** @type {Source} */ (source);
            if (mark !== "captured") this.#goingOut.delete(ours);
            else if (!this.#goingOut.has(ours)) this.#keptOfMe.add(ours);
        }
    }

    /** What was captured until now is erased: the page after the call must not say that it is kept. A new yes may begin anew. */
    #forget() {
        this.#erased = true;
        this.#keptOfMe.clear();
        for (const [source, mark] of Object.entries(this.#people.get(this.#me)?.marks ?? {})) {
            if (mark === "captured") this.#goingOut.add(/** @type {Source} */ (source));
        }
    }

    /**
     * Somebody as we may say it now: marks only while we are told them, and of ourselves what is true at once, before the worker has said it
     * back.
     * @param {Person} person
     * @returns {Seen}
     */
    #seen(person) {
        const marks = this.#told ? person.marks : unknown(person.marks);
        const own = person.participant === this.#me ? { mic: this.on("mic"), cam: this.on("cam"), screen: this.sharing } : {};
        return { ...person, ...own, marks };
    }

    #tick() {
        if (!this.#startedAt) return;
        this.controls.time(Math.max(0, Date.now() - this.#startedAt));
        if (this.#sub) this.stage.speaking(this.#sub.pc, this.#heard);
    }

    /** @param {string} words */
    #lost(words) {
        this.#hangUp();
        this.#told = false;
        this.stage.spoken([]);
        this.countdown.stop();
        this.recording.lost();
        this.#draw();
        this.controls.network("connecting");
        this.controls.say("line", `${text(words)} ${text("until-told")}`);
    }

    #hangUp() {
        this.#pub?.close();
        this.#sub?.close();
        this.#pub = this.#sub = null;
        this.#heard = [];
    }

    /**
     * The server's last word on this socket.
     * @param {string} reason
     */
    #closed(reason) {
        this.#moving = ["worker-lost", "busy"].includes(reason) ? reason : "";
        if (this.#moving) this.#lost(this.#moving);
        else this.#end(reason);
    }

    /**
     * No ticket for the call. Whoever is not admitted any more waits again, from the first step.
     * @param {string} code
     */
    #shut(code) {
        if (code === "not-admitted") location.reload();
        else this.#end(code);
    }

    /** @param {string} state */
    #end(state) {
        if (this.#over) return;
        this.#over = true;
        clearInterval(this.ticking);
        this.controls.floating.close();
        this.countdown.stop();
        this.line.close();
        this.#hangUp();
        for (const track of this.#screen?.getTracks() ?? []) track.stop();
        this.#screen = null;
        this.devices.release("mic");
        this.devices.release("cam");
        show(this.element, false);
        this.leave(state, [...this.#keptOfMe], this.#erased);
    }
}
