// The clock of the server, from which the age of a frame follows.
let offset_s = 0;
let best_s = Infinity;

export const now_s = () => performance.now() / 1000;
export const serverNow_s = () => now_s() + offset_s;

// Learn from an answer that holds the server's time: the quickest answer tells it best.
export function learn(sent_s, received_s, server_s) {
  const round_s = received_s - sent_s;
  if (round_s > best_s * 1.05) {
    best_s *= 1.01;  // clocks drift: an old measurement does not count for ever
    return;
  }
  best_s = round_s;
  offset_s = server_s - (sent_s + received_s) / 2;
}
