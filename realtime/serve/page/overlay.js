// Drawing boxes at the resolution of the screen, as the window and files have them: as much of each as there are pixels for.
import { colourOf, shadeOf } from "./colours.js";
import { drawTags, KEPT_CLEAR } from "./tags.js";

export { colourOf };

// What is drawn of a face, by its shorter side.
const FEATURES_FROM = 36;  // in line widths: from here on there is room for lines around features
const FACE_TAGS_FROM = 2.5;  // in font sizes: below, a face has no tag, and a closed outline in place of corners
const BRACKET = 0.24;  // length of a bracket's arms as a share of the box's shorter side

// The boxes that the user wants to see. At the server's own threshold these are the ones that it would draw.
export function visible(message, settings, serverThreshold) {
  const moved = settings.threshold !== null && settings.threshold !== serverThreshold;
  const threshold = moved ? settings.threshold : serverThreshold;
  return message.detections.filter(
    (one) => !settings.hidden.includes(one.label) && (moved ? one.score >= threshold : one.shown),
  );
}

// Draw onto a context. `scale` turns pixels of the frame into those of the canvas, `ratio` is how many of these are one of
// CSS, `labels` is "face", "full" or "none".
export function drawBoxes(context, message, boxes, { scale, width, mirror, labels, classNames, ratio = 1 }) {
  const sizes = sizesOf(context.canvas, ratio);
  const faces = new Map(message.detections.filter((one) => one.part === "face").map((one) => [one.face, one.box]));
  const marks = boxes.map((one) => markOf(one, faces, { scale, width, mirror, classNames }));
  const drawn = marks.filter((mark) => !mark.isFeature || mark.side >= FEATURES_FROM * sizes.thin);
  drawn.sort((a, b) => area(b.box) - area(a.box));  // small parts of a face stay readable
  const looks = drawn.filter(isLook);
  context.save();
  for (const { box } of looks) leaveOut(context, box);  // boxes of noses and eyebrows reach into those of eyes
  for (const mark of drawn) if (!isLook(mark)) drawMark(context, mark, sizes);
  context.restore();
  for (const mark of looks) drawMark(context, mark, sizes);
  if (labels !== "none") drawTags(context, drawn, marks, sizes, labels === "full");
}

const isLook = (mark) => KEPT_CLEAR.includes(mark.part);

function leaveOut(context, [x1, y1, x2, y2]) {
  context.beginPath();
  context.rect(0, 0, context.canvas.width, context.canvas.height);
  context.rect(x1, y1, x2 - x1, y2 - y1);
  context.clip("evenodd");
}

function sizesOf({ width, height }, ratio) {
  const side = Math.min(width, height);
  const line = Math.max(2 * ratio, 2 * Math.round(side / 480));
  return { line, thin: Math.max(2 * ratio, line / 2), font: Math.max(11 * ratio, side / 40) };
}

// One detection, ready to be drawn: its box is what its lines leave clear.
function markOf(one, faces, { scale, width, mirror, classNames }) {
  const isFeature = one.part !== "" && one.part !== "face";
  const [x1, y1, x2, y2] = one.box.map((value) => value * scale);
  const whole = (isFeature && faces.get(one.face)) || one.box;
  return {
    name: one.label.replaceAll("_", " "), face: one.face, part: one.part, score: one.score, isFeature,
    colour: colourOf(classNames.indexOf(one.label)),
    box: clear(mirror ? [width - x2, y1, width - x1, y2] : [x1, y1, x2, y2]),
    side: scale * Math.min(whole[2] - whole[0], whole[3] - whole[1]),
  };
}

// Even coordinates: a recording stores colours for two by two pixels.
const clear = ([x1, y1, x2, y2]) => [2 * Math.floor(x1 / 2), 2 * Math.floor(y1 / 2), 2 * Math.ceil(x2 / 2), 2 * Math.ceil(y2 / 2)];
const area = ([x1, y1, x2, y2]) => (x2 - x1) * (y2 - y1);

function drawMark(context, { box, side, isFeature, colour }, sizes) {
  const line = isFeature || side < FEATURES_FROM * sizes.thin ? sizes.thin : sizes.line;
  const halo = Math.max(1, line / 3);
  const shorter = Math.min(box[2] - box[0], box[3] - box[1]);
  const arm = isFeature || side < FACE_TAGS_FROM * sizes.font ? Infinity : Math.max(2 * line, BRACKET * shorter);
  for (const [grown, ink] of [[line + halo, shadeOf(colour)], [line, colour]]) {
    context.fillStyle = ink;
    context.beginPath();
    for (const [x, y, width, height] of linesAround(box, line, grown, 2 * arm >= shorter ? Infinity : arm)) {
      context.rect(x, y, width, height);
    }
    context.fill();
  }
}

// Rectangles that make the corners of a box, outside of it; whole sides where the arms would meet.
function linesAround([x1, y1, x2, y2], line, grown, arm) {
  const rects = [];
  const spans = (low, high) => (arm === Infinity
    ? [[low - grown, high + grown]]
    : [[low - grown, low + arm + grown - line], [high - arm - grown + line, high + grown]]);
  for (const [begin, end] of spans(x1, x2)) {
    rects.push([begin, y1 - grown, end - begin, grown], [begin, y2, end - begin, grown]);
  }
  for (const [begin, end] of spans(y1, y2)) {
    rects.push([x1 - grown, begin, grown, end - begin], [x2, begin, grown, end - begin]);
  }
  return rects;
}
