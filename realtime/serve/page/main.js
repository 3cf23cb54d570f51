// The page: cameras that come and go, and the controls above them.
import { getCamera, getCameras, post } from "./api.js";
import { fillTable, listen } from "./keys.js";
import { colourOf } from "./overlay.js";
import { OwnCamera } from "./own_camera.js";
import { change, LABELS, onChange, settings } from "./settings.js";
import { Tile } from "./tile.js";

const POLL_MS = 1000;
const THEMES = ["auto", "dark", "light"];
const $ = (id) => document.getElementById(id);
const grid = $("grid");
const tiles = new Map();
const server = { class_names: [], threshold: 0.5 };
let large = null;
let own = null;

function banner(text) {
  $("banner").textContent = text;
  $("banner").hidden = !text;
}

// Cameras

function addTile(name, title, onStop) {
  const tile = new Tile(name, title, { server, onStop, onLarge: () => enlarge(large === name ? null : name) });
  tiles.set(name, tile);
  grid.append(tile.root);
  arrange();
  return tile;
}

function removeTile(name) {
  tiles.get(name)?.close();
  tiles.delete(name);
  if (large === name) large = null;
  arrange();
}

function arrange() {
  grid.dataset.count = tiles.size;
  grid.classList.toggle("one", large !== null);
  for (const [name, tile] of tiles) tile.root.classList.toggle("large", name === large);
  $("empty").hidden = tiles.size > 0;
}

function enlarge(name) {
  large = name;
  arrange();
  tiles.get(name)?.root.focus();
}

function chosen() {
  const focused = document.activeElement?.closest?.(".tile")?.dataset.camera;
  return tiles.get(large ?? focused) ?? tiles.values().next().value;
}

async function poll() {
  try {
    const answer = await getCameras();
    Object.assign(server, { class_names: answer.class_names, threshold: answer.threshold });
    if (!poll.known) begin(answer);
    const listed = new Set(answer.cameras.map((camera) => camera.name));
    for (const name of [...tiles.keys()]) if (!listed.has(name) && name !== own?.name) removeTile(name);
    for (const camera of answer.cameras) {
      (tiles.get(camera.name) ?? addTile(camera.name, camera.name)).update(camera);
    }
    if (own?.name) tiles.get(own.name)?.update(await getCamera(own.name));
    if (poll.failed) banner("");
    poll.failed = false;
    arrange();
  } catch (error) {
    poll.failed = true;
    banner(error instanceof TypeError ? "The server does not answer." : error.message);
  }
  setTimeout(poll, POLL_MS);
}

// Controls

function begin(answer) {
  poll.known = true;
  $("model").textContent = `${answer.model} on ${answer.provider}`;
  $("link").hidden = !answer.needs_token;
  for (const [index, name] of answer.class_names.entries()) {
    const chip = document.createElement("button");
    chip.type = "button";
    chip.textContent = name.replaceAll("_", " ");
    chip.dataset.label = name;
    chip.style.setProperty("--colour", colourOf(index));
    chip.addEventListener("click", () => toggleClass(name));
    $("classes").append(chip);
  }
  showSettings();
}

function toggleClass(name) {
  const hidden = settings.hidden.includes(name) ? settings.hidden.filter((one) => one !== name) : [...settings.hidden, name];
  change({ hidden });
}

function threshold() {
  return settings.threshold ?? server.threshold;
}

function moveThreshold(by) {
  change({ threshold: Math.min(1, Math.max(0, Math.round(100 * (threshold() + by)) / 100)) });
}

function showSettings() {
  $("threshold").value = threshold();
  $("threshold-value").textContent = threshold().toFixed(2);
  $("labels").textContent = `Labels: ${settings.labels}`;
  $("mirror").setAttribute("aria-pressed", settings.mirror);
  $("transport").value = settings.transport;
  $("theme").textContent = `Colours: ${settings.theme}`;
  if (settings.theme === "auto") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = settings.theme;
  for (const chip of $("classes").children) {
    chip.setAttribute("aria-pressed", !settings.hidden.includes(chip.dataset.label));
  }
}

async function toggleOwn() {
  if (own) {
    own.stop();
    return;
  }
  const camera = own = new OwnCamera();
  $("own").disabled = true;
  try {
    await camera.start(() => ownEnded(camera));
    addTile(camera.name, "this browser's camera", () => camera.stop());
    $("own").textContent = "Stop my camera";
    banner("");
  } catch (error) {
    own = null;
    banner(`The camera cannot be used: ${error.message}`);
  }
  $("own").disabled = false;
}

function ownEnded(camera) {
  if (own !== camera) return;
  own = null;
  $("own").textContent = "Use my camera";
  if (camera.name) removeTile(camera.name);
}

async function addDevice() {
  const { path } = await post("/link");
  banner(`Open this on the other device; it works once: ${location.origin}${path}`);
}

const nextOf = (values, value) => values[(values.indexOf(value) + 1) % values.length];
const toggleTheme = () => change({ theme: nextOf(THEMES, settings.theme) });
const toggleLabels = () => change({ labels: nextOf(LABELS, settings.labels) });
const toggleHelp = () => ($("keys").open ? $("keys").close() : $("keys").showModal());

$("threshold").addEventListener("input", (event) => change({ threshold: Number(event.target.value) }));
$("threshold").addEventListener("dblclick", () => change({ threshold: null }));
$("labels").addEventListener("click", toggleLabels);
$("mirror").addEventListener("click", () => change({ mirror: !settings.mirror }));
$("transport").addEventListener("change", (event) => change({ transport: event.target.value }));
$("theme").addEventListener("click", toggleTheme);
$("own").addEventListener("click", toggleOwn);
$("link").addEventListener("click", addDevice);
$("help").addEventListener("click", toggleHelp);
onChange(showSettings);
fillTable($("key-table"));
listen({
  digit: (number) => {
    const name = number === 0 ? null : [...tiles.keys()][number - 1];
    enlarge(name === undefined || name === large ? null : name);
  },
  Escape: () => enlarge(null),
  s: () => chosen()?.snapshot(),
  r: () => chosen()?.record(),
  f: () => chosen()?.fullScreen(),
  "+": () => moveThreshold(0.05),
  "=": () => moveThreshold(0.05),
  "-": () => moveThreshold(-0.05),
  l: toggleLabels,
  m: () => change({ mirror: !settings.mirror }),
  t: toggleTheme,
  h: toggleHelp,
  "?": toggleHelp,
});
window.addEventListener("pagehide", () => {
  own?.stop();
  for (const tile of tiles.values()) tile.disconnect();
});
window.addEventListener("pageshow", (event) => event.persisted && location.reload());
showSettings();
poll();
