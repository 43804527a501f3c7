// @ts-check
/**
 * Where the tiles of a stage stand: arithmetic only. Lengths are CSS pixels from the stage's start corner, whichever side reading starts at.
 *
 * Somebody's tile is never made tiny to fit more people: those who do not fit stand on further pages.
 */

/** @typedef {{x: number, y: number, width: number, height: number}} Box */
/**
 * `main` have the stage (a shared screen, or the one person who is large), `beside` is a person who stands large beside shared screens, or "",
 * and `rest` are the others in their order.
 * @typedef {{main: string[], beside: string, rest: string[]}} Cast
 */
/** @typedef {{boxes: Map<string, Box>, page: number, pages: number, pager: Box}} Plan */

export const GAP = 8;
const RATIO = 16 / 9;
const PAGER = 44; // the height of the bar with the pages: a target's size
const NARROW = 600; // a stage below this is a phone's
const LEAST = { narrow: 140, wide: 180 }; // the narrowest tile in which a face, a name and a mark are well seen
const ALIKE = 0.88; // tiles of this part of the largest width are as good
const SIDE = { share: 0.2, beside: 0.3, least: 150, most: 280, mostBeside: 420 }; // the column beside what is large

/**
 * Every tile that is on the page `asked`, and where.
 * @param {{width: number, height: number}} stage
 * @param {Cast} cast
 * @param {number} asked a page, counted from 0; beyond the last one, the last
 * @returns {Plan}
 */
export function planned(stage, cast, asked) {
    const whole = { x: 0, y: 0, ...stage };
    if (!cast.main.length) return paged(whole, cast.rest, asked, { least: stage.width < NARROW ? LEAST.narrow : LEAST.wide, most: stage.width });
    if (!cast.rest.length && !cast.beside) return { boxes: filled(whole, cast.main), page: 0, pages: 1, pager: whole };
    const { main, beside, rest, tile } = stage.width > stage.height * 1.25 ? inColumns(whole, cast) : inRows(whole, cast);
    const plan = paged(rest, cast.rest, asked, { ...tile, fromTop: true });
    return { ...plan, boxes: new Map([...filled(main, cast.main), ...filled(beside, cast.beside ? [cast.beside] : []), ...plan.boxes]) };
}

/**
 * Large at the start, everybody else in a column at the end.
 * @param {Box} whole
 * @param {Cast} cast
 */
function inColumns(whole, cast) {
    const share = Math.round(whole.width * (cast.beside ? SIDE.beside : SIDE.share));
    const width = Math.max(SIDE.least, Math.min(cast.beside ? SIDE.mostBeside : SIDE.most, share));
    const x = whole.width - width;
    const height = cast.beside ? Math.min(width / RATIO, cast.rest.length ? whole.height / 2 : whole.height) : 0;
    const y = cast.beside ? height + GAP : 0;
    return {
        main: { ...whole, width: x - GAP },
        beside: { x, y: 0, width, height },
        rest: { x, y, width, height: whole.height - y },
        tile: cast.beside ? { least: width * 0.45, most: width * 0.6 } : { least: width * 0.75, most: width },
    };
}

/**
 * Large on top, everybody else below.
 * @param {Box} whole
 * @param {Cast} cast
 */
function inRows(whole, cast) {
    const most = whole.height * (cast.rest.length ? (cast.beside ? 0.4 : 0.6) : 0.5);
    const main = Math.min((whole.width / RATIO) * (cast.beside ? 1 : cast.main.length), most);
    const height = cast.beside ? Math.min(whole.width / RATIO, whole.height * (cast.rest.length ? 0.25 : 0.5)) : 0;
    const y = main + GAP + (cast.beside ? height + GAP : 0);
    return {
        main: { ...whole, height: main },
        beside: { ...whole, y: main + GAP, height },
        rest: { ...whole, y, height: Math.max(0, whole.height - y) },
        tile: { least: LEAST.narrow, most: Math.min(whole.width * 0.6, cast.beside ? height * RATIO * 0.8 : Infinity) },
    };
}

/**
 * Share a place out in equal parts, side by side or one below the other.
 * @param {Box} place
 * @param {string[]} ids
 * @returns {Map<string, Box>}
 */
function filled(place, ids) {
    const across = place.width >= place.height;
    const width = across ? (place.width - GAP * (ids.length - 1)) / ids.length : place.width;
    const height = across ? place.height : (place.height - GAP * (ids.length - 1)) / ids.length;
    return new Map(ids.map((id, at) => [id, { x: place.x + (across ? at * (width + GAP) : 0), y: place.y + (across ? 0 : at * (height + GAP)), width, height }]));
}

/**
 * Tiles of 16:9, all of one size and as large as the place allows, with pages where not all fit at `least`.
 * @param {Box} place
 * @param {string[]} ids
 * @param {number} asked
 * @param {{least: number, most: number, fromTop?: boolean}} tile how wide a tile may be, and whether room that is left is all below, or around
 * @returns {Plan}
 */
function paged(place, ids, asked, { least, most, fromTop = false }) {
    const pager = { x: place.x, y: place.y + place.height - PAGER, width: place.width, height: PAGER };
    if (!ids.length) return { boxes: new Map(), page: 0, pages: 1, pager };
    const all = grid(place.width, place.height, ids.length, most);
    if (ids.length === 1 || all.width >= least) return { boxes: rows(place, ids, all, fromTop), page: 0, pages: 1, pager };
    const short = { ...place, height: Math.max(0, place.height - PAGER - GAP) };
    let fit = ids.length - 1;
    while (fit > 1 && grid(short.width, short.height, fit, most).width < least) fit--;
    const pages = Math.ceil(ids.length / fit);
    const page = Math.min(asked, pages - 1);
    const each = Math.ceil(ids.length / pages);
    const here = ids.slice(page * each, (page + 1) * each);
    return { boxes: rows(short, here, grid(short.width, short.height, each, most), fromTop), page, pages, pager };
}

/**
 * The number of columns that makes `count` tiles largest, and how wide each is. One column more is taken where it costs little: it fills the
 * width, where fewer would leave a narrow pile in the middle.
 * @param {number} width
 * @param {number} height
 * @param {number} count
 * @param {number} most a tile's greatest width
 */
function grid(width, height, count, most) {
    let best = { columns: 1, width: 0 };
    for (let columns = 1; columns <= count; columns++) {
        const lines = Math.ceil(count / columns);
        const across = (width - GAP * (columns - 1)) / columns;
        const down = ((height - GAP * (lines - 1)) / lines) * RATIO;
        const tile = Math.max(0, Math.floor(Math.min(across, down, most)));
        if (tile > best.width * ALIKE) best = { columns, width: tile };
    }
    return best;
}

/**
 * @param {Box} place
 * @param {string[]} ids
 * @param {{columns: number, width: number}} tiles
 * @param {boolean} fromTop
 * @returns {Map<string, Box>}
 */
function rows(place, ids, { columns, width }, fromTop) {
    const height = width / RATIO;
    const lines = Math.ceil(ids.length / columns);
    const top = fromTop ? 0 : Math.max(0, (place.height - lines * height - (lines - 1) * GAP) / 2);
    return new Map(ids.map((id, at) => {
        const line = Math.floor(at / columns);
        const inLine = Math.min(columns, ids.length - line * columns);
        const start = (place.width - inLine * width - (inLine - 1) * GAP) / 2;
        return [id, { x: place.x + start + (at % columns) * (width + GAP), y: place.y + top + line * (height + GAP), width, height }];
    }));
}
