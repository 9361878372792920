/** Calibration where the size of a pixel is unknown: two points whose distance is such as marks of a depth scale. */

import { ask } from "./dialogs.js";
import { change, edits } from "./edits.js";
import { distance } from "./points.js";
import { tools } from "./pointer.js";
import { crosshair, extras, redraw } from "./shapes.js";
import { onImage } from "./stage.js";
import { emit, hasOwnSpacing, state, update } from "./state.js";

const SMALLEST_PX = 5;
let from = null;
let to = null;

export function startCalibration() {
  if (!state.item) return;
  if (hasOwnSpacing(state.item)) {
    emit("notice", { text: `The size of a pixel is known (${state.item.spacing_from}), so this image is not calibrated here.`, kind: "info" });
    return;
  }
  [from, to] = [null, null];
  update({ tool: "calibrate", chosen: -1, handle: null });
  emit("hint", "Calibrate: drag between two points whose distance you know, such as two marks of the depth scale. Esc: stop.");
}

tools.calibrate = {
  down(point) {
    [from, to] = [point, point];
    redraw();
  },
  move(point) {
    to = point;
    redraw();
  },
  async up() {
    const pixels = distance(from, to);
    if (pixels < SMALLEST_PX) return;
    const millimetres = await askMillimetres(pixels);
    [from, to] = [null, null];
    update({ tool: "choose" });
    emit("hint", null);
    if (millimetres === null) return;
    const size = millimetres / pixels;
    change({ spacing: { row: size, col: size } }, "calibrate");
    emit("notice", { text: `A pixel is ${size.toFixed(4)} mm. Measurements are in millimetres now.`, kind: "info" });
  },
  cancel() {
    [from, to] = [null, null];
  },
};

async function askMillimetres(pixels) {
  const answer = await ask({
    title: "Distance of the two points",
    text: [`They are ${pixels.toFixed(1)} pixels apart.`, "Pixels are taken as square."],
    input: { label: "Distance in millimetres", value: edits.spacing ? (pixels * edits.spacing.col).toFixed(1) : "10" },
    buttons: [{ value: "ok", text: "Calibrate", isMain: true }, { value: "no", text: "Cancel" }],
    check: (text) => (numberOf(text) > 0 ? "" : "Type a number above 0, such as 10."),
  });
  return answer.button === "ok" ? numberOf(answer.text) : null;
}

const numberOf = (text) => Number(text.trim().replace(",", "."));

extras.add(() => {
  if (state.tool !== "calibrate" || !from) return [];
  const line = { points: [...from, ...to], strokeScaleEnabled: false };
  return [
    new Konva.Line({ ...line, stroke: "rgba(0, 0, 0, 0.6)", strokeWidth: 3 }),
    new Konva.Line({ ...line, stroke: "#ffffff", strokeWidth: 1.25, dash: [6, 4] }),
    ...crosshair(...from, "#ffffff"),
    ...crosshair(...to, "#ffffff"),
    new Konva.Text({
      x: to[0] + onImage(12), y: to[1] + onImage(8), text: `${distance(from, to).toFixed(1)} px`, fill: "#ffffff",
      fontSize: onImage(13), fontFamily: "system-ui, sans-serif", shadowColor: "#000000", shadowBlur: 3,
    }),
  ];
});
