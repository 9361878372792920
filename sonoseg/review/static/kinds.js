/**
 * The kinds of shapes: their handles, what moving a handle does, their outline, and what a drag draws.
 *
 * A handle is {id, x, y, role}; `moved` returns new points and never changes the old ones. `away` is the distance of a
 * turning handle from its shape in pixels of the image; it is the same number of pixels of the screen at every zoom.
 */

import {
  add, cross, distance, dot, length, middle, quarter, rounded, scaled, simplified, subtract, turned, unit,
} from "./points.js";

const ELLIPSE_POINTS = 120;
const SMALLEST = 1;
const CORNER_SIDES = ["top left", "top right", "bottom right", "bottom left"];
/** Shorter axis of a new ellipse as a fraction of the longer, about that of a fetal head; the next drag sets it. */
const NEW_ELLIPSE = 0.75;
/** With Shift a rectangle turns in steps of 15 degrees. */
const STEP = Math.PI / 12;
/** A side within half of the hundredth of a pixel to which points are rounded lies along a row or a column. */
const PARALLEL = 0.005;

const line = {
  closed: false,
  name: "line",
  handles: (points) => points.map(([x, y], i) => ({ id: `end${i}`, x, y, role: "end" })),
  moved: (points, id, to) => points.map((point, i) => (id === `end${i}` ? to : point)),
  outline: (points) => points,
  drawn: (from, to) => [from, to],
  isDrawn: (points) => distance(points[0], points[1]) >= SMALLEST,
};

/**
 * The four corners, clockwise from the upper left of a rectangle that is not turned. Two opposite corners stand for one
 * along rows and columns, four for one that is turned, as in annotation files.
 */
function corners(points) {
  if (points.length === 4) return points;
  const [[x0, y0], [x1, y1]] = points;
  const [left, right] = [Math.min(x0, x1), Math.max(x0, x1)], [top, bottom] = [Math.min(y0, y1), Math.max(y0, y1)];
  return [[left, top], [right, top], [right, bottom], [left, bottom]];
}

/** The two corners that say the same as four along rows and columns, else the four. */
function fewest(four) {
  const isParallel = four.every(([x, y], i) => {
    const [nextX, nextY] = four[(i + 1) % 4];
    return Math.min(Math.abs(x - nextX), Math.abs(y - nextY)) < PARALLEL;
  });
  if (!isParallel) return four;
  const [xs, ys] = [four.map(([x]) => x), four.map(([, y]) => y)];
  return [[Math.min(...xs), Math.min(...ys)], [Math.max(...xs), Math.max(...ys)]];
}

const rect = {
  closed: true,
  name: "rectangle",
  handles(points, away) {
    const four = corners(points);
    const centre = middle(...four), top = middle(four[0], four[1]), [, down] = axesOf(four);
    const turn = subtract(centre, scaled(down, distance(top, centre) + away));
    return [
      ...four.map(([x, y], i) => ({ id: `corner${i}`, x, y, role: "end" })),
      ...four.map((corner, i) => place(`side${i}`, middle(corner, four[(i + 1) % 4]), "side")),
      place("centre", centre, "centre"),
      { ...place("turn", turn, "turn"), from: top },
    ];
  },
  /** The side or corner opposite to the one that moves stays, and the rectangle never turns over. */
  moved(points, id, to, straight = false) {
    const four = corners(points);
    const centre = middle(...four);
    if (id === "centre") return points.map((point) => add(point, subtract(to, centre)));
    if (id === "turn") return fewest(turnedTo(four, subtract(to, centre), straight));
    const sides = id.startsWith("side") ? ["top", "right", "bottom", "left"][id.slice(-1)] : CORNER_SIDES[id.slice(-1)];
    const [along, down] = axesOf(four);
    const at = { left: 0, top: 0, right: dot(subtract(four[2], four[0]), along), bottom: dot(subtract(four[2], four[0]), down) };
    const [x, y] = [dot(subtract(to, four[0]), along), dot(subtract(to, four[0]), down)];
    if (sides.includes("left")) at.left = Math.min(x, at.right - SMALLEST);
    if (sides.includes("right")) at.right = Math.max(x, at.left + SMALLEST);
    if (sides.includes("top")) at.top = Math.min(y, at.bottom - SMALLEST);
    if (sides.includes("bottom")) at.bottom = Math.max(y, at.top + SMALLEST);
    const corner = (right, below) => add(four[0], add(scaled(along, right), scaled(down, below)));
    const result = [corner(at.left, at.top), corner(at.right, at.top), corner(at.right, at.bottom), corner(at.left, at.bottom)];
    return points.length === 4 ? result : [result[0], result[2]];
  },
  outline: corners,
  drawn(from, to) {
    const four = corners([from, to]);
    return [four[0], four[2]];
  },
  isDrawn: ([[left, top], [right, bottom]]) => right - left >= SMALLEST && bottom - top >= SMALLEST,
  angle: (points) => (points.length === 4 ? ((degrees(axesOf(points)[0]) + 90) % 180) - 90 : null),
};

/** Unit vectors along the first and the last side of four corners: at a right angle, the longer side decides. */
function axesOf([origin, next, , last]) {
  const [width, height] = [subtract(next, origin), subtract(last, origin)];
  const way = cross(width, height) < 0 ? -1 : 1;
  if (length(width) >= length(height)) return [unit(width), scaled(quarter(unit(width)), way)];
  return [scaled(quarter(unit(height)), -way), unit(height)];
}

/** Four corners turned about their middle until that of the first side lies in direction `to`, with `straight` in steps. */
function turnedTo(four, to, straight) {
  const centre = middle(...four), [along, down] = axesOf(four);
  let angle = angleBetween([1, 0], along) + angleBetween(scaled(down, -1), to);
  if (straight) angle = Math.round(angle / STEP) * STEP;
  const newAlong = [Math.cos(angle), Math.sin(angle)];
  const newDown = scaled(quarter(newAlong), Math.sign(cross(along, down)));
  return four.map((corner) => {
    const from = subtract(corner, centre);
    return add(centre, add(scaled(newAlong, dot(from, along)), scaled(newDown, dot(from, down))));
  });
}

const ellipse = {
  closed: true,
  name: "ellipse",
  handles(points, away) {
    const centre = middle(...points);
    const outwards = unit(subtract(points[1], points[0]));
    const turn = add(points[1], scaled(outwards, away));
    return [
      ...points.map(([x, y], i) => ({ id: `axis${i}`, x, y, role: "end" })),
      place("centre", centre, "centre"),
      { ...place("turn", turn, "turn"), from: points[1] },
    ];
  },
  /** An end of an axis moves as a caliper does: the opposite end stays; with `straight` the direction stays too. */
  moved(points, id, to, straight = false) {
    const centre = middle(...points);
    if (id === "centre") return points.map((point) => add(point, subtract(to, centre)));
    if (id === "turn") {
      return turned(points, centre, angleBetween(subtract(points[1], points[0]), subtract(to, centre)));
    }
    const end = Number(id.slice(-1)), start = end ^ 1, other = end < 2 ? 2 : 0;
    let axis = subtract(to, points[start]);
    const before = unit(subtract(points[end], points[start]));
    if (straight) axis = scaled(before, dot(axis, before));
    if (length(axis) < SMALLEST) axis = scaled(unit(axis, before), SMALLEST);
    const newCentre = add(points[start], scaled(axis, 0.5));
    const otherAxis = subtract(points[other + 1], points[other]);
    const sign = cross(before, otherAxis) < 0 ? -1 : 1;
    const half = scaled(quarter(unit(axis)), (sign * length(otherAxis)) / 2);
    const result = [];
    [result[start], result[end]] = [points[start], add(points[start], axis)];
    [result[other], result[other + 1]] = [subtract(newCentre, half), add(newCentre, half)];
    return result;
  },
  outline(points) {
    const centre = middle(...points);
    const a = scaled(subtract(points[1], points[0]), 0.5), b = scaled(subtract(points[3], points[2]), 0.5);
    return Array.from({ length: ELLIPSE_POINTS }, (_, i) => {
      const angle = (2 * Math.PI * i) / ELLIPSE_POINTS;
      return add(centre, add(scaled(a, Math.cos(angle)), scaled(b, Math.sin(angle))));
    });
  },
  drawn(from, to) {
    const centre = middle(from, to);
    const half = scaled(quarter(subtract(to, from)), NEW_ELLIPSE / 2);
    return [from, to, subtract(centre, half), add(centre, half)];
  },
  isDrawn: (points) => distance(points[0], points[1]) >= 2 * SMALLEST,
  angle: (points) => degrees(subtract(points[1], points[0])),
};

const region = {
  closed: true,
  name: "region",
  handles: (points) => points.map(([x, y], i) => ({ id: `vertex${i}`, x, y, role: "vertex" })),
  moved: (points, id, to) => points.map((point, i) => (id === `vertex${i}` ? to : point)),
  outline: (points) => points,
  isDrawn: (points) => points.length >= 3,
};

export const KINDS = { line, rect, ellipse, region };

/** The lines (lists of points) that show a shape. A painted region has those of its mask (mask.js), none here. */
export function outlineOf(shape) {
  return shape.points ? KINDS[shape.kind].outline(shape.points) : [];
}

/** The handles of a shape; a painted region has none. */
export function handlesOf(shape, away) {
  return shape.points ? KINDS[shape.kind].handles(shape.points, away) : [];
}

/** The shape with one of its handles at `to`. */
export function withHandle(shape, id, to, straight = false) {
  return { ...shape, points: rounded(KINDS[shape.kind].moved(shape.points, id, to, straight)) };
}

/** The shape moved by `by`. */
export function shifted(shape, by) {
  return { ...shape, points: rounded(shape.points.map((point) => add(point, by))) };
}

/** An outline drawn by hand, with as few vertices as keep it within `tolerance`. */
export function drawnRegion(points, tolerance) {
  const open = simplified([...points, points[0]], tolerance);
  return open.slice(0, -1);
}

/** Angle in degrees, clockwise from the x axis: of an ellipse's first axis, 0 to 180, or of a turned rectangle's first side,
 * -90 to 90; null for others. */
export function angleOf(shape) {
  return shape.points && KINDS[shape.kind].angle ? KINDS[shape.kind].angle(shape.points) : null;
}

const place = (id, [x, y], role) => ({ id, x, y, role });
const angleBetween = (a, b) => Math.atan2(cross(a, b), dot(a, b));
const degrees = ([x, y]) => ((Math.atan2(y, x) * 180) / Math.PI + 180) % 180;
