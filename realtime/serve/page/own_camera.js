// This browser's camera as a source of the server.
import { post } from "./api.js";
import { gathered } from "./webrtc_feed.js";

export class OwnCamera {
  // Sends until `stop`; `name` is how the server calls it.
  async start(onEnded) {
    if (!navigator.mediaDevices?.getUserMedia) {
      throw new Error("browsers give their camera to pages of this machine or over HTTPS only");
    }
    this.onEnded = onEnded;
    this.stream = await navigator.mediaDevices.getUserMedia({
      video: { width: { ideal: 1280 }, height: { ideal: 720 }, frameRate: { ideal: 30 } },
    });
    try {
      const peer = this.peer = new RTCPeerConnection();
      peer.addEventListener("connectionstatechange", () => {
        if (["failed", "closed"].includes(peer.connectionState)) this.stop();
      });
      const [track] = this.stream.getVideoTracks();
      track.addEventListener("ended", () => this.stop());
      peer.addTransceiver(track, { direction: "sendonly", streams: [this.stream] });
      await peer.setLocalDescription(await peer.createOffer());
      await gathered(peer);
      const { type, sdp } = peer.localDescription;
      const answer = await post("/guests", { type, sdp });
      await peer.setRemoteDescription({ type: answer.type, sdp: answer.sdp });
      this.name = answer.camera;
    } catch (error) {
      this.stop();
      throw error;
    }
  }

  stop() {
    if (this.stopped) return;
    this.stopped = true;
    for (const track of this.stream?.getTracks() ?? []) track.stop();
    this.peer?.close();
    this.onEnded?.();
  }
}
