// @ts-check
/** The stage: one tile for each person and each shared screen, 16:9, never cropped, as large as the stage allows. */

import { copyOf, draw, fill, one, show } from "./dom.js";
import { planned } from "./layout.js";
import { drawMark, overall, wordsOf } from "./marks.js";
import { Pager } from "./pager.js";
import { HIGHEST, Shown } from "./shown.js";
import { announce, text } from "./texts.js";
import { isScreen, View } from "./view.js";

/** @typedef {import("./people.js").Seen} Person */
/** @typedef {import("./protocol.js").HeardTrack} HeardTrack */
/** @typedef {{element: HTMLElement, video: HTMLVideoElement, stream: MediaStream}} Tile */

const FLOATING = 240; // px: about as high as browsers make the window of a picture that floats
const LOUD = 0.02; // audio level of somebody who speaks, 0 to 1

export class Stage {
    /** @type {Map<string, Tile>} */
    #tiles = new Map();
    #me = "";
    #speaker = "";
    #view = new View();
    /** @type {Pager} */
    #pager;
    #told = false;
    /** @type {string[]} */
    #large = [];
    /** What stands on the present page, the large ones first. @type {string[]} */
    #order = [];

    /**
     * @param {HTMLElement} place
     * @param {(words: import("./shown.js").InSight) => boolean} tell say what is in sight
     */
    constructor(place, tell) {
        this.place = place;
        this.tiles = one(".stage-tiles", place);
        this.#pager = new Pager(place, () => this.#arrange());
        this.shown = new Shown(tell, () => this.#inSight());
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
     * The next or the last page of the stage.
     * @param {-1 | 1} way
     * @returns {boolean} are there pages at all?
     */
    turn(way) {
        return this.#pager.turn(way);
    }

    /**
     * The picture that matters most now, to be shown in a window of its own: whoever stands large, else whoever speaks, else the first; our own
     * only where there is no other.
     * @returns {HTMLVideoElement | null}
     */
    picture() {
        const own = (/** @type {string} */ id) => id.startsWith(`${this.#me}/`);
        const ids = [...this.#large, `${this.#speaker}/person`, ...this.#order, ...this.#tiles.keys()];
        for (const id of [...ids.filter((id) => !own(id)), ...ids]) {
            const tile = this.#tiles.get(id);
            if (tile?.video.videoWidth && tile.element.matches("[data-picture][data-cam=on]")) return tile.video;
        }
        return null;
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
        one("[data-do=pin]", element).setAttribute("aria-label", text("pin", { name }));
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
        one("[data-do=pin]", element).setAttribute("aria-label", text("pin", { name }));
    }

    /** @param {string} id */
    #make(id) {
        const element = copyOf("tile");
        const video = /** @type {HTMLVideoElement} */ (one("video", element));
        const tile = { element, video, stream: new MediaStream() };
        element.dataset.tile = id;
        element.classList.toggle("tile-screen", isScreen(id));
        one("[data-do=pin]", element).addEventListener("click", () => this.#pin(id, element));
        video.addEventListener("resize", () => this.shown.changed());
        video.muted = id.startsWith(`${this.#me}/`);
        video.srcObject = tile.stream;
        this.#tiles.set(id, tile);
        if (isScreen(id) && !video.muted) this.tiles.prepend(element);
        else this.tiles.append(element);
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

    /** Put every tile of the present page in its place; those of other pages are out of sight and still heard. */
    #arrange() {
        const { clientWidth: width, clientHeight: height } = this.place;
        if (!width || !height) return; // the room is not open
        const cast = this.#view.cast([...this.#tiles.keys()], this.#me);
        const large = cast.beside ? [...cast.main, cast.beside] : cast.main;
        if (large.join() !== this.#large.join()) this.#pager.page = 0;
        this.#large = large;
        const plan = planned({ width, height }, cast, this.#pager.page);
        this.#order = [...large, ...cast.rest].filter((id) => plan.boxes.has(id));
        this.#pager.draw(plan, this.#speaksUnseen(plan));
        for (const [id, tile] of this.#tiles) this.#put(id, tile, plan.boxes.get(id), large.includes(id));
        this.shown.changed();
    }

    /**
     * @param {string} id
     * @param {Tile} tile
     * @param {import("./layout.js").Box | undefined} box
     * @param {boolean} large
     */
    #put(id, { element }, box, large) {
        if (!box && element.contains(document.activeElement)) one("[data-do=page-back]", this.place).focus();
        show(element, box !== undefined);
        for (const [side, length] of Object.entries(box ?? {})) element.style.setProperty(`--${side}`, `${length}px`);
        element.toggleAttribute("data-main", large && (!isScreen(id) || id === this.#view.pinned));
        one("[data-do=pin]", element).setAttribute("aria-pressed", String(id === this.#view.pinned));
    }

    /**
     * The name of somebody who speaks on another page, or "".
     * @param {import("./layout.js").Plan} plan
     */
    #speaksUnseen({ boxes }) {
        const id = `${this.#speaker}/person`;
        const tile = this.#speaker === this.#me || boxes.has(id) ? undefined : this.#tiles.get(id);
        return tile ? one(".plate-name", tile.element).textContent ?? "" : "";
    }

    /**
     * @param {string} id
     * @param {HTMLElement} element
     */
    #pin(id, element) {
        const name = one(".plate-name", element).textContent ?? "";
        announce(text(this.#view.pin(id) ? "pinned" : "unpinned", { name }));
        this.#arrange();
    }

    /**
     * What the page shows of the others, the most important first. Out of sight of the window only a picture that floats above it counts.
     * @returns {import("./shown.js").InSight}
     */
    #inSight() {
        const [pinned, what] = this.#view.pinned.split("/");
        return { tiles: this.#inOrder(), pinned: what === "person" && pinned !== this.#me ? pinned : null };
    }

    /** @returns {import("./protocol.js").Tile[]} */
    #inOrder() {
        const speaker = `${this.#speaker}/person`;
        const floating = [...this.#tiles].filter(([, { video }]) => video === document.pictureInPictureElement).map(([id]) => id);
        const ids = [...this.#order, ...floating].filter((id) => !id.startsWith(`${this.#me}/`));
        const ordered = [...ids.filter((id) => this.#large.includes(id)), ...ids.filter((id) => id === speaker), ...ids];
        return [...new Set(ordered)].flatMap((id) => {
            const tile = this.#tiles.get(id);
            if (!tile || (document.hidden && document.pictureInPictureElement !== tile.video)) return [];
            const height = Math.round(Math.max(pictureHeight(tile), floating.includes(id) ? FLOATING : 0) * devicePixelRatio);
            const [participant] = id.split("/");
            return [{ participant, source: isScreen(id) ? "screen" : "cam", height: Math.max(1, Math.min(HIGHEST, height)) }];
        });
    }
}

/**
 * How high the picture stands in its tile, in CSS pixels: it keeps its shape, so a tile that is higher shows no more of it.
 * @param {Tile} tile
 */
function pictureHeight({ element, video }) {
    const ratio = video.videoWidth ? video.videoWidth / video.videoHeight : 16 / 9;
    return Math.min(element.clientHeight, element.clientWidth / ratio);
}
