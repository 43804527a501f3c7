// @ts-check
/** Shows every moment of the page in the reader's own time zone. Without this it stays in the service's zone, which it names. */

const SHAPE = { weekday: "short", day: "numeric", month: "short", year: "numeric", hour: "2-digit", minute: "2-digit", hourCycle: "h23" };
const written = new Intl.DateTimeFormat(document.documentElement.lang, /** @type {Intl.DateTimeFormatOptions} */ (SHAPE));
const city = written.resolvedOptions().timeZone.split("/").at(-1)?.replaceAll("_", " ") ?? "";

/**
 * As the templates write it: "Mon 23 Nov 2026, 14:05 (Helsinki)".
 * @param {string} moment
 */
function words(moment) {
    const part = Object.fromEntries(written.formatToParts(new Date(moment)).map(({ type, value }) => [type, value]));
    return `${part.weekday} ${part.day} ${part.month} ${part.year}, ${part.hour}:${part.minute} (${city})`;
}

for (const time of /** @type {NodeListOf<HTMLTimeElement>} */ (document.querySelectorAll("time[data-moment]"))) {
    time.textContent = words(time.dateTime);
}
