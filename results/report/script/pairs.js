// ---- Two methods side by side; intervals of the differences are computed in Python ------------------------------------
const compared = data.pairs.methods;

// Of a pair: [value, low, high, runs] per setting, then over all; the first method minus the second.
function difference(first, second, setting) {
  const [i, j] = [compared.indexOf(first), compared.indexOf(second)].sort((a, b) => a - b);
  const found = data.pairs.rows[metric().id]?.[setting]?.[(i * (2 * compared.length - i - 1)) / 2 + (j - i - 1)];
  if (!found || found[0] === null) return null;
  const [value, low, high, runs] = found, turned = compared.indexOf(first) > compared.indexOf(second);
  const negated = (x) => (x === null ? null : -x);
  return turned ? { value: negated(value), low: negated(high), high: negated(low), runs } : { value, low, high, runs };
}

function pairGrid() {
  const [first, second] = view.pair, places = [...data.settings.map((_, i) => i), ...(ALL > 1 ? [ALL] : [])];
  const bracket = (low, high, format) => (low === null ? "" : `[${format(low)}, ${format(high)}]`);
  const fixed = (x) => x.toFixed(1), signed = (x) => `${x > 0 ? "+" : ""}${fixed(x)}`;
  const mean = (name, at) => {
    const own = score(data.methods.indexOf(name), at);
    return own.mean === null ? own.text : { ...own, spread: bracket(own.low, own.high, fixed) };
  };
  const rows = places.map((at) => {
    const gap = difference(first, second, data.columns[at]), runs = gap?.runs ?? 0;
    const level = gap && gap.low !== null ? `${Math.round(1000 * Math.min(0.95, 1 - 2 ** (1 - runs))) / 10} %` : "-";
    const entry = gap && { text: signed(gap.value), spread: bracket(gap.low, gap.high, signed), low: gap.low, high: gap.high };
    return [data.columns[at], entry, level, mean(first, at), mean(second, at), runs]; // on a phone the first ones are seen
  });
  const notes = [
    `Accuracy of ${metric().title} in percent, with intervals of the means; the difference is in points, paired by seed, `
    + "with its interval of 95 %, or of the level that so few pairs reach. bench compare tests differences",
  ];
  return { head: ["setting", `${first} minus ${second}`, "level", first, second, "pairs of runs"], rows, notes };
}

GRIDS.pair = pairGrid;

function showPair() {
  const ready = compared.length > 1;
  $("pair-chooser").hidden = !ready;
  $("pair-limit").textContent = !ready ? "One method: nothing to compare."
    : compared.length < data.methods.length ? `Intervals of all pairs are stored for the first ${compared.length} of ${data.methods.length} methods.` : "";
  $("pair-table").replaceChildren();
  if (!ready) return;
  view.pair.forEach((name, side) => { $(`pair-${side}`).value = name; });
  const grid = pairGrid();
  $("pair-table").append(view.pair[0] === view.pair[1] ? make("p", "Choose two different methods.") : table(grid));
  $("pair-caption").textContent = `${grid.notes[0]}.`;
}

for (const side of [0, 1]) {
  $(`pair-${side}`).append(...compared.map((name) => make("option", name, { value: name })));
  $(`pair-${side}`).addEventListener("change", (event) => change(() => {
    view.pair[side] = event.target.value;
  }));
}
