/** Arithmetic of points [x, y] in pixels of the original image; whole numbers are pixel centres. */

export const add = (a, b) => [a[0] + b[0], a[1] + b[1]];
export const subtract = (a, b) => [a[0] - b[0], a[1] - b[1]];
export const scaled = (a, factor) => [a[0] * factor, a[1] * factor];
export const dot = (a, b) => a[0] * b[0] + a[1] * b[1];
export const cross = (a, b) => a[0] * b[1] - a[1] * b[0];
export const length = (a) => Math.hypot(a[0], a[1]);
export const distance = (a, b) => Math.hypot(a[0] - b[0], a[1] - b[1]);
export const middle = (...points) => scaled(points.reduce(add), 1 / points.length);
/** A quarter turn, clockwise on the screen. */
export const quarter = (a) => [-a[1], a[0]];

/** `a` with length 1; `otherwise` where it has none. */
export function unit(a, otherwise = [1, 0]) {
  const size = length(a);
  return size > 1e-12 ? scaled(a, 1 / size) : otherwise;
}

/** `points` turned about `centre` by `angle` in radians, clockwise on the screen. */
export function turned(points, centre, angle) {
  const cos = Math.cos(angle), sin = Math.sin(angle);
  return points.map((point) => {
    const [x, y] = subtract(point, centre);
    return [centre[0] + x * cos - y * sin, centre[1] + x * sin + y * cos];
  });
}

/** The point of the segment from `a` to `b` that is nearest to `p`. */
export function nearestOnSegment(p, a, b) {
  const along = subtract(b, a);
  const size = dot(along, along);
  const part = size === 0 ? 0 : Math.max(0, Math.min(1, dot(subtract(p, a), along) / size));
  return add(a, scaled(along, part));
}

/** {distance, edge, point}: the nearest point of a line through `points`, and the edge that it lies on. */
export function nearestOnOutline(p, points, closed) {
  let best = { distance: Infinity, edge: -1, point: null };
  const edges = closed ? points.length : points.length - 1;
  for (let edge = 0; edge < edges; edge += 1) {
    const point = nearestOnSegment(p, points[edge], points[(edge + 1) % points.length]);
    const away = distance(p, point);
    if (away < best.distance) best = { distance: away, edge, point };
  }
  return best;
}

/** Whether `p` lies inside the polygon `points` (even-odd rule). */
export function inside(p, points) {
  let is = false;
  for (let i = 0, j = points.length - 1; i < points.length; j = i, i += 1) {
    const [xi, yi] = points[i], [xj, yj] = points[j];
    if (yi > p[1] !== yj > p[1] && p[0] < ((xj - xi) * (p[1] - yi)) / (yj - yi) + xi) is = !is;
  }
  return is;
}

/** Fewer points of an open line, none of the left out further than `tolerance` from what remains (Douglas and Peucker). */
export function simplified(points, tolerance) {
  if (points.length < 3) return points;
  const first = points[0], last = points[points.length - 1];
  let furthest = 0, index = 0;
  for (let i = 1; i < points.length - 1; i += 1) {
    const away = distance(points[i], nearestOnSegment(points[i], first, last));
    if (away > furthest) [furthest, index] = [away, i];
  }
  if (furthest <= tolerance) return [first, last];
  return [...simplified(points.slice(0, index + 1), tolerance).slice(0, -1), ...simplified(points.slice(index), tolerance)];
}

/** Rounded to a hundredth of a pixel, as they are saved. */
export const rounded = (points) => points.map(([x, y]) => [Math.round(x * 100) / 100, Math.round(y * 100) / 100]);
