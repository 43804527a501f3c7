// @ts-check
/** The people panel: who waits, who is here, and what is kept of each, source by source. */

import { copyOf, fill, one, show } from "./dom.js";
import { drawMark, lines } from "./marks.js";
import { listed, text } from "./texts.js";

/** @typedef {import("./protocol.js").Person} Person */
/** @typedef {Omit<Person, "marks"> & {marks: import("./marks.js").Marks}} Seen somebody with the marks that may be shown now */
/** @typedef {import("./protocol.js").Waiting} Waiting */

export class People {
    /**
     * @param {HTMLElement} panel
     * @param {{admit: (id: string) => void, deny: (id: string) => void, remove: (person: Seen) => void}} owner
     */
    constructor(panel, owner) {
        this.panel = panel;
        this.owner = owner;
    }

    /**
     * @param {Seen[]} people
     * @param {string} me
     */
    present(people, me) {
        const host = people.some((person) => person.participant === me && person.role === "host");
        show(one("[data-host]", this.panel), host);
        this.#replace(one("[data-people]", this.panel), people.map((person) => this.#person(person, me, host)));
    }

    /** @param {Waiting[]} people */
    waiting(people) {
        const block = one("[data-waiting]", this.panel);
        show(block, people.length > 0);
        this.#replace(one("ul", block), people.map((guest) => {
            const element = copyOf("guest-waiting");
            element.dataset.participant = guest.participant;
            fill(element, { name: guest.name });
            for (const [action, act] of /** @type {const} */ ([["admit", this.owner.admit], ["deny", this.owner.deny]])) {
                const button = one(`[data-do=${action}]`, element);
                button.setAttribute("aria-label", `${button.textContent}: ${guest.name}`);
                button.addEventListener("click", () => act(guest.participant));
            }
            return element;
        }));
    }

    /**
     * @param {Seen} person
     * @param {string} me
     * @param {boolean} host
     */
    #person(person, me, host) {
        const mine = person.participant === me;
        const element = copyOf("person");
        element.dataset.participant = person.participant;
        const states = [text(person.mic ? "mic-on" : "mic-off"), text(person.cam ? "cam-on" : "cam-off")];
        if (person.role === "host") states.unshift(text("host"));
        fill(element, { name: mine ? text("me", { name: person.name }) : person.name, states: listed(states) });
        one(".person-marks", element).replaceChildren(...lines(person.marks).map(({ mark, words }) => {
            const item = document.createElement("li");
            const drawn = one(".mark", copyOf("tile"));
            drawMark(drawn, mark, words);
            item.append(drawn);
            return item;
        }));
        show(one(".person-do", element), host && !mine);
        const remove = one("[data-do=remove]", element);
        remove.setAttribute("aria-label", `${remove.textContent}: ${person.name}`);
        remove.addEventListener("click", () => this.owner.remove(person));
        return element;
    }

    /**
     * Put a new list in place; whoever had the focus on a button keeps it on the same button.
     * @param {HTMLElement} list
     * @param {HTMLElement[]} items
     */
    #replace(list, items) {
        const focused = document.activeElement instanceof HTMLElement && list.contains(document.activeElement) ? document.activeElement : null;
        const owner = focused?.closest("[data-participant]")?.getAttribute("data-participant");
        list.replaceChildren(...items);
        if (!focused) return;
        const again = items.find((item) => item.dataset.participant === owner)?.querySelector(`[data-do="${focused.dataset.do}"]`);
        /** @type {HTMLElement} */ (again ?? one("h2", this.panel)).focus();
    }
}
