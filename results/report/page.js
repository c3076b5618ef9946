"use strict";
(async () => {
  const $ = (id) => document.getElementById(id);
  const make = (tag, text, attributes = {}) => {
    const element = Object.assign(document.createElement(tag), attributes);
    if (text !== undefined) element.textContent = text; // never as HTML: names and errors are not to be trusted
    return element;
  };

  async function unpack(id) {
    const bytes = Uint8Array.from(atob($(id).textContent), (c) => c.charCodeAt(0));
    return new Response(new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"))).text();
  }

  const data = JSON.parse(await unpack("data"));
  const head = [...$("board").tHead.rows[0].cells], filters = [...$("board").tHead.rows[1].cells].map((c) => c.firstChild);
  const rows = [...$("board").tBodies[0].rows];
  const SETTINGS = 3; // columns before the settings
  let metric = 0, sorted = SETTINGS - 1, direction = -1;

  // ---- the leaderboard -------------------------------------------------------------------------------------------
  const mean = (numbers) => numbers.reduce((sum, x) => sum + x, 0) / numbers.length;
  const places = (row) => data.board[metric][row];

  function overall(row) {
    const means = places(row).map((entry) => entry.mean);
    return means.every((x) => x !== null) ? mean(means) : null;
  }

  function value(row, column) {
    if (column < 2) return row.cells[column].textContent.toLowerCase();
    if (column === SETTINGS - 1) return overall(+row.dataset.row);
    if (column < SETTINGS + data.settings.length) return places(+row.dataset.row)[column - SETTINGS].mean;
    const number = parseFloat(row.cells[column].textContent);
    return Number.isNaN(number) ? null : number;
  }

  function entry(place, row, column) {
    if (place.mean === null && !place.failed) return document.createTextNode(place.seeds ? "n/a" : "-");
    const button = make("button", undefined, { type: "button", className: "open" });
    Object.assign(button.dataset, { row, column });
    if (place.mean === null) {
      button.textContent = "failed";
      button.classList.add("failed");
      return button;
    }
    button.append(make(place.best ? "b" : "span", place.mean.toFixed(1)));
    if (place.std !== null) button.append(make("small", ` ±${place.std.toFixed(1)}`));
    if (place.open) button.append(make("small", " ~", { title: "not resolved from the best" }));
    return button;
  }

  function fill() {
    for (const row of rows) {
      const i = +row.dataset.row, all = overall(i);
      row.cells[SETTINGS - 1].textContent = all === null ? "-" : all.toFixed(1);
      places(i).forEach((place, j) => row.cells[SETTINGS + j].replaceChildren(entry(place, i, j)));
    }
  }

  function sort() {
    const rank = (row) => value(row, sorted);
    rows.sort((a, b) => {
      const x = rank(a), y = rank(b);
      if (x === null || y === null) return (x === null) - (y === null); // holes last, whatever the direction
      return direction * (x < y ? -1 : x > y ? 1 : 0);
    });
    $("board").tBodies[0].append(...rows);
    head.forEach((cell, i) => cell.removeAttribute("aria-sort"));
    head[sorted].setAttribute("aria-sort", direction > 0 ? "ascending" : "descending");
  }

  function passes(row, column, wanted) {
    const found = value(row, column), bound = wanted.match(/^([<>])\s*(-?[\d.]+)$/);
    if (!bound || column < 2) return row.cells[column].textContent.toLowerCase().includes(wanted);
    return found !== null && (bound[1] === ">" ? found > +bound[2] : found < +bound[2]);
  }

  function filter() {
    const wanted = filters.map((input) => input.value.trim().toLowerCase());
    for (const row of rows) row.hidden = !wanted.every((text, i) => !text || passes(row, i, text));
    const left = rows.filter((row) => !row.hidden).length;
    $("count").textContent = left === rows.length ? `${left} methods` : `${left} of ${rows.length} methods`;
  }

  head.forEach((cell, column) => cell.addEventListener("click", () => {
    direction = column === sorted ? -direction : column < 2 ? 1 : -1;
    sorted = column;
    sort();
  }));
  filters.forEach((input) => input.addEventListener("input", filter));

  // ---- what stands behind a number -------------------------------------------------------------------------------
  const texts = (numbers, between = "\n") => numbers.map((i) => data.pool[i]).join(between);
  const shown = (x, unit = "") => (x === null ? "-" : `${x}${unit}`);

  function table(headings, lines) {
    const built = make("table"), top = built.createTHead().insertRow(), body = built.createTBody();
    for (const heading of headings) top.append(make("th", heading, { scope: "col" }));
    for (const line of lines) {
      const row = body.insertRow();
      line.forEach((x, i) => row.append(make(i ? "td" : "th", x, { className: i ? "number" : "" })));
    }
    const scroll = make("div", undefined, { className: "scroll", tabIndex: 0 });
    scroll.append(built);
    return scroll;
  }

  async function copy(text) {
    try {
      await navigator.clipboard.writeText(text);
      return true;
    } catch {
      return false; // a browser may forbid it: the text is there to be copied by hand
    }
  }

  function copyButton(text) {
    const button = make("button", "Copy", { type: "button" });
    button.addEventListener("click", async () => {
      button.textContent = (await copy(text)) ? "Copied" : "Select it and copy by hand";
    });
    return button;
  }

  function open(title, ...parts) {
    $("detail-title").textContent = title;
    $("detail-body").replaceChildren(...parts);
    $("detail").showModal();
    $("detail").scrollTop = 0;
  }

  function behind(run) {
    const block = make("details"), command = texts(run.command, "");
    block.append(make("summary", `seed ${run.seed}: ${run.error ? "failed" : shown(run.values[0], " %")}, run ${run.id}`));
    if (run.error) block.append(make("h3", "Error"), make("pre", run.error));
    block.append(make("h3", "Command"), make("pre", command), copyButton(command));
    for (const [title, text] of [
      ["Configuration", texts(run.config)],
      ["Environment", texts(run.environment)],
      ["Known differences from the paper", texts(run.deviations)],
      ["Log", run.log],
    ]) if (text) block.append(make("h3", title), make("pre", text, { tabIndex: 0 }));
    return block;
  }

  function detail(row, column) {
    const method = data.methods[row], setting = data.settings[column];
    const runs = data.runs.filter((run) => run.method === method && run.setting === setting);
    if (!runs.length) return;
    const lines = runs.map((run) => [
      run.seed, ...run.values.map((x) => shown(x)), shown(run.upload_mb), shown(run.seconds),
    ]);
    const blocks = runs.map(behind);
    blocks[0].open = runs.length === 1;
    open(`${method} in ${setting}`, table(["seed", ...data.metrics, "MB up", "seconds"], lines), ...blocks);
  }

  document.addEventListener("click", (event) => {
    const button = event.target.closest(".open");
    if (button) detail(+button.dataset.row, +button.dataset.column);
  });
  $("latex").addEventListener("click", async () => {
    const area = make("textarea", data.latex, { readOnly: true, ariaLabel: "The table as LaTeX" });
    const done = await copy(data.latex);
    open("The table as LaTeX", make("p", done ? "Copied." : "Select it and copy by hand."), area);
    area.select();
  });

  // ---- pictures --------------------------------------------------------------------------------------------------
  const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const dark = () => document.documentElement.dataset.theme
    ? document.documentElement.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;

  function colour(method) {
    const parts = data.looks[method].colour.match(/\w\w/g).map((x) => parseInt(x, 16));
    return `rgb(${parts.map((x) => (dark() ? Math.round(x + 0.5 * (255 - x)) : x)).join(",")})`;
  }

  const axis = (title, more = {}) => ({
    title: { text: title }, gridcolor: css("--line"), zeroline: false, automargin: true, ...more,
  });

  function draw(id, traces, layout) {
    const narrow = innerWidth < 640;
    return Plotly.react(id, traces, {
      paper_bgcolor: css("--paper"), plot_bgcolor: css("--paper"), font: { color: css("--ink"), size: 12 },
      margin: { t: 10, r: 10, l: 50, b: 45 }, hovermode: "closest", dragmode: narrow ? false : "zoom",
      legend: narrow ? { orientation: "h", y: -0.25 } : {}, height: narrow ? 560 : 460, ...layout,
    }, { responsive: true, displaylogo: false, displayModeBar: false });
  }

  const look = (method) => ({
    name: method, line: { color: colour(method), dash: data.looks[method].dash, width: 2 },
    marker: { color: colour(method), symbol: data.looks[method].symbol, size: 8 },
    visible: data.bold.includes(method) ? true : "legendonly",
  });

  function heat() {
    const z = data.methods.map((_, i) => places(i).map((place) => place.mean));
    draw("heat", [{
      type: "heatmap", x: data.settings.map((_, i) => i), y: data.methods.map((_, i) => i), z, colorscale: "Viridis",
      xgap: 1, ygap: 1, hoverongaps: false, colorbar: { title: { text: "%" }, thickness: 12 },
      text: data.methods.map((m) => data.settings.map((c) => `${plain(m)}<br>${plain(c)}`)),
      hovertemplate: "%{text}<br>%{z:.1f} %<extra></extra>",
    }], {
      height: 130 + 19 * data.methods.length,
      xaxis: axis("", {
        tickvals: data.settings.map((_, i) => i), ticktext: data.settings.map(plain), showgrid: false,
        showticklabels: innerWidth >= 640 || data.settings.length <= 10, // else they would cover one another
        tickangle: innerWidth < 640 || data.settings.length > 6 ? 90 : 0,
      }),
      yaxis: axis("", {
        tickvals: data.methods.map((_, i) => i), ticktext: data.methods.map(plain), autorange: "reversed", showgrid: false,
      }),
    });
  }

  // Plotly reads a little HTML in its texts: what comes from a record must not be taken for it.
  const plain = (text) => text.replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;");
  const tables = {};

  function curves(setting) {
    const found = data.curves[setting] ?? {}, methods = data.methods.filter((m) => found[m]);
    draw("curves", methods.map((m) => ({
      ...look(m), name: plain(m), x: found[m].round, y: found[m].mean, customdata: found[m].std.map((x) => x ?? 0),
      mode: found[m].round.length > 12 ? "lines" : "lines+markers", hovertemplate: "%{y:.1f} ±%{customdata:.1f} % in round %{x}",
    })), { xaxis: axis("round"), yaxis: axis("accuracy of seen clients (%)") });
    const rounds = [...new Set(methods.flatMap((m) => found[m].round))].sort((a, b) => a - b);
    const at = (m, round) => shown(found[m].mean[found[m].round.indexOf(round)] ?? null);
    tables.curves = () => table(["method", ...rounds], methods.map((m) => [m, ...rounds.map((r) => at(m, r))]));
  }

  function clients(setting) {
    const found = data.clients[setting] ?? {}, methods = data.methods.filter((m) => found[m]);
    draw("clients", methods.map((m) => ({
      ...look(m), name: plain(m), x: data.shares, y: found[m], mode: "lines",
      hovertemplate: "%{x:.0f} % of the clients have %{y:.1f} % or less",
    })), { xaxis: axis("seen clients, worst first (%)"), yaxis: axis("accuracy (%)") });
    const kept = data.shares.map((_, i) => i).filter((i) => i % 10 === 0);
    tables.clients = () => table(
      ["method", ...kept.map((i) => `${data.shares[i]} %`)], methods.map((m) => [m, ...kept.map((i) => found[m][i])]));
  }

  function costs(setting) {
    const found = data.costs[setting] ?? {}, methods = data.methods.filter((m) => found[m] && found[m].seen !== null);
    const sent = methods.map((m) => found[m].upload_mb).filter((x) => x > 0);
    const least = sent.length ? Math.min(...sent) / 3 : 1;
    draw("costs", methods.map((m) => ({
      ...look(m), name: plain(m), visible: true, x: [found[m].upload_mb || least], y: [found[m].seen], mode: "markers",
      customdata: [[found[m].upload_mb, found[m].seconds]],
      hovertemplate: "%{y:.1f} %, %{customdata[0]:.3g} MB up, %{customdata[1]:.1f} s",
    })), { xaxis: axis("uploaded in a run (MB)", { type: "log" }), yaxis: axis("accuracy of seen clients (%)") });
    tables.costs = () => table(
      ["method", "seen (%)", "held-out (%)", "MB up", "seconds"],
      methods.map((m) => [m, ...["seen", "held_out", "upload_mb", "seconds"].map((k) => shown(found[m][k]))]));
  }

  function partition(setting) {
    const found = data.partitions[setting];
    if (!found) return draw("partition", [], {});
    const names = found.clients.map((_, i) => i), seen = found.held_out.indexOf(true);
    const z = found.counts.map((row) => row.map((x) => x || null));
    return draw("partition", [{
      type: "heatmap", x: names, y: found.classes.map((_, i) => i), z, colorscale: "Viridis", reversescale: !dark(),
      hoverongaps: false, colorbar: { title: { text: "samples" }, thickness: 12 },
      text: z.map((row, i) => row.map((_, j) => `client ${found.clients[j]}, class ${found.classes[i]}`)),
      hovertemplate: "%{text}: %{z} samples<extra></extra>",
    }], {
      xaxis: axis(found.of > names.length ? `${names.length} of ${found.of} clients` : "client", { showgrid: false }),
      yaxis: axis("class", { showgrid: false }),
      shapes: seen < 0 ? [] : [{
        type: "line", x0: seen - 0.5, x1: seen - 0.5, y0: 0, y1: 1, yref: "paper", line: { color: css("--ink"), width: 2 },
      }],
    });
  }

  function pictures() {
    if (!window.Plotly) return;
    const setting = data.settings[+$("setting").value];
    heat();
    tables.partition = () => table(
      ["client", ...data.partitions[setting].classes.map((c) => `class ${c}`)],
      data.partitions[setting].clients.map((c, j) => [
        `${c}${data.partitions[setting].held_out[j] ? " (held out)" : ""}`, ...data.partitions[setting].counts.map((row) => row[j]),
      ]));
    for (const picture of [curves, clients, costs, partition]) picture(setting);
    for (const block of document.querySelectorAll("[data-numbers]")) numbers(block);
  }

  function numbers(block) {
    while (block.children.length > 1) block.lastChild.remove();
    if (block.open && tables[block.dataset.numbers]) block.append(tables[block.dataset.numbers]());
  }

  for (const block of document.querySelectorAll("[data-numbers]")) block.addEventListener("toggle", () => numbers(block));
  $("setting").addEventListener("change", pictures);
  $("metric").addEventListener("change", () => {
    metric = +$("metric").value;
    fill();
    sort();
    filter();
    if (window.Plotly) heat();
  });
  $("theme").addEventListener("click", () => {
    document.documentElement.dataset.theme = dark() ? "light" : "dark";
    pictures();
  });

  fill();
  sort();
  const library = make("script");
  library.textContent = await unpack("plotly");
  document.head.append(library);
  pictures();
  $("heat").on("plotly_click", ({ points: [point] }) => detail(point.y, point.x));
  document.documentElement.dataset.ready = "";
})();
