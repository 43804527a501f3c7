// @ts-check
/** Copy buttons: put what a field holds onto the clipboard and say so. They are hidden until they can. */

import { all, one, show } from "./dom.js";

for (const button of all("[data-copy]")) {
    const field = /** @type {HTMLInputElement} */ (one(`#${button.dataset.copy}`));
    const state = one("[data-copy-state]", button.parentElement ?? document);
    field.addEventListener("focus", () => field.select());
    button.addEventListener("click", async () => {
        await navigator.clipboard.writeText(field.value).catch(() => {
            field.select();
            document.execCommand("copy"); // where the clipboard is not allowed to pages, the selection still is
        });
        state.textContent = field.dataset.copied ?? "";
    });
    show(button, true);
}
