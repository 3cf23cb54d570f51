// Tags: what was found, written beside its box, on as little else as possible and never on eyes or mouth.
import { inkOn, shadeOf } from "./colours.js";

const FEATURE_TAGS_FROM = 8;  // in font sizes of a face's shorter side: from here on there is room for tags at features
const SCORES_FROM = 5;  // below, a tag has no score
const FACE_TAGS_FROM = 2.5;  // below, a face has no tag
export const KEPT_CLEAR = ["left_eye", "right_eye", "mouth"];

// `drawn` get tags; none covers what matters of all `marks`. `full`: features get tags too.
export function drawTags(context, drawn, marks, sizes, full) {
  context.font = `600 ${sizes.font}px system-ui, sans-serif`;
  context.textBaseline = "middle";
  const isKept = (mark) => KEPT_CLEAR.includes(mark.part) || mark.side < FEATURE_TAGS_FROM * sizes.font;
  const kept = marks.filter(isKept).map((mark) => mark.box);
  const avoided = marks.filter((mark) => mark.isFeature).map((mark) => mark.box);
  const tagged = drawn.map((mark) => [mark, textOf(mark, sizes.font, full)]).filter(([, text]) => text);
  for (const [mark, text] of tagged.reverse()) {  // the smallest choose first
    const size = [context.measureText(text).width + 0.7 * sizes.font, 1.35 * sizes.font];
    const tag = place(grown(mark.box, 1.4 * sizes.line), size, context.canvas, kept, avoided);
    if (!tag) continue;
    avoided.push(tag);
    drawTag(context, text, tag, mark.colour, sizes.font);
  }
}

export function textOf(mark, font, full) {
  const side = mark.side / font;
  const percent = `${Math.round(100 * mark.score)}%`;
  if (mark.isFeature) return full && side >= FEATURE_TAGS_FROM ? `${mark.name} ${percent}` : "";
  if (mark.part === "face" && side < FACE_TAGS_FROM) return "";
  const number = mark.part === "face" && mark.face ? ` ${mark.face}` : "";
  if (side < SCORES_FROM) return `${mark.name}${number}`;
  return `${mark.name}${number}${number ? " ·" : ""} ${percent}`;
}

function drawTag(context, text, [x1, y1, x2, y2], colour, font) {
  context.beginPath();
  const corner = font / 5;
  if (context.roundRect) context.roundRect(x1, y1, x2 - x1, y2 - y1, corner);
  else context.rect(x1, y1, x2 - x1, y2 - y1);
  context.fillStyle = colour;
  context.fill();
  context.lineWidth = Math.max(1, font / 14);
  context.strokeStyle = shadeOf(colour);
  context.stroke();
  context.fillStyle = inkOn(colour);
  context.fillText(text, x1 + 0.35 * font, (y1 + y2) / 2);
}

const grown = ([x1, y1, x2, y2], by) => [x1 - by, y1 - by, x2 + by, y2 + by];

// The place beside a box that covers least of `avoided`, and nothing of `kept`; null where there is none.
function place([x1, y1, x2, y2], [width, height], canvas, kept, avoided) {
  const middle = (y1 + y2 - height) / 2;
  const corners = [
    [x1, y1 - height], [x1, y2], [x2 - width, y1 - height], [x2 - width, y2],
    ...[y1, middle, y2 - height].flatMap((y) => [[x2, y], [x1 - width, y]]),
  ];
  let best = null;
  let least = Infinity;
  for (const [left, top] of corners) {
    const x = Math.max(0, Math.min(left, canvas.width - width));
    const y = Math.max(0, Math.min(top, canvas.height - height));
    const tag = [x, y, x + width, y + height];
    if (kept.some((one) => common(tag, one) > 0)) continue;
    const covered = avoided.reduce((sum, one) => sum + common(tag, one), 0);
    if (covered < least) [best, least] = [tag, covered];
    if (!covered) break;
  }
  return best;
}

// Area of what two rectangles share.
function common(a, b) {
  const width = Math.min(a[2], b[2]) - Math.max(a[0], b[0]);
  const height = Math.min(a[3], b[3]) - Math.max(a[1], b[1]);
  return width > 0 && height > 0 ? width * height : 0;
}
