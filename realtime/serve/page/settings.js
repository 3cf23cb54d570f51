// What the user chose, kept in this browser.
export const LABELS = ["face", "full", "none"];
const KEY = "realtime";
const DEFAULTS = { threshold: null, labels: "face", mirror: false, hidden: [], transport: "auto", theme: "auto" };
const listeners = new Set();

function load() {
  try {
    const kept = { ...DEFAULTS, ...JSON.parse(localStorage.getItem(KEY) || "{}") };
    if (!LABELS.includes(kept.labels)) kept.labels = DEFAULTS.labels;
    return kept;
  } catch {
    return { ...DEFAULTS };
  }
}

export const settings = load();

// Change some of them, keep them, and tell who listens.
export function change(values) {
  Object.assign(settings, values);
  try {
    localStorage.setItem(KEY, JSON.stringify(settings));
  } catch { /* private windows may forbid it */ }
  for (const listener of listeners) listener(settings);
}

export function onChange(listener) {
  listeners.add(listener);
  return () => listeners.delete(listener);
}
