// Parts of a multipart answer as they arrive.
const decoder = new TextDecoder();

function indexOfHeadEnd(bytes, from) {
  for (let at = from; at + 3 < bytes.length; at += 1) {
    if (bytes[at] === 13 && bytes[at + 1] === 10 && bytes[at + 2] === 13 && bytes[at + 3] === 10) return at;
  }
  return -1;
}

// Yields { type, data } of each part of a stream of bytes; every part has to state its length.
export async function* partsOf(stream) {
  const reader = stream.getReader();
  let bytes = new Uint8Array(0);
  try {
    for (;;) {
      const headEnd = indexOfHeadEnd(bytes, 0);
      if (headEnd >= 0) {
        const head = decoder.decode(bytes.subarray(0, headEnd));
        const length = Number(/content-length: *(\d+)/i.exec(head)?.[1]);
        const type = /content-type: *([^\s;]+)/i.exec(head)?.[1];
        const end = headEnd + 4 + length;
        if (bytes.length >= end + 2) {
          yield { type, data: bytes.slice(headEnd + 4, end) };
          bytes = bytes.subarray(end + 2);
          continue;
        }
      }
      const { done, value } = await reader.read();
      if (done) return;
      const longer = new Uint8Array(bytes.length + value.length);
      longer.set(bytes);
      longer.set(value, bytes.length);
      bytes = longer;
    }
  } finally {
    reader.cancel().catch(() => {});
  }
}
