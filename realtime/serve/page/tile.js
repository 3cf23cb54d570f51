// One camera: its video, its boxes, its figures and what can be done with it.
import { getSnapshot } from "./api.js";
import { serverNow_s } from "./clock.js";
import { jpegFeeds } from "./jpeg_feed.js";
import { drawBoxes, visible } from "./overlay.js";
import { Recording, save } from "./recording.js";
import { settings, onChange } from "./settings.js";
import { WebRtcFeed } from "./webrtc_feed.js";

const RATE_MS = 1000;

function element(tag, className, properties = {}) {
  return Object.assign(document.createElement(tag), { className }, properties);
}

export class Tile {
  constructor(name, title, { onLarge, server, onStop }) {
    this.name = name;
    this.title = title;
    this.server = server;
    this.times = [];
    this.ages = [];
    this.build(onLarge, onStop);
    this.unlisten = onChange(() => this.settingsChanged());
    new ResizeObserver(() => this.draw()).observe(this.stage);
    this.settingsChanged();
  }

  build(onLarge, onStop) {
    this.root = element("figure", "tile", { tabIndex: 0 });
    this.root.dataset.camera = this.name;
    this.root.setAttribute("aria-label", `Camera ${this.title}`);
    this.stage = element("div", "stage");
    this.video = element("video", "", { muted: true, playsInline: true, autoplay: true });
    // What is seen of the video too: a frame and its boxes are drawn at the same time, so that they never come apart.
    this.picture = element("canvas", "picture");
    this.boxes = element("canvas", "boxes");
    this.notice = element("p", "notice", { hidden: true });
    this.stage.append(this.video, this.picture, this.boxes, this.notice);
    this.stage.addEventListener("click", onLarge);
    const caption = element("figcaption", "");
    this.dot = element("span", "dot");
    this.figures = element("span", "figures");
    const actions = element("div", "actions");
    this.recordButton = this.button("Record", "Record the video with its boxes (key r)", () => this.record());
    actions.append(
      this.button("Snapshot", "Save the newest frame, without boxes (key s)", () => this.snapshot()),
      this.recordButton,
      this.button("Full screen", "Fill the screen (key f)", () => this.fullScreen()),
    );
    if (onStop) actions.append(this.button("Stop", "Stop sending this camera", onStop));
    caption.append(this.dot, element("b", "", { textContent: this.title }), this.figures, actions);
    this.root.append(this.stage, caption);
  }

  button(text, title, action) {
    const button = element("button", "", { type: "button", textContent: text, title });
    button.addEventListener("click", action);
    return button;
  }

  // Video

  settingsChanged() {
    this.stage.classList.toggle("mirrored", settings.mirror);
    if (this.transport !== settings.transport) {
      this.transport = settings.transport;
      this.connect(settings.transport === "jpeg" ? "jpeg" : "webrtc");
    }
    this.draw();
  }

  connect(way) {
    this.disconnect();
    this.way = way;
    this.root.dataset.way = way;
    this.video.hidden = way === "jpeg";
    if (way === "jpeg") {
      this.leave = jpegFeeds.add(this.name, (message, bitmap) => this.showImage(message, bitmap, bitmap.width, bitmap.height));
      return;
    }
    const feed = new WebRtcFeed(this.name, this.video, {
      onFrame: (image, message) => this.showImage(message, image, image.videoWidth ?? image.width, image.videoHeight ?? image.height),
      onFailed: () => this.webRtcFailed(),
    });
    this.leave = () => feed.close();
    feed.start();
  }

  webRtcFailed() {
    if (this.closed) return;
    this.root.dataset.fallback = String(Number(this.root.dataset.fallback || 0) + 1);
    if (settings.transport === "auto") {
      // A connection that worked is tried once more: the server may have been started again.
      const worked = this.hadWebRtc;
      this.hadWebRtc = false;
      if (worked) setTimeout(() => !this.closed && this.connect("webrtc"), RATE_MS);
      else this.connect("jpeg");
    } else {
      setTimeout(() => !this.closed && settings.transport === "webrtc" && this.connect("webrtc"), 2 * RATE_MS);
    }
  }

  disconnect() {
    this.leave?.();
    this.leave = null;
  }

  showImage(message, image, width, height) {
    this.drawPicture(image, width, height);
    this.show(message);
  }

  drawPicture(image, width, height) {
    if (!width) return;
    if (this.picture.width !== width || this.picture.height !== height) {
      this.picture.width = width;
      this.picture.height = height;
    }
    this.picture.getContext("2d").drawImage(image, 0, 0);
  }

  // A frame is on the screen; draw the boxes that belong to it.
  show(message) {
    if (message) {
      if (this.way === "webrtc") this.hadWebRtc = true;
      this.note(message);
    }
    this.message = message;
    this.draw();
    if (message) this.recording?.add(this.picture, message, this.style());
  }

  note(message) {
    if (this.lastTimestamp === message.timestamp) return;
    this.lastTimestamp = message.timestamp;
    const now = performance.now();
    this.times.push(now);
    this.ages.push(1000 * (serverNow_s() - message.captured_at_s));
    while (this.times.length > 2 && now - this.times[0] > RATE_MS) {
      this.times.shift();
      this.ages.shift();
    }
    const [width, height] = message.size_wh;
    this.root.style.setProperty("--aspect", width / height);
    this.root.dataset.frame = message.frame;
  }

  // Boxes

  style() {
    return { labels: settings.labels, mirror: settings.mirror, classNames: this.server.class_names, settings,
      threshold: this.server.threshold };
  }

  draw() {
    const ratio = window.devicePixelRatio || 1;
    const width = Math.round(this.stage.clientWidth * ratio);
    const height = Math.round(this.stage.clientHeight * ratio);
    if (this.boxes.width !== width || this.boxes.height !== height) {
      this.boxes.width = width;
      this.boxes.height = height;
    }
    const context = this.boxes.getContext("2d");
    context.clearRect(0, 0, width, height);
    if (!this.message || !width) return;
    const boxes = visible(this.message, settings, this.server.threshold);
    this.root.dataset.boxes = boxes.length;
    drawBoxes(context, this.message, boxes, {
      ...this.style(), scale: width / this.message.size_wh[0], width, ratio,
    });
  }

  // Figures

  update(camera) {
    this.camera = camera;
    this.dot.dataset.state = camera.state;
    this.dot.title = camera.state;
    this.notice.hidden = camera.status === "";
    this.notice.textContent = camera.status;
    const now = performance.now();
    if (this.times.length > 1 && now - this.times.at(-1) > 2 * RATE_MS) {
      this.times = [];
      this.ages = [];
    }
    const passed = this.times.length > 1 ? this.times.at(-1) - this.times[0] : 0;
    const rate = passed ? (1000 * (this.times.length - 1)) / passed : 0;
    const age = this.ages.length ? this.ages.reduce((a, b) => a + b, 0) / this.ages.length : NaN;
    const figures = [
      `${rate.toFixed(1)} frames/s`, Number.isNaN(age) ? "- ms old" : `${age.toFixed(0)} ms old`, `${camera.dropped} dropped`,
      camera.faces === 1 ? "1 face" : `${camera.faces} faces`,
    ];
    this.figures.replaceChildren(...figures.map((text) => element("span", "figure", { textContent: text })));
    this.figures.title = `detection: ${camera.frames_per_s.toFixed(1)} frames/s, ${camera.infer_ms.toFixed(1)} ms; video: ${this.way}`;
  }

  // Actions

  async snapshot() {
    save(await getSnapshot(this.name), this.title, "jpg");
  }

  record() {
    if (this.recording) {
      this.recording.stop();
      this.recording = null;
    } else {
      this.recording = new Recording(this.title);
    }
    this.recordButton.classList.toggle("recording", Boolean(this.recording));
    this.recordButton.textContent = this.recording ? "Stop recording" : "Record";
  }

  fullScreen() {
    if (document.fullscreenElement) document.exitFullscreen();
    else this.root.requestFullscreen?.().catch(() => {});
  }

  close() {
    this.closed = true;
    if (this.recording) this.record();
    this.unlisten();
    this.disconnect();
    this.root.remove();
  }
}
