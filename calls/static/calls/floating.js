// @ts-check
/**
 * One picture of the stage in a window of the browser's own, above all others (picture in picture). Its tile stays, with name, sound and marks. It
 * comes back when whoever is in it turns the camera off or leaves, and with the end of the call.
 */

import { show } from "./dom.js";
import { announce, text } from "./texts.js";

export class Floating {
    /**
     * @param {HTMLElement} button
     * @param {HTMLElement} stage
     * @param {{picture: () => HTMLVideoElement | null, say: (words: string) => void}} owner `picture` is the one to be lifted out
     */
    constructor(button, stage, owner) {
        this.button = button;
        this.stage = stage;
        this.owner = owner;
        show(button, document.pictureInPictureEnabled === true);
        stage.addEventListener("enterpictureinpicture", (event) => this.#entered(/** @type {HTMLVideoElement} */ (event.target)), true);
    }

    /** The picture of the stage that floats now. */
    get #video() {
        const video = document.pictureInPictureElement;
        return video && this.stage.contains(video) ? video : null;
    }

    async toggle() {
        if (!document.pictureInPictureEnabled) return;
        if (this.#video) {
            await this.close();
            return;
        }
        const video = this.owner.picture();
        if (!video) {
            this.owner.say(text("float-nothing"));
            return;
        }
        try {
            await video.requestPictureInPicture();
        } catch {
            this.owner.say(text("float-failed"));
        }
    }

    /** A camera that went off leaves no picture to float. */
    look() {
        if (this.#video?.closest("[data-cam=off]")) this.close();
    }

    async close() {
        if (this.#video) await document.exitPictureInPicture().catch(() => {}); // the browser was quicker
    }

    /** @param {HTMLVideoElement} video by our button or by a menu of the browser */
    #entered(video) {
        video.addEventListener("leavepictureinpicture", () => this.#left(video), { once: true }); // on the picture: it may be out of the page by then
        this.owner.say("");
        this.#draw();
        announce(text("floats", { picture: video.getAttribute("aria-label") ?? "" }));
    }

    /** @param {HTMLVideoElement} video */
    #left(video) {
        if (video.srcObject) video.play().catch(() => {}); // some browsers pause what was in a window that somebody closes
        this.#draw();
        if (!this.#video) announce(text("floats-no-more"));
    }

    #draw() {
        this.button.setAttribute("aria-pressed", String(this.#video !== null));
    }
}
