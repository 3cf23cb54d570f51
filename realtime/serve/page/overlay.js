// Drawing boxes, at the resolution of the screen.

// The palette of Okabe and Ito, which the colour-blind can tell apart too; the same as in the window.
const PALETTE = ["#009e73", "#56b4e9", "#e69f00", "#cc79a7", "#d55e00", "#f0e442", "#0072b2"];
const DARK = "#000000b0";
const MAX_TAG = 1.5;  // a feature gets no tag that is so many times as wide: tags would hide small faces

export const colourOf = (index) => PALETTE[((index % PALETTE.length) + PALETTE.length) % PALETTE.length];

const luma = (colour) => [1, 3, 5].reduce((sum, at, i) => sum + [0.299, 0.587, 0.114][i] * parseInt(colour.slice(at, at + 2), 16), 0);

// The boxes that the user wants to see. At the server's own threshold these are the ones that it would draw.
export function visible(message, settings, serverThreshold) {
  const moved = settings.threshold !== null && settings.threshold !== serverThreshold;
  const threshold = moved ? settings.threshold : serverThreshold;
  return message.detections.filter(
    (one) => !settings.hidden.includes(one.label) && (moved ? one.score >= threshold : one.shown),
  );
}

// Draw onto a context; `scale` turns pixels of the frame into those of the canvas.
export function drawBoxes(context, message, boxes, { scale, width, mirror, labels, classNames, line }) {
  const placed = boxes
    .map((one) => {
      const [x1, y1, x2, y2] = one.box.map((value) => value * scale);
      const box = mirror ? [width - x2, y1, width - x1, y2] : [x1, y1, x2, y2];
      return { ...one, box, colour: colourOf(classNames.indexOf(one.label)) };
    })
    .sort((a, b) => area(b.box) - area(a.box));  // small parts of a face stay readable
  for (const { box: [x1, y1, x2, y2], colour } of placed) {
    context.lineWidth = 2 * line;
    context.strokeStyle = DARK;
    context.strokeRect(x1, y1, x2 - x1, y2 - y1);
    context.lineWidth = line;
    context.strokeStyle = colour;
    context.strokeRect(x1, y1, x2 - x1, y2 - y1);
  }
  if (labels) drawLabels(context, placed, line);
}

const area = ([x1, y1, x2, y2]) => (x2 - x1) * (y2 - y1);

function drawLabels(context, placed, line) {
  const size = 7 * line;
  context.font = `600 ${size}px system-ui, sans-serif`;
  context.textBaseline = "middle";
  const taken = [];
  for (const one of placed) {
    const id = one.part === "face" && one.face ? ` #${one.face}` : "";
    const text = `${one.label.replaceAll("_", " ")}${id} ${Math.round(100 * one.score)}`;
    const width = context.measureText(text).width + 0.7 * size;
    if (one.part && one.part !== "face" && width > MAX_TAG * (one.box[2] - one.box[0])) continue;
    const height = 1.35 * size;
    const [x, y] = place(one.box, width, height, taken, context.canvas);
    taken.push([x, y, x + width, y + height]);
    context.fillStyle = one.colour;
    context.fillRect(x, y, width, height);
    context.fillStyle = luma(one.colour) > 100 ? "#000" : "#fff";
    context.fillText(text, x + 0.35 * size, y + height / 2);
  }
}

// Above, below or inside the box, where no other label is.
function place([x1, y1, x2, y2], width, height, taken, canvas) {
  const inside = ([x, y]) => [
    Math.min(Math.max(0, x), Math.max(0, canvas.width - width)),
    Math.min(Math.max(0, y), Math.max(0, canvas.height - height)),
  ];
  const places = [[x1, y1 - height], [x1, y2], [x2 - width, y1 - height], [x2 - width, y2], [x1, y1]].map(inside);
  const free = ([x, y]) => !taken.some(([a, b, c, d]) => x < c && x + width > a && y < d && y + height > b);
  return places.find(free) || places[0];
}
