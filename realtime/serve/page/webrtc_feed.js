// A camera over WebRTC: frames in a <video>, their boxes over a data channel.
import { post } from "./api.js";
import { HeldPictures } from "./held_pictures.js";

const KEPT = 120;  // boxes that wait for their frame
const TIMESTAMPS = 2 ** 32;
const ALIVE_MS = 2000;  // the server closes a connection whose page has said nothing for some seconds

export class WebRtcFeed {
  // onFrame(image, message) is called with each frame, a video or a canvas, and its boxes; with null in place of boxes that
  // do not come.
  constructor(name, video, { onFrame, onFailed }) {
    this.name = name;
    this.video = video;
    this.onFrame = onFrame;
    this.onFailed = onFailed;
    this.messages = new Map();
    this.newest = null;
    this.origin = null;
    this.closed = false;
    this.held = new HeldPictures(() => this.showWithoutBoxes());
    this.boxesCome = true;
  }

  async start(timeout_ms = 6000) {
    let peer;
    try {
      peer = this.peer = new RTCPeerConnection();
    } catch (error) {
      this.fail(error.message);
      return;
    }
    this.timer = setTimeout(() => peer.connectionState !== "connected" && this.fail("no connection"), timeout_ms);
    peer.addEventListener("connectionstatechange", () => {
      if (["failed", "disconnected", "closed"].includes(peer.connectionState)) this.fail(peer.connectionState);
    });
    peer.addEventListener("track", (event) => {
      event.receiver.jitterBufferTarget = 0;  // the newest frame counts, not a steady pace; the server asks for it too
      this.video.srcObject = new MediaStream([event.track]);
      this.video.play().catch(() => {});
    });
    peer.addTransceiver("video", { direction: "recvonly" });
    const results = peer.createDataChannel("results", { ordered: false, maxRetransmits: 3 });
    results.addEventListener("open", () => results.send("alive"));
    this.alive = setInterval(() => results.readyState === "open" && results.send("alive"), ALIVE_MS);
    results.addEventListener("message", (event) => this.receive(JSON.parse(event.data)));
    try {
      await peer.setLocalDescription(await peer.createOffer());
      await gathered(peer);
      const { type, sdp } = peer.localDescription;
      const answer = await post(`/cameras/${encodeURIComponent(this.name)}/webrtc`, { type, sdp });
      await peer.setRemoteDescription(answer);
    } catch (error) {
      this.fail(error.message);
      return;
    }
    this.waitForFrame();
  }

  receive(message) {
    if (message.origin !== undefined) {
      this.origin = message.origin;
    } else {
      this.newest = message;
      this.boxesCome = true;
      this.messages.set(message.timestamp % TIMESTAMPS, message);
      if (this.messages.size > KEPT) this.messages.delete(this.messages.keys().next().value);
    }
    const found = this.held.take((timestamp) => this.messageOf(timestamp));
    if (found) this.onFrame(...found);
  }

  waitForFrame() {
    if (this.closed) return;
    if (!this.video.requestVideoFrameCallback) {
      this.handle = requestAnimationFrame(() => {
        this.present(undefined);
        this.waitForFrame();
      });
      return;
    }
    this.handle = this.video.requestVideoFrameCallback((_now, frame) => {
      if (this.closed) return;
      this.present(frame.rtpTimestamp);
      this.waitForFrame();
    });
  }

  // The video shows the frame with this RTP timestamp; browsers that do not tell it get the newest boxes. Frames may be
  // quicker than their boxes, which travel by themselves: then they are held until both are there.
  present(rtpTimestamp) {
    const message = rtpTimestamp === undefined ? this.newest : this.messageOf(rtpTimestamp);
    if (message) {
      this.held.takeNewest();
      this.onFrame(this.video, message);
      return;
    }
    if (this.held.isFull) this.boxesCome = false;
    if (rtpTimestamp !== undefined && this.boxesCome) {
      this.held.keep(this.video, rtpTimestamp);
    } else {
      this.held.takeNewest();
      this.onFrame(this.video, null);
    }
  }

  // A frame has waited for its boxes for too long; until boxes come again, none waits.
  showWithoutBoxes() {
    this.boxesCome = false;
    this.onFrame(this.held.takeNewest(), null);
  }

  messageOf(rtpTimestamp) {
    return this.origin === null ? undefined : this.messages.get((rtpTimestamp - this.origin + TIMESTAMPS) % TIMESTAMPS);
  }

  fail(reason) {
    if (this.closed) return;
    this.close();
    this.onFailed(reason);
  }

  close() {
    this.closed = true;
    clearTimeout(this.timer);
    clearInterval(this.alive);
    this.held.takeNewest();
    this.peer?.close();
    this.video.srcObject = null;
  }
}

// Wait until the offer holds the addresses of this browser; those of the network come at once.
export function gathered(peer, timeout_ms = 500) {
  if (peer.iceGatheringState === "complete") return Promise.resolve();
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, timeout_ms);
    peer.addEventListener("icegatheringstatechange", () => {
      if (peer.iceGatheringState === "complete") {
        clearTimeout(timer);
        resolve();
      }
    });
  });
}
