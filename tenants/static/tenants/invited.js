// @ts-check
/** The page of an invitation of staff: takes the secret out of the address, posts it, goes where it is told. */

import { all, one, post, show } from "../calls/dom.js";

const page = one("#invited");
const secret = location.hash.slice(1);
history.replaceState(null, "", location.pathname);

/** @param {string} state */
function put(state) {
    for (const card of all("[data-state]", page)) show(card, card.dataset.state === state);
    if (state !== "checking") one(`[data-state="${state}"] h1`, page).focus();
}

async function open() {
    put("checking");
    try {
        const answer = await post(page.dataset.open ?? "", { secret });
        if (answer.status >= 500) throw new Error(`no answer now: ${answer.status}`);
        const found = answer.ok ? await answer.json() : {};
        if (found.next) location.replace(found.next);
        else put(answer.status === 429 ? "too-many" : "unknown");
    } catch {
        put("offline");
    }
}

window.addEventListener("hashchange", () => location.reload()); // another link opened in the same tab
for (const button of all("[data-do=again]", page)) button.addEventListener("click", open);
if (secret) open();
else put("unknown");
