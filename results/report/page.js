"use strict";
(async () => {
  const $ = (id) => document.getElementById(id);
  const make = (tag, text, attributes = {}) => {
    const element = Object.assign(document.createElement(tag), attributes);
    if (text !== undefined) element.textContent = text; // never as HTML: records may contain markup
    return element;
  };

  async function unpack(id) {
    const bytes = Uint8Array.from(atob($(id).textContent), (c) => c.charCodeAt(0));
    return new Response(new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"))).text();
  }

  const data = JSON.parse(await unpack("data"));

  // ---- Leaderboard: one table body per metric, one of them in the page ----------------------------------------------
  const TEXTS = 3, SETTINGS = 4; // the first columns hold text; settings begin at column 4
  const bodies = [...$("board").tBodies], headings = [...$("board").tHead.rows[0].cells];
  const filters = [...$("board").tHead.rows[1].cells].map((cell) => cell.firstChild);
  let sorted = SETTINGS - 1, direction = -1;

  function value(row, column) {
    const { textContent, dataset } = row.cells[column];
    return column < TEXTS ? textContent.toLowerCase() : dataset.value === undefined ? null : +dataset.value;
  }

  function sort() {
    const rows = [...$("board").tBodies[0].rows].sort((a, b) => {
      const x = value(a, sorted), y = value(b, sorted);
      if (x === null || y === null) return (x === null) - (y === null); // rows without a value are always last
      return direction * (x < y ? -1 : x > y ? 1 : 0);
    });
    $("board").tBodies[0].append(...rows);
    headings.forEach((heading) => heading.removeAttribute("aria-sort"));
    headings[sorted].setAttribute("aria-sort", direction > 0 ? "ascending" : "descending");
  }

  function passes(row, column, wanted) {
    const bound = wanted.match(/^([<>])\s*(-?[\d.]+)$/), found = value(row, column);
    if (!bound || column < TEXTS) return row.cells[column].textContent.toLowerCase().includes(wanted);
    return found !== null && (bound[1] === ">" ? found > +bound[2] : found < +bound[2]);
  }

  function filter() {
    const wanted = filters.map((input) => input.value.trim().toLowerCase()), rows = [...$("board").tBodies[0].rows];
    for (const row of rows) row.hidden = !wanted.every((text, column) => !text || passes(row, column, text));
    const left = rows.filter((row) => !row.hidden).length;
    $("count").textContent = left === rows.length ? `${left} methods` : `${left} of ${rows.length} methods`;
  }

  function showBoard() {
    const body = bodies[+$("metric").value];
    body.hidden = false;
    $("board").tBodies[0].replaceWith(body);
    sort();
    filter();
  }

  for (const body of bodies.slice(1)) body.remove();
  headings.forEach((heading, column) => heading.addEventListener("click", () => {
    direction = column === sorted ? -direction : column < TEXTS ? 1 : -1;
    sorted = column;
    sort();
  }));
  filters.forEach((input) => input.addEventListener("input", filter));

  // ---- Details of the runs behind a number ----------------------------------------------------------------------------
  const shown = (x, unit = "") => (x === null ? "-" : `${x}${unit}`);

  function table([titles, ...lines]) {
    const built = make("table"), top = built.createTHead().insertRow(), body = built.createTBody();
    for (const title of titles) top.append(make("th", title, { scope: "col" }));
    for (const line of lines) {
      const row = body.insertRow();
      line.forEach((x, i) => row.append(make(i ? "td" : "th", shown(x), { className: i ? "number" : "" })));
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
      return false; // forbidden by the browser
    }
  }

  function copyButton(text) {
    const button = make("button", "Copy", { type: "button" });
    button.addEventListener("click", async () => {
      button.textContent = (await copy(text)) ? "Copied" : "Cannot copy: select the text instead";
    });
    return button;
  }

  function open(title, ...parts) {
    $("detail-title").textContent = title;
    $("detail-body").replaceChildren(...parts);
    $("detail").showModal();
    $("detail").scrollTop = 0;
  }

  function details(run) {
    const lines = (numbers, between = "\n") => numbers.map((i) => data.pool[i]).join(between);
    const block = make("details"), command = lines(run.command, "");
    block.append(make("summary", `seed ${run.seed}: ${run.error ? "failed" : shown(run.values[0], " %")}, run ${run.id}`));
    if (run.error) block.append(make("h3", "Error"), make("pre", run.error));
    block.append(make("h3", "Command"), make("pre", command), copyButton(command));
    for (const [title, text] of [
      ["Configuration", lines(run.config)],
      ["Environment", lines(run.environment)],
      ["Known differences from the paper", lines(run.deviations)],
      ["Log", run.log],
    ]) if (text) block.append(make("h3", title), make("pre", text, { tabIndex: 0 }));
    return block;
  }

  function openRuns(row, column) {
    const method = data.methods[row], setting = data.settings[column];
    const runs = data.runs.filter((run) => run.method === method && run.setting === setting);
    if (!runs.length) return;
    const numbers = runs.map((run) => [run.seed, ...run.values, run.upload_mb, run.seconds]);
    const blocks = runs.map(details);
    blocks[0].open = runs.length === 1;
    open(`${method} in ${setting}`, table([["seed", ...data.metrics, "MB uploaded", "seconds"], ...numbers]), ...blocks);
  }

  $("board").addEventListener("click", (event) => {
    const cell = event.target.closest(".open")?.closest("td");
    if (cell) openRuns(+cell.parentNode.dataset.row, cell.cellIndex - SETTINGS);
  });
  $("latex").addEventListener("click", async () => {
    const area = make("textarea", data.latex, { readOnly: true, ariaLabel: "The table as LaTeX" });
    const done = await copy(data.latex);
    open("The table as LaTeX", make("p", done ? "Copied." : "Cannot copy: select the text instead."), area);
    area.select();
  });

  // ---- Charts: built in Python; here they get the page's theme and width ----------------------------------------------
  const CHARTS = ["curves", "clients", "costs", "partition"];
  const dark = () => document.documentElement.dataset.theme
    ? document.documentElement.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  const chart = (id) => (id === "heat" ? data.heat[+$("metric").value] : data[id][$("setting").value]);

  function draw(id) {
    const narrow = innerWidth < 640, { data: traces, layout } = structuredClone(chart(id) ?? { data: [], layout: {} });
    if (id === "heat" && narrow) { // vertical labels, or none where they would overlap
      Object.assign(layout.xaxis, { tickangle: 90, showticklabels: data.settings.length <= 10 });
    }
    return Plotly.react(id, traces, {
      template: data.templates[dark() ? "dark" : "light"], height: narrow ? 560 : 460, dragmode: narrow ? false : "zoom",
      legend: narrow ? { orientation: "h", y: -0.25 } : {}, ...layout,
    }, { responsive: true, displaylogo: false, displayModeBar: false });
  }

  function numbers(block) {
    while (block.children.length > 1) block.lastChild.remove();
    if (block.open && chart(block.dataset.numbers)) block.append(table(chart(block.dataset.numbers).table));
  }

  function drawAll(ids) {
    if (window.Plotly) ids.forEach(draw);
    document.querySelectorAll("[data-numbers]").forEach(numbers);
  }

  for (const block of document.querySelectorAll("[data-numbers]")) block.addEventListener("toggle", () => numbers(block));
  $("setting").addEventListener("change", () => drawAll(CHARTS));
  $("metric").addEventListener("change", () => {
    showBoard();
    drawAll(["heat"]);
  });
  $("theme").addEventListener("click", () => {
    document.documentElement.dataset.theme = dark() ? "light" : "dark";
    drawAll(["heat", ...CHARTS]);
  });

  showBoard();
  const library = make("script");
  library.textContent = await unpack("plotly");
  document.head.append(library);
  drawAll(["heat", ...CHARTS]);
  $("heat").on("plotly_click", ({ points: [point] }) => openRuns(...point.pointIndex));
  document.documentElement.dataset.ready = "";
})();
