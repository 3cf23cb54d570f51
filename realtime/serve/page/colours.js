// The colours of classes, and what can be read on them.

// The palette of Okabe and Ito, which the colour-blind can tell apart too; the same as in the window.
const PALETTE = ["#009e73", "#56b4e9", "#e69f00", "#cc79a7", "#d55e00", "#f0e442", "#0072b2"];
const SHADE = 0.25;  // brightness of the dark rim of a line or a tag

export const colourOf = (index) => PALETTE[((index % PALETTE.length) + PALETTE.length) % PALETTE.length];

const channels = (colour) => [1, 3, 5].map((at) => parseInt(colour.slice(at, at + 2), 16));

export const shadeOf = (colour) => `rgb(${channels(colour).map((value) => Math.round(SHADE * value)).join(" ")})`;

// Black or white, whichever contrasts more with a ground, as WCAG 2.2 defines it: by at least 4.58.
export function inkOn(colour) {
  const [red, green, blue] = channels(colour).map((value) => value / 255)
    .map((value) => (value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4));
  const luminance = 0.2126 * red + 0.7152 * green + 0.0722 * blue;
  return (luminance + 0.05) / 0.05 >= 1.05 / (luminance + 0.05) ? "#000" : "#fff";
}
