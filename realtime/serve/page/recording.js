// Saving what is seen, in the browser's own folder for downloads.
import { drawBoxes, visible } from "./overlay.js";

const KINDS = ["video/mp4;codecs=avc1.42E01F", "video/webm;codecs=vp8", "video/webm"];

export function save(blob, name, suffix) {
  const stamp = new Date().toISOString().replace(/[-:]/g, "").replace("T", "-").slice(0, 15);
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = `${name.replace(/[^\w.-]+/g, "-")}-${stamp}.${suffix}`;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}

// A video of the frames with their boxes, at the resolution of the video.
export class Recording {
  constructor(name) {
    this.name = name;
    this.canvas = document.createElement("canvas");
    this.pieces = [];
  }

  add(image, message, { settings, threshold, ...style }) {
    const { width, height } = image;
    if (!this.recorder) this.begin(width, height);
    const { canvas } = this;
    const context = canvas.getContext("2d");
    context.save();
    if (style.mirror) {
      context.translate(canvas.width, 0);
      context.scale(-1, 1);
    }
    context.drawImage(image, 0, 0, canvas.width, canvas.height);
    context.restore();
    drawBoxes(context, message, visible(message, settings, threshold), {
      ...style, scale: canvas.width / message.size_wh[0], width: canvas.width,
    });
  }

  begin(width, height) {
    this.canvas.width = width;
    this.canvas.height = height;
    const mimeType = KINDS.find((kind) => MediaRecorder.isTypeSupported(kind));
    this.recorder = new MediaRecorder(this.canvas.captureStream(), { mimeType, videoBitsPerSecond: 6_000_000 });
    this.recorder.addEventListener("dataavailable", (event) => this.pieces.push(event.data));
    this.recorder.addEventListener("stop", () => {
      const type = this.recorder.mimeType.split(";")[0];
      save(new Blob(this.pieces, { type }), this.name, type.endsWith("mp4") ? "mp4" : "webm");
    });
    this.recorder.start(1000);
  }

  stop() {
    if (this.recorder?.state === "recording") this.recorder.stop();
  }
}
