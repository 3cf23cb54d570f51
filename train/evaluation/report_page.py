"""What all pages of predictions have: styles, script, words. Nothing is loaded from elsewhere."""

STYLE = """
:root { color-scheme: light dark; --ink: #222; --pale: #666; --line: #ddd; --ground: #fff; --card: #f6f6f6;
  --missed: #d55e00; --false: #dc0032; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e8e8e8; --pale: #a0a0a0; --line: #3a3a3a; --ground: #161616; --card: #202020; --false: #ff5d80; }
}
* { box-sizing: border-box; }
body { font: 15px/1.5 system-ui, sans-serif; margin: 0 auto; max-width: 120rem; padding: 1.5rem; color: var(--ink);
  background: var(--ground); }
h1 { font-size: 1.35rem; margin: 0 0 0.3rem; }
p { margin: 0.3rem 0; color: var(--pale); max-width: 70rem; }
table { border-collapse: collapse; margin: 1rem 0; }
th, td { padding: 0.15rem 0.9rem; text-align: right; border-bottom: 1px solid var(--line);
  font-variant-numeric: tabular-nums; }
th { font-weight: 600; color: var(--pale); }
th:first-child, td:first-child { text-align: left; padding-left: 0; }
i { display: inline-block; width: 0.7em; height: 0.7em; border-radius: 2px; margin-right: 0.45em; }
nav { position: sticky; top: 0; z-index: 1; display: flex; flex-wrap: wrap; gap: 0.4rem 1.2rem; align-items: center;
  padding: 0.6rem 0; background: var(--ground); border-bottom: 1px solid var(--line); }
select { font: inherit; padding: 0.15rem 0.4rem; }
kbd { font: 0.85em ui-monospace, monospace; padding: 0 0.35em; border: 1px solid var(--line); border-radius: 3px; }
nav small { color: var(--pale); margin-left: auto; }
main { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(30rem, 100%), 1fr)); gap: 1rem;
  margin-top: 1rem; align-items: start; }
figure { margin: 0; background: var(--card); border-radius: 6px; overflow: hidden; }
figure[hidden] { display: none; }
figure:focus-within, figure:hover { outline: 2px solid var(--line); }
img { width: 100%; height: auto; max-height: 28rem; object-fit: contain; display: block; background: #222; }
figcaption { overflow-wrap: anywhere; font-size: 0.88em; padding: 0.45rem 0.7rem 0.6rem; color: var(--pale); }
figcaption b { color: var(--ink); }
dialog { width: 100%; height: 100%; max-width: none; max-height: none; border: 0; padding: 2.2rem 1rem 1rem;
  background: #111; color: #ddd; }
dialog img { width: 100%; height: calc(100% - 2.5rem); max-height: none; object-fit: contain; background: none; }
dialog span { display: block; text-align: center; padding-top: 0.5rem; }
"""
SCRIPT = """
const figures = [...document.querySelectorAll("figure")], kind = document.querySelector("#kind");
const label = document.querySelector("#label"), count = document.querySelector("#count");
const large = document.querySelector("dialog");
let current = 0;
const has = (figure, name) => {
  const labels = figure.dataset[name].split(" ").filter(Boolean);
  return label.value ? labels.includes(label.value) : labels.length > 0;
};
const shown = () => figures.filter((figure) => !figure.hidden);
function filter() {
  for (const figure of figures) {
    const missed = has(figure, "missed"), wrong = has(figure, "false");
    figure.hidden = !{ "": !label.value || missed || wrong, any: missed || wrong, missed, false: wrong,
      none: !missed && !wrong }[kind.value];
  }
  count.textContent = `${shown().length} of ${figures.length} shown`;
}
function open(i) {
  const list = shown();
  if (!list.length) return;
  current = (i + list.length) % list.length;
  const figure = list[current];
  large.querySelector("img").src = figure.querySelector("img").src;
  large.querySelector("span").textContent = figure.querySelector("figcaption").textContent;
  if (!large.open) large.showModal();
}
if (kind) {
  kind.onchange = label.onchange = filter;
  filter();
}
for (const figure of figures)
  figure.querySelector("a").onclick = (event) => {
    if (event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    open(shown().indexOf(figure));
  };
large.onclick = () => large.close();
document.onkeydown = (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.target.tagName === "SELECT") return;
  const kinds = { a: "", e: "any", m: "missed", f: "false", c: "none" };
  if (event.key === "ArrowRight" || event.key === "j") open(large.open ? current + 1 : 0);
  else if (event.key === "ArrowLeft" || event.key === "k") open(large.open ? current - 1 : -1);
  else if (kind && event.key in kinds && !large.open) { kind.value = kinds[event.key]; filter(); }
  else if (kind && /^[0-9]$/.test(event.key) && event.key < label.options.length && !large.open) {
    label.value = event.key === "0" ? "" : event.key;
    filter();
  } else return;
  event.preventDefault();
};
"""
LEGEND = (
    "Left: labels. Right: predictions; a match is solid in the colour of its class, a miss dashed red, a false "
    "positive solid red. Sorted by the number of misses and false positives, ties by the sum of 1 - IoU of the matches."
)
KINDS = {
    "": "all images",
    "any": "misses or false positives",
    "missed": "misses",
    "false": "false positives",
    "none": "no error",
}
KEYS = (
    "<kbd>←</kbd> <kbd>→</kbd> look closely, <kbd>Esc</kbd> back, <kbd>m</kbd> misses, <kbd>f</kbd> false positives, "
    "<kbd>e</kbd> either, <kbd>c</kbd> no error, <kbd>a</kbd> all, <kbd>1</kbd> … <kbd>9</kbd> a class, "
    "<kbd>0</kbd> any"
)
KEYS_WITHOUT_LABELS = "<kbd>←</kbd> <kbd>→</kbd> look closely, <kbd>Esc</kbd> back"
