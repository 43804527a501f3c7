// @ts-check
/** The page of a personal link: takes the secret out of the address, posts it, goes where it is told. */

import { supported } from "./devices.js";
import { all, one, post, show } from "./dom.js";

const page = one("#link");
const secret = location.hash.slice(1);
history.replaceState(null, "", location.pathname);

/** @param {string} state */
function put(state) {
    const cards = all("[data-state]", page);
    const wanted = cards.find((card) => card.dataset.state === state) ?? one("[data-state=unknown]", page);
    for (const card of cards) show(card, card === wanted);
    const heading = wanted.querySelector("h1");
    if (state !== "checking") heading?.focus();
}

async function open() {
    put("checking");
    try {
        const answer = await post(page.dataset.open ?? "", { secret });
        if (answer.status === 429) {
            put("too-many");
            return;
        }
        if (answer.status >= 500) throw new Error(`no answer now: ${answer.status}`);
        const found = await answer.json().catch(() => ({}));
        if (found.next) location.replace(found.next);
        else put(found.state ?? found.code ?? "unknown");
    } catch {
        put("offline");
    }
}

window.addEventListener("hashchange", () => location.reload()); // another link opened in the same tab
for (const button of all("[data-do=again]", page)) button.addEventListener("click", open);
if (!supported()) put("unsupported");
else if (!secret) put("unknown");
else open();
