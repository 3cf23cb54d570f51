// Cameras as JPEG frames over one HTTP connection, each with its boxes. Browsers allow six connections to a server.
import { partsOf } from "./multipart.js";

const decoder = new TextDecoder();
const RETRY_MS = 1000;

class JpegFeeds {
  constructor() {
    this.tiles = new Map();
    this.busy = new Map();
    this.abort = null;
    this.scheduled = null;
  }

  // onFrame(message, bitmap) is called with each frame that could be decoded in time.
  add(name, onFrame) {
    this.tiles.set(name, onFrame);
    this.restart();
    return () => {
      this.tiles.delete(name);
      this.restart();
    };
  }

  restart(delay_ms = 0) {
    clearTimeout(this.scheduled);
    this.scheduled = setTimeout(() => this.run(), delay_ms);
  }

  async run() {
    this.abort?.abort();
    if (!this.tiles.size) return;
    const abort = this.abort = new AbortController();
    const query = [...this.tiles.keys()].map((name) => `camera=${encodeURIComponent(name)}`).join("&");
    try {
      const answer = await fetch(`/streams?${query}`, { signal: abort.signal, cache: "no-store" });
      if (answer.ok) await this.receive(answer.body, abort.signal);
    } catch { /* the connection broke */ }
    if (!abort.signal.aborted) this.restart(RETRY_MS);
  }

  async receive(body, signal) {
    let message = null;
    for await (const { type, data } of partsOf(body)) {
      if (signal.aborted) return;
      if (type === "application/json") message = JSON.parse(decoder.decode(data));
      else if (message) this.show(message, data);
    }
  }

  // Decode in the background; while a frame of a camera is decoded, only its newest one waits.
  show(message, data) {
    const waiting = this.busy.get(message.camera);
    if (waiting) {
      waiting.next = [message, data];
      return;
    }
    this.busy.set(message.camera, { next: null });
    this.decode(message, data);
  }

  async decode(message, data) {
    try {
      const bitmap = await createImageBitmap(new Blob([data], { type: "image/jpeg" }));
      this.tiles.get(message.camera)?.(message, bitmap);
      bitmap.close();
    } catch { /* damaged: the next one comes soon */ }
    const { next } = this.busy.get(message.camera);
    this.busy.delete(message.camera);
    if (next) this.show(...next);
  }
}

export const jpegFeeds = new JpegFeeds();
