// ---- Details of the runs behind a number ------------------------------------------------------------------------------
const shown = (x, unit = "") => (x === null ? "-" : `${x}${unit}`);

function show(title, ...parts) {
  $("detail-title").textContent = title;
  $("detail-body").replaceChildren(...parts);
  if (!$("detail").open) $("detail").showModal();
  $("detail").scrollTop = 0;
}

function details(run) {
  const lines = (numbers, between = "\n") => numbers.map((i) => data.pool[i]).join(between);
  const block = make("details"), command = lines(run.command, "");
  const result = run.error ? "failed" : shown(run.values[view.metric], " %");
  block.append(make("summary", `seed ${run.seed}: ${result}, run ${run.id}`));
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

function showRuns({ method, setting }) {
  const runs = data.runs.filter((run) => run.method === data.methods[method] && run.setting === data.settings[setting]);
  const numbers = runs.map((run) => [run.seed, ...run.values, run.upload_mb, run.seconds]);
  const head = ["seed", ...data.metrics.map(({ title }) => title), "MB uploaded", "seconds"];
  const blocks = runs.map(details), own = score(method, setting);
  if (runs.length === 1) blocks[0].open = true;
  const mean = own.mean === null ? own.text : `${own.text} ${own.spread}`.trim(), bounds = interval(own);
  const summary = `${metric().title}: ${mean} %${bounds && `, ${bounds}`}; ${runs.length} run${runs.length === 1 ? "" : "s"}.`;
  show(
    `${data.methods[method]} in ${data.settings[setting]}`,
    make("p", own.mean === null ? `${metric().title}: ${mean}; ${runs.length} runs.` : summary), table({ head, rows: numbers }), ...blocks,
  );
}

const hasRuns = (method, setting) => data.runs.some((run) => run.method === data.methods[method] && run.setting === data.settings[setting]);

function openRuns(method, setting) {
  if (hasRuns(method, setting)) change(() => { view.open = { method, setting }; });
}

$("board").addEventListener("click", (event) => {
  const found = event.target.closest(".open")?.closest("td");
  if (found) openRuns(methodOf(found.parentNode), found.cellIndex - SETTINGS);
});
$("detail").addEventListener("close", () => { if (view.open) change(() => { view.open = null; }); });
