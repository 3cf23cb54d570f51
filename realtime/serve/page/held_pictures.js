// Frames of a video that came before their boxes: a few are kept, each as a picture of its own.
const MAX_HELD = 3;
const LONGEST_MS = 150;

export class HeldPictures {
  // onLate() is called when a frame has waited for longer than anybody should.
  constructor(onLate) {
    this.onLate = onLate;
    this.held = [];  // [timestamp, canvas], oldest first
    this.spare = [];
    this.timer = null;
  }

  get isFull() {
    return this.held.length >= MAX_HELD;
  }

  // Keep what a video shows now.
  keep(video, timestamp) {
    const canvas = this.spare.pop() ?? document.createElement("canvas");
    if (canvas.width !== video.videoWidth || canvas.height !== video.videoHeight) {
      canvas.width = video.videoWidth;
      canvas.height = video.videoHeight;
    }
    canvas.getContext("2d").drawImage(video, 0, 0);
    this.held.push([timestamp, canvas]);
    this.timer ??= setTimeout(() => this.onLate(), LONGEST_MS);
  }

  // The newest frame for which `find(timestamp)` has boxes, as [canvas, boxes], or null; older ones wait no more.
  take(find) {
    for (let at = this.held.length - 1; at >= 0; at -= 1) {
      const [timestamp, canvas] = this.held[at];
      const boxes = find(timestamp);
      if (boxes) {
        this.drop(at + 1);
        return [canvas, boxes];
      }
    }
    return null;
  }

  // The newest frame, if there is one; none waits any more.
  takeNewest() {
    const newest = this.held.at(-1)?.[1];
    this.drop(this.held.length);
    return newest;
  }

  drop(count) {
    clearTimeout(this.timer);
    for (const [, canvas] of this.held.splice(0, count)) this.spare.push(canvas);
    this.timer = this.held.length ? setTimeout(() => this.onLate(), LONGEST_MS) : null;
  }
}
