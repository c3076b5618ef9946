// ---- Charts: made in Python; here they get the metric, the methods shown, the theme and the width ----------------------
const CHARTS = ["heat", "curves", "clients", "costs", "partition"];
const dark = () => document.documentElement.dataset.theme
  ? document.documentElement.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
const place = () => data.settings.indexOf(view.setting);
const arrows = ({ marks }) => marks.replace(/[*~]/g, "");
const escapeMarkup = (name) => name.replace(/[&<>]/g, (c) => ({ "&": "&amp;", "<": "&lt;", ">": "&gt;" })[c]);

// The lines of a chart, by method; none for a metric without such values.
function linesOf(id) {
  const { lines } = data[id], own = { curves: lines[metric().round], clients: lines[metric().clients], costs: lines }[id];
  const found = own?.[view.setting] ?? {};
  if (id === "clients") return Object.fromEntries(Object.entries(found).map(([name, y]) => [name, { x: data.clients.shares, y }]));
  return id === "costs" ? costPoints(found) : found;
}

// Methods that upload nothing are at the left edge: 0 has no logarithm.
function costPoints(found) {
  const sent = Object.values(found).map(([mb]) => mb).filter((mb) => mb > 0), least = sent.length ? Math.min(...sent) / 3 : 1;
  const points = {};
  for (const [name, [mb, seconds]] of Object.entries(found)) {
    const own = score(data.methods.indexOf(name), place());
    if (own.mean === null) continue;
    const { mean, low, high } = own, bounds = interval(own);
    points[name] = {
      x: [mb || least], y: [mean], text: [arrows(own)], customdata: [[mb, seconds, bounds && ` (${bounds})`]],
      ...(low !== null && { error_y: { type: "data", array: [high - mean], arrayminus: [mean - low] } }),
    };
  }
  return points;
}

// With many methods only the best of those shown are drawn; others can be chosen in the legend.
function visibility() {
  const passing = shownMethods(), found = new Map();
  const ranked = [...passing].sort((a, b) => (score(b, ALL).mean ?? -1) - (score(a, ALL).mean ?? -1) || a - b);
  ranked.forEach((method, rank) => {
    const drawn = passing.length <= data.crowd || rank < data.best || data.sought.includes(data.methods[method]);
    found.set(method, drawn ? true : "legendonly");
  });
  return found;
}

function lineTraces(id) {
  const lines = linesOf(id), drawn = visibility();
  return data.methods.map((name, method) => {
    const visible = name in lines && drawn.has(method) ? (id === "costs" ? true : drawn.get(method)) : false;
    return { ...data[id].trace, ...(visible && lines[name]), visible };
  });
}

function heatTrace() {
  const methods = shownMethods(), settings = shownSettings();
  const grid = (of) => methods.map((method) => settings.map((setting) => of(score(method, setting))));
  return {
    ...data.heat.trace,
    x: settings.map((setting) => escapeMarkup(data.settings[setting])), y: methods.map((method) => escapeMarkup(data.methods[method])),
    z: grid(({ mean }) => mean), text: grid(arrows),
    customdata: grid((own) => `${own.text} % ${own.spread}${own.low === null ? "" : `, ${interval(own)}`}`),
  };
}

// Why a chart is empty; "" if it is not.
function reason(id) {
  if (id !== "heat" && !(view.setting in data.costs.lines)) return "No finished run in this setting";
  if (id === "partition") return "";
  if (!shownMethods().length) return "No method passes the filters";
  if (id === "heat") return shownSettings().length ? "" : "All settings are hidden";
  const lines = linesOf(id), kind = { curves: " per round", clients: " per client", costs: "" }[id];
  if (!Object.keys(lines).length) return `No finished run has ${metric().title}${kind}`;
  return shownMethods().some((method) => data.methods[method] in lines) ? "" : `No method that passes the filters has ${metric().title}${kind}`;
}

function figure(id, theme, narrow) {
  const why = reason(id), chart = id === "partition" ? data.partition[view.setting] : data[id];
  const layout = structuredClone(why ? {} : chart.layout);
  let traces = [];
  if (why) {
    const text = { text: why, showarrow: false, xref: "paper", yref: "paper", x: 0.5, y: 0.5, font: { size: 15 } };
    Object.assign(layout, { annotations: [text], xaxis: { visible: false }, yaxis: { visible: false } });
  } else if (id === "heat") {
    traces = [heatTrace()];
    layout.height = 130 + 19 * shownMethods().length;
    layout.xaxis.tickangle = narrow || shownSettings().length > 6 ? 90 : 0;
    if (narrow) layout.xaxis.showticklabels = shownSettings().length <= 10; // labels would overlap
  } else if (id === "partition") {
    traces = [structuredClone(chart.trace)];
  } else {
    traces = structuredClone(lineTraces(id));
    layout.yaxis.title.text = id === "clients" ? `accuracy, ${metric().group} clients (%)` : inWords(metric());
  }
  return { traces, layout: { template: data.templates[theme], dragmode: narrow ? false : "zoom", ...layout } };
}

function draw(id) {
  const narrow = innerWidth < 640, { traces, layout } = figure(id, dark() ? "dark" : "light", narrow);
  layout.height ??= narrow && id !== "partition" && !reason(id) ? 560 : 460;
  if (reason(id)) layout.height = 200;
  if (narrow) layout.legend = { orientation: "h", y: -0.25 };
  Plotly.react(id, traces, layout, { responsive: true, displaylogo: false, displayModeBar: false });
}

// ---- Captions and numbers of the charts -------------------------------------------------------------------------------
function caption(id) {
  if (reason(id)) return `${reason(id)}.`;
  if (id === "heat") return `Colour: accuracy of ${metric().title}.`;
  if (id === "curves") {
    const rounds = new Set(Object.values(linesOf(id)).flatMap(({ x }) => x));
    const only = rounds.size === 1 ? ` Measured in round ${[...rounds][0]} only.` : "";
    return `Accuracy of ${metric().title}: mean over seeds; each point tells its standard deviation.${only}`;
  }
  if (id === "clients") {
    const worst = metric().id.endsWith(".worst") ? ` ${metric().title} is a number per run: the left end of each run.` : "";
    return `All ${metric().group} clients, worst first, all seeds pooled.${worst}`;
  }
  if (id === "costs") return `Accuracy of ${metric().title}; bars are the intervals of the leaderboard.`;
  return "The metric and the filters do not apply.";
}

function chartGrid(id) {
  if (reason(id)) return { head: ["method"], rows: [], notes: [reason(id)] };
  const notes = [`${data.name}, ${view.setting}. ${caption(id)}`];
  if (id === "partition") return { head: data.partition[view.setting].table[0], rows: data.partition[view.setting].table.slice(1), notes };
  const lines = linesOf(id), names = shownMethods().map((method) => data.methods[method]).filter((name) => name in lines);
  if (id === "costs") {
    const rows = names.map((name) => {
      const { text, low, high } = score(data.methods.indexOf(name), place()), [[mb, seconds]] = lines[name].customdata;
      return [name, text, low?.toFixed(1) ?? null, high?.toFixed(1) ?? null, mb, seconds];
    });
    return { head: ["method", inWords(metric()), "interval from", "to", "MB uploaded", "seconds"], rows, notes };
  }
  const every = id === "clients" ? 10 : 1;
  const xs = [...new Set(names.flatMap((name) => lines[name].x.filter((_, i) => i % every === 0)))].sort((a, b) => a - b);
  const rows = names.map((name) => [name, ...xs.map((x) => lines[name].y[lines[name].x.indexOf(x)] ?? null)]);
  return { head: ["method", ...xs.map((x) => (id === "clients" ? `${x} %` : x))], rows, notes };
}

for (const id of ["curves", "clients", "costs", "partition"]) GRIDS[id] = () => chartGrid(id);

function numbers(block) {
  const slot = block.querySelector(".numbers"), id = block.dataset.numbers;
  slot.replaceChildren(...(block.open ? [reason(id) ? make("p", `${reason(id)}.`) : table(chartGrid(id))] : []));
}

function drawAll(ids = CHARTS) {
  if (window.Plotly) ids.forEach(draw);
  for (const id of CHARTS) $(`${id}-caption`).textContent = caption(id);
  document.querySelectorAll("[data-numbers]").forEach(numbers);
}

for (const block of document.querySelectorAll("[data-numbers]")) block.addEventListener("toggle", () => numbers(block));
$("theme").addEventListener("click", () => {
  document.documentElement.dataset.theme = dark() ? "light" : "dark";
  drawAll();
});
