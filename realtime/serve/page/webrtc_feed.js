// A camera over WebRTC: frames in a <video>, their boxes over a data channel.
import { post } from "./api.js";

const KEPT = 120;  // boxes that wait for their frame
const TIMESTAMPS = 2 ** 32;
const ALIVE_MS = 2000;  // the server closes a connection whose page has said nothing for some seconds

export class WebRtcFeed {
  // onPicture() is called when the video shows a new frame, then onFrame(message) with its boxes; with null, and once more
  // with the boxes, if they come later than the frame.
  constructor(name, video, { onPicture, onFrame, onFailed }) {
    this.name = name;
    this.video = video;
    this.onPicture = onPicture;
    this.onFrame = onFrame;
    this.onFailed = onFailed;
    this.messages = new Map();
    this.newest = null;
    this.origin = null;
    this.shown = null;
    this.closed = false;
    this.frames = 0;
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
      event.receiver.jitterBufferTarget = 0;  // the newest frame counts, not a steady pace
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
      this.messages.set(message.timestamp % TIMESTAMPS, message);
      if (this.messages.size > KEPT) this.messages.delete(this.messages.keys().next().value);
    }
    if (this.awaited !== undefined) this.showAwaited();
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
      this.frames += 1;
      this.present(frame.rtpTimestamp);
      this.waitForFrame();
    });
  }

  // Show the boxes of the frame with this RTP timestamp; browsers that do not tell it get the newest boxes.
  present(rtpTimestamp) {
    this.awaited = undefined;
    this.onPicture();
    if (rtpTimestamp === undefined) {
      if (this.newest) this.onFrame(this.newest);
      return;
    }
    this.awaited = rtpTimestamp;
    if (!this.showAwaited()) this.onFrame(null);
  }

  showAwaited() {
    if (this.origin === null) return false;
    const message = this.messages.get((this.awaited - this.origin + TIMESTAMPS) % TIMESTAMPS);
    if (!message) return false;
    this.awaited = undefined;
    this.onFrame(message);
    return true;
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
