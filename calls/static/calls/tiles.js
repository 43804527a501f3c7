// @ts-check
/** The stage: one tile for each person and each shared screen, 16:9, never cropped, as large as the stage allows. */

import { copyOf, draw, fill, one, show } from "./dom.js";
import { drawMark, overall, wordsOf } from "./marks.js";
import { announce, text } from "./texts.js";
import { View } from "./view.js";

/** @typedef {import("./protocol.js").Person} Person */
/** @typedef {import("./protocol.js").HeardTrack} HeardTrack */
/** @typedef {{element: HTMLElement, video: HTMLVideoElement, stream: MediaStream}} Tile */

const GAP = 8; // px, the stage's gap in room.css
const RATIO = 16 / 9;
const NARROWEST = 132; // px
const LOUD = 0.02; // audio level of somebody who speaks, 0 to 1

export class Stage {
    /** @type {Map<string, Tile>} */
    #tiles = new Map();
    #me = "";
    #speaker = "";
    #view = new View();
    #told = false;

    /** @param {HTMLElement} place */
    constructor(place) {
        this.screens = one(".stage-screens", place);
        this.place = one(".stage-people", place);
        new ResizeObserver(() => this.#arrange()).observe(place);
    }

    /**
     * Show these people, and nobody else.
     * @param {Person[]} people
     * @param {string} me
     */
    people(people, me) {
        this.#me = me;
        const wanted = new Set(people.map((person) => `${person.participant}/person`));
        for (const id of this.#tiles.keys()) {
            const owner = id.split("/")[0];
            if (!wanted.has(`${owner}/person`)) this.#drop(id);
        }
        for (const person of people) this.#person(person);
        for (const person of people) this.#screen(person);
        this.#arrange();
    }

    /**
     * Our own picture; sound of our own is never played.
     * @param {"person" | "screen"} what
     * @param {MediaStreamTrack | null} track
     */
    own(what, track) {
        const tile = this.#tiles.get(`${this.#me}/${what}`);
        if (tile) this.#fill(tile, track ? [track] : []);
    }

    /**
     * The whole list of what we receive: tracks that it does not name leave their tile. Tiles themselves come and go with `people`.
     * @param {{place: HeardTrack, track: MediaStreamTrack}[]} heard
     */
    heard(heard) {
        /** @type {Map<string, MediaStreamTrack[]>} */
        const tracks = new Map();
        for (const { place, track } of heard) {
            const id = `${place.participant}/${place.source.startsWith("screen") ? "screen" : "person"}`;
            tracks.set(id, [...(tracks.get(id) ?? []), track]);
        }
        for (const [id, tile] of this.#tiles) if (!id.startsWith(`${this.#me}/`)) this.#fill(tile, tracks.get(id) ?? []);
    }

    /**
     * Who speaks, as the worker says it; from then on our own ear is not asked any more.
     * @param {string[]} participants the loudest first
     */
    spoken(participants) {
        this.#told = true;
        this.#loudest(participants[0] ?? "");
    }

    /**
     * Outline whoever is heard the loudest, as long as the worker has not said who speaks.
     * @param {RTCPeerConnection} pc
     * @param {{place: HeardTrack, track: MediaStreamTrack}[]} heard
     */
    speaking(pc, heard) {
        if (this.#told) return;
        const receivers = new Map(pc.getReceivers().map((receiver) => [receiver.track, receiver]));
        const levels = heard.filter(({ place }) => place.source === "mic").map(({ place, track }) => {
            const level = receivers.get(track)?.getSynchronizationSources()[0]?.audioLevel ?? 0;
            return { id: place.participant, level };
        });
        const loudest = levels.reduce((best, one) => (one.level > best.level ? one : best), { id: "", level: LOUD });
        this.#loudest(loudest.id);
    }

    /** @param {string} participant "" where nobody speaks */
    #loudest(participant) {
        if (participant === this.#speaker) return;
        this.#speaker = participant;
        this.#view.heard(participant);
        this.#arrange();
        for (const [id, tile] of this.#tiles) tile.element.toggleAttribute("data-speaking", id === `${participant}/person`);
    }

    /**
     * Change between grid and speaker view.
     * @returns {boolean} is it speaker view now?
     */
    toggleView() {
        this.#view.speaker = !this.#view.speaker;
        this.#arrange();
        return this.#view.speaker;
    }

    /**
     * Play on another speaker, where the browser can.
     * @param {string} id
     */
    async speaker(id) {
        for (const { video } of this.#tiles.values()) if ("setSinkId" in video) await video.setSinkId(id).catch(() => {});
    }

    /** @param {Person} person */
    #person(person) {
        const tile = this.#tiles.get(`${person.participant}/person`) ?? this.#make(`${person.participant}/person`);
        const mine = person.participant === this.#me;
        const { element } = tile;
        element.toggleAttribute("data-own", mine);
        element.dataset.cam = person.cam ? "on" : "off";
        element.dataset.mic = person.mic ? "on" : "off";
        const name = mine ? text("me", { name: person.name }) : person.name;
        fill(element, { name, mic: text(person.mic ? "mic-on" : "mic-off") });
        draw(one(".plate-mic .icon", element), person.mic ? "icon-mic" : "icon-mic-off");
        drawMark(one(".mark", element), overall(person.marks), wordsOf(person.marks));
        tile.video.setAttribute("aria-label", text("picture-of", { name }));
        const pin = one("[data-do=pin]", element);
        pin.dataset.name = name;
    }

    /** @param {Person} person */
    #screen(person) {
        const id = `${person.participant}/screen`;
        if (!person.screen) {
            this.#drop(id);
            return;
        }
        const { element, video } = this.#tiles.get(id) ?? this.#make(id);
        const mine = person.participant === this.#me;
        const name = mine ? text("own-screen") : text("screen-of", { name: person.name });
        element.dataset.cam = "on";
        fill(element, { name, mic: "" });
        draw(one(".plate-mic .icon", element), "icon-share");
        const marks = person.marks.screen ? { screen: person.marks.screen } : {};
        drawMark(one(".mark", element), overall(marks), wordsOf(marks));
        video.setAttribute("aria-label", name);
    }

    /** @param {string} id */
    #make(id) {
        const element = copyOf("tile");
        const video = /** @type {HTMLVideoElement} */ (one("video", element));
        const tile = { element, video, stream: new MediaStream() };
        element.dataset.tile = id;
        element.classList.toggle("tile-screen", id.endsWith("/screen"));
        const pin = one("[data-do=pin]", element);
        if (id.endsWith("/screen")) pin.remove();
        else pin.addEventListener("click", () => this.#pin(id.split("/")[0], pin.dataset.name ?? ""));
        video.muted = id.startsWith(`${this.#me}/`);
        video.srcObject = tile.stream;
        this.#tiles.set(id, tile);
        (id.endsWith("/screen") ? this.screens : this.place).append(element);
        return tile;
    }

    /** @param {string} id */
    #drop(id) {
        const tile = this.#tiles.get(id);
        if (!tile) return;
        tile.video.srcObject = null;
        tile.element.remove();
        this.#tiles.delete(id);
    }

    /**
     * @param {Tile} tile
     * @param {MediaStreamTrack[]} tracks
     */
    #fill({ element, stream, video }, tracks) {
        element.toggleAttribute("data-picture", tracks.some((track) => track.kind === "video"));
        for (const track of stream.getTracks()) if (!tracks.includes(track)) stream.removeTrack(track);
        for (const track of tracks) if (!stream.getTracks().includes(track)) stream.addTrack(track);
        if (tracks.length) video.play().catch(() => {});
    }

    /** A shared screen takes the stage and the people line up beside it; without one the people get all of it. */
    #arrange() {
        show(this.screens, this.screens.childElementCount > 0);
        this.#spotlight();
        if (this.screens.hidden) this.#columns();
        const { clientWidth, clientHeight, scrollWidth, scrollHeight } = this.place;
        if (scrollWidth > clientWidth || scrollHeight > clientHeight) this.place.tabIndex = 0; // what scrolls must be reachable by key
        else this.place.removeAttribute("tabindex");
    }

    /** One person large and the others in a row below, where the view says so and no screen has the stage. */
    #spotlight() {
        const people = [...this.#tiles].filter(([id]) => id.endsWith("/person"));
        const large = !this.screens.childElementCount;
        const main = this.#view.main(people.map(([id]) => id.split("/")[0]), this.#me);
        this.place.toggleAttribute("data-spotlight", main !== "" && large);
        this.place.style.setProperty("--others", String(Math.max(1, people.length - 1)));
        this.place.style.setProperty("--across", `${this.place.clientWidth}px`);
        for (const [id, { element }] of people) {
            const participant = id.split("/")[0];
            const pinned = participant === this.#view.pinned;
            element.toggleAttribute("data-main", large && participant === main);
            const pin = one("[data-do=pin]", element);
            pin.setAttribute("aria-pressed", String(pinned));
            pin.setAttribute("aria-label", text("pin", { name: pin.dataset.name ?? "" }));
        }
    }

    /**
     * @param {string} participant
     * @param {string} name
     */
    #pin(participant, name) {
        announce(text(this.#view.pin(participant) ? "pinned" : "unpinned", { name }));
        this.#arrange();
    }

    /** Choose the number of columns that makes the tiles largest. */
    #columns() {
        const people = this.place.childElementCount;
        const { clientWidth: width, clientHeight: height } = this.place;
        let best = { columns: 1, tile: 0 };
        for (let columns = 1; columns <= people; columns++) {
            const rows = Math.ceil(people / columns);
            const across = (width - GAP * (columns - 1)) / columns;
            const down = ((height - GAP * (rows - 1)) / rows) * RATIO;
            const tile = Math.floor(Math.min(across, Math.max(down, NARROWEST)));
            if (tile > best.tile) best = { columns, tile };
        }
        this.place.style.setProperty("--columns", String(best.columns));
        this.place.style.setProperty("--tile", `${best.tile}px`);
    }
}
