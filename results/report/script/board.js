// ---- Leaderboard: one table body per metric, one of them in the page --------------------------------------------------
const TEXTS = 3, OVERALL = 3, SETTINGS = 4; // the first columns hold text; settings begin at column 4
const bodies = [...$("board").tBodies], [titles, filterRow] = $("board").tHead.rows;
const headings = [...titles.cells], filters = [...filterRow.cells].map((cell) => cell.firstElementChild);
const columns = headings.map((heading) => heading.textContent.trim());
for (const body of bodies.slice(1)) body.remove();

const rows = () => [...$("board").tBodies[0].rows];
const shownRows = () => rows().filter((row) => !row.hidden);
const methodOf = (row) => +row.dataset.row;
const shownMethods = () => shownRows().map(methodOf); // in the order of the table
const shownSettings = () => data.settings.map((_, place) => place).filter((place) => !view.hidden.has(SETTINGS + place));

// The place among the scores of a method of a column, -1 for other columns.
const scoreOf = (column) => (column === OVERALL ? ALL : column >= SETTINGS && column < SETTINGS + ALL ? column - SETTINGS : -1);

function cell(row, column) {
  const text = row.cells[column].textContent.trim().toLowerCase(), number = parseFloat(text);
  return { text, number: Number.isNaN(number) ? null : number };
}

function value(row, column) {
  const { textContent, dataset } = row.cells[column];
  return column < TEXTS ? textContent.toLowerCase() : dataset.value === undefined ? null : +dataset.value;
}

function sortRows() {
  const { column, direction } = view.sort;
  const sorted = rows().sort((a, b) => {
    const x = value(a, column), y = value(b, column);
    if (x === null || y === null) return (x === null) - (y === null); // rows without a value are always last
    return direction * (x < y ? -1 : x > y ? 1 : 0) || methodOf(a) - methodOf(b);
  });
  $("board").tBodies[0].append(...sorted);
  headings.forEach((heading) => heading.removeAttribute("aria-sort"));
  headings[column].setAttribute("aria-sort", direction > 0 ? "ascending" : "descending");
}

function filterRows() {
  const read = filters.map((input, column) => readFilter(view.filters[column], column >= TEXTS));
  const wrong = read.map(({ error }, column) => error && `Filter of ${columns[column]}: ${error}. It is not applied.`);
  filters.forEach((input, column) => {
    if (input.value !== view.filters[column]) input.value = view.filters[column];
    if (wrong[column]) input.setAttribute("aria-invalid", "true");
    else input.removeAttribute("aria-invalid");
  });
  const message = wrong.filter(Boolean).join(" ");
  if ($("filter-error").textContent !== message) $("filter-error").textContent = message;
  for (const row of rows()) {
    row.hidden = !read.every(({ passes }, column) => !passes || passes(cell(row, column)));
  }
  const left = shownRows().length, all = data.methods.length;
  $("count").textContent = left === all ? `${all} methods` : left ? `${left} of ${all} methods` : "No method passes the filters";
  $("clear").hidden = !view.filters.some(Boolean);
}

function showColumns() {
  headings.forEach((_, column) => {
    for (const row of [titles, filterRow, ...rows()]) row.cells[column].hidden = view.hidden.has(column);
    if (column) $(`column-${column}`).checked = !view.hidden.has(column);
  });
}

function describeScores() {
  for (const row of rows()) {
    headings.forEach((_, column) => {
      const place = scoreOf(column), text = place < 0 ? "" : interval(score(methodOf(row), place));
      if (text) (row.cells[column].firstElementChild ?? row.cells[column]).title = text;
    });
  }
}

function showBoard() {
  const body = bodies[view.metric];
  body.hidden = false;
  $("board").tBodies[0].replaceWith(body);
  $("metric").value = view.metric;
  if (!body.dataset.described) describeScores();
  body.dataset.described = "yes";
  sortRows();
  filterRows();
  showColumns();
}

columns.forEach((name, column) => {
  if (!column) return; // every row needs its name
  const label = make("label"), box = make("input", undefined, { type: "checkbox", id: `column-${column}` });
  label.append(box, ` ${name}`);
  box.addEventListener("change", () => change(() => {
    if (box.checked) view.hidden.delete(column);
    else view.hidden.add(column);
    if (!box.checked) view.filters[column] = "";
  }));
  $("columns").append(label);
});
headings.forEach((heading, column) => heading.addEventListener("click", () => change(() => {
  const first = column < TEXTS ? 1 : -1;
  view.sort = { column, direction: column === view.sort.column ? -view.sort.direction : first };
})));
filters.forEach((input, column) => input.addEventListener("input", () => change(() => {
  view.filters[column] = input.value;
}, `filter ${column}`)));
$("clear").addEventListener("click", () => {
  change(() => { view.filters = columns.map(() => ""); });
  filters[0].focus();
});
