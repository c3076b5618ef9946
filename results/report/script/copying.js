// ---- Copies and downloads of what is shown ----------------------------------------------------------------------------
function boardGrid() {
  const shown = columns.map((_, column) => column).filter((column) => !view.hidden.has(column));
  const lines = shownRows().map((row) => shown.map((column) => {
    const place = scoreOf(column);
    if (place < 0) return row.cells[column].textContent.trim();
    const found = score(methodOf(row), place);
    return found.mean === null ? found.text : found;
  }));
  const selected = data.methods.length === lines.length ? "" : `; ${lines.length} of ${data.methods.length} methods`;
  const about = `${data.name}: accuracy of ${metric().title} in percent, mean ±std over seeds${selected}`;
  const tilde = (note) => note.replace(/^~:/, `${TIED}:`);
  return { head: shown.map((column) => columns[column]), rows: lines, notes: [about, ...data.notes.map(tilde)] };
}

const GRIDS = { board: boardGrid }; // of each table that can be copied, by its `data-export`

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

function fileName(...parts) {
  return [data.name, ...parts].join("-").replace(/[^\w.()=-]+/g, "_").slice(0, 120);
}

function download(name, type, text) {
  const link = make("a", undefined, { href: URL.createObjectURL(new Blob([text], { type })), download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}

for (const block of document.querySelectorAll("[data-export]")) {
  const [choice, copying, downloading] = block.querySelectorAll("select, button"), what = block.dataset.export;
  const write = () => {
    const grid = GRIDS[what](), format = FORMATS[choice.value];
    return { text: format.write(grid), count: `${grid.rows.length} rows, ${grid.head.length} columns`, format };
  };
  copying.addEventListener("click", async () => {
    const { text, count, format } = write(), done = await copy(text);
    say(done ? `Copied as ${format.title}: ${count}` : "");
    if (done) return;
    const area = make("textarea", text, { readOnly: true, ariaLabel: `The table as ${format.title}` });
    show(`The table as ${format.title}`, make("p", "The browser does not allow copying: select the text instead."), area);
    area.select();
  });
  downloading.addEventListener("click", () => {
    const { text, count, format } = write(), parts = what === "partition" ? [view.setting] : [metric().id];
    download(`${fileName(what, ...parts)}.${choice.value}`, format.type, text);
    say(`Downloaded as ${format.title}: ${count}`);
  });
}

// Charts are drawn again for print: light, on white, without the methods that are only in the legend.
for (const button of document.querySelectorAll("[data-image]")) {
  button.addEventListener("click", async () => {
    const { chart, image } = button.dataset, { traces, layout } = figure(chart, "light", false);
    traces.forEach((trace, i) => {
      const now = $(chart).data?.[i]?.visible ?? trace.visible;
      trace.visible = now === "legendonly" ? false : now;
    });
    const legend = 60 + 20 * traces.filter(({ visible }) => visible).length; // a picture cannot scroll it
    const height = layout.height ?? Math.max(520, legend);
    Object.assign(layout, { paper_bgcolor: "#ffffff", plot_bgcolor: "#ffffff", width: 900, height });
    const name = fileName(chart, chart === "heat" ? metric().id : `${metric().id}-${view.setting}`);
    await Plotly.downloadImage({ data: traces, layout }, {
      format: image, filename: name, width: 900, height, scale: image === "png" ? 3 : 1,
    });
    say(`Downloaded as ${image.toUpperCase()}`);
  });
}
