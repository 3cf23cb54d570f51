// The keyboard.
export const KEYS = [
  ["1 … 9", "make that camera large, and small again"],
  ["0, Esc", "all cameras"],
  ["s", "snapshot of the chosen camera"],
  ["r", "start, end a recording"],
  ["f", "full screen"],
  ["+ -", "threshold up, down"],
  ["l", "labels: of faces, of everything, none"],
  ["m", "mirror"],
  ["t", "colours: automatic, dark, light"],
  ["h ?", "this help"],
];

export function listen(actions) {
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.altKey || event.metaKey || event.target.matches("input[type=text], select, textarea")) return;
    if (event.target.matches("input[type=range]") && event.key.startsWith("Arrow")) return;
    const action = /^[0-9]$/.test(event.key) ? () => actions.digit(Number(event.key)) : actions[event.key];
    if (!action) return;
    event.preventDefault();
    action();
  });
}

export function fillTable(table) {
  for (const [keys, meaning] of KEYS) {
    const row = table.insertRow();
    const key = document.createElement("kbd");
    key.textContent = keys;
    row.insertCell().append(key);
    row.insertCell().textContent = meaning;
  }
}
