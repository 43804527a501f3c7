// @ts-check
/** The little that every part needs from the document. */

/**
 * The element that matches, or an error that names it: a template without it is a fault of ours.
 * @template {Element} [T=HTMLElement]
 * @param {string} selector
 * @param {ParentNode} [within]
 * @returns {T}
 */
export function one(selector, within = document) {
    const found = within.querySelector(selector);
    if (!found) throw new RangeError(`the page has no ${selector}`);
    return /** @type {T} */ (found);
}

/**
 * @template {Element} [T=HTMLElement]
 * @param {string} selector
 * @param {ParentNode} [within]
 * @returns {T[]}
 */
export function all(selector, within = document) {
    return /** @type {T[]} */ ([...within.querySelectorAll(selector)]);
}

/**
 * A copy of the first element in the template with that id.
 * @param {string} id
 * @returns {HTMLElement}
 */
export function copyOf(id) {
    const template = /** @type {HTMLTemplateElement} */ (one(`template#${id}`));
    const [first] = template.content.children;
    return /** @type {HTMLElement} */ (first.cloneNode(true));
}

/**
 * Put words where `data-slot` says so.
 * @param {ParentNode} within
 * @param {Record<string, string>} words
 */
export function fill(within, words) {
    for (const [name, value] of Object.entries(words)) one(`[data-slot="${name}"]`, within).textContent = value;
}

/**
 * Show or hide. Hidden elements keep no place, so callers reserve space where something would jump.
 * @param {Element} element
 * @param {boolean} shown
 */
export function show(element, shown) {
    element.toggleAttribute("hidden", !shown);
}

/**
 * Point an icon or a mark at another drawing.
 * @param {Element} svg
 * @param {string} name
 */
export function draw(svg, name) {
    one("use", svg).setAttribute("href", `#${name}`);
}

/** @returns {any} */
export function context() {
    return JSON.parse(one("#room-context").textContent ?? "{}");
}

/** The token that Django asks of a POST from a page. */
export function csrf() {
    return /** @type {HTMLInputElement} */ (one("input[name=csrfmiddlewaretoken]")).value;
}

/**
 * @param {string} url
 * @param {Record<string, unknown>} body
 * @param {Record<string, string>} [further] headers
 */
export function post(url, body, further = {}) {
    const headers = { ...further, "Content-Type": "application/json", "X-CSRFToken": csrf() };
    return fetch(url, { method: "POST", credentials: "same-origin", cache: "no-store", headers, body: JSON.stringify(body) });
}
