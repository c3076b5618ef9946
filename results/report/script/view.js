// ---- The view is in the address: a link shows the same, back and forward work -----------------------------------------
const start = () => ({
  metric: 0, setting: data.settings[0], sort: { column: OVERALL, direction: -1 }, filters: columns.map(() => ""),
  hidden: new Set(), open: null, pair: compared.slice(0, 2),
});

// What differs from the first view, as `key=value&...`.
function written() {
  const first = start(), parts = new URLSearchParams();
  if (view.metric !== first.metric) parts.append("metric", metric().id);
  if (view.setting !== first.setting) parts.append("setting", view.setting);
  const { column, direction } = view.sort;
  if (column !== first.sort.column || direction !== first.sort.direction) parts.append(direction > 0 ? "up" : "down", columns[column]);
  view.filters.forEach((text, i) => { if (text) parts.append(`filter ${columns[i]}`, text); });
  for (const i of [...view.hidden].sort((a, b) => a - b)) parts.append("hide", columns[i]);
  if (String(view.pair) !== String(first.pair)) view.pair.forEach((name) => parts.append("pair", name));
  if (view.open) {
    parts.append("runs", data.methods[view.open.method]);
    parts.append("of", data.settings[view.open.setting]);
  }
  return parts.toString();
}

// The view of a fragment, and what in it is unknown.
function readView(fragment) {
  const found = start(), unknown = [], pair = [], runs = {};
  const known = (list, name, use) => (list.includes(name) ? use(list.indexOf(name)) : unknown.push(name || "an empty value"));
  for (const [key, name] of new URLSearchParams(fragment)) {
    if (key === "metric") known(data.metrics.map(({ id }) => id), name, (i) => { found.metric = i; });
    else if (key === "setting") known(data.settings, name, () => { found.setting = name; });
    else if (key === "up" || key === "down") known(columns, name, (column) => { found.sort = { column, direction: key === "up" ? 1 : -1 }; });
    else if (key === "hide") known(columns.slice(1), name, (i) => found.hidden.add(i + 1));
    else if (key === "pair") known(compared, name, () => pair.push(name));
    else if (key === "runs") known(data.methods, name, (i) => { runs.method = i; });
    else if (key === "of") known(data.settings, name, (i) => { runs.setting = i; });
    else if (key.startsWith("filter ")) known(columns, key.slice(7), (i) => { found.filters[i] = name; });
    else unknown.push(key);
  }
  if (pair.length === 2) found.pair = pair;
  if ("method" in runs && "setting" in runs && hasRuns(runs.method, runs.setting)) found.open = runs;
  for (const column of found.hidden) found.filters[column] = "";
  return { found, unknown };
}

let last = ""; // what changed last: the letters typed into one filter are one step back

function change(update, kind = "") {
  update();
  const fragment = written(), address = location.href.split("#")[0] + (fragment && `#${fragment}`);
  if (address !== location.href) history[kind && kind === last ? "replaceState" : "pushState"](null, "", address);
  last = kind;
  render();
}

let before = null; // the parts of the view that were shown last: only what depends on a changed part is drawn

function render() {
  const now = {
    table: JSON.stringify([view.metric, view.sort, view.filters, [...view.hidden]]), setting: view.setting,
    pair: JSON.stringify([view.metric, view.pair]), open: JSON.stringify(view.open),
  };
  const isNew = (part) => before?.[part] !== now[part];
  if (isNew("table")) showBoard();
  $("setting").value = view.setting;
  if (isNew("table")) drawAll();
  else if (isNew("setting")) drawAll(["curves", "clients", "costs", "partition"]);
  if (isNew("pair")) showPair();
  if (isNew("open")) {
    if (view.open) showRuns(view.open);
    else if ($("detail").open) $("detail").close();
  }
  before = now;
}

function restore() {
  const fragment = location.hash.slice(1);
  if (before && fragment && !fragment.includes("=") && $(fragment)) { // a link within the page
    history.replaceState(null, "", location.href.split("#")[0] + (written() && `#${written()}`));
    return;
  }
  const { found, unknown } = readView($(fragment) ? "" : fragment);
  Object.assign(view, found);
  $("notice").hidden = !unknown.length;
  $("notice").textContent = unknown.length ? `The address names what this report does not have: ${unknown.join(", ")}. It is ignored.` : "";
  last = "";
  render();
}

$("metric").addEventListener("change", (event) => change(() => { view.metric = +event.target.value; }));
$("setting").addEventListener("change", (event) => change(() => { view.setting = event.target.value; }));
addEventListener("hashchange", restore);

restore();
const library = make("script");
library.textContent = await unpack("plotly");
document.head.append(library);
drawAll();
$("heat").on("plotly_click", ({ points: [{ pointIndex: [row, column] }] }) => openRuns(shownMethods()[row], shownSettings()[column]));
document.documentElement.dataset.ready = "";
