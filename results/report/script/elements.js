// ---- Elements and data ------------------------------------------------------------------------------------------------
const $ = (id) => document.getElementById(id);
const make = (tag, text, attributes = {}) => {
  const element = Object.assign(document.createElement(tag), attributes);
  if (text !== undefined) element.textContent = text; // never as HTML: records may contain markup
  return element;
};
const say = (text) => { $("said").textContent = text; };

async function unpack(id) {
  const bytes = Uint8Array.from(atob($(id).textContent), (c) => c.charCodeAt(0));
  return new Response(new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"))).text();
}

const data = JSON.parse(await unpack("data"));
const ALL = data.settings.length; // the place of the mean over settings among the scores of a method

// What is shown; the address holds it, too.
const view = {};
const metric = () => data.metrics[view.metric];
const inWords = (source) => `${source.title} (%)`;

// A score of Python's `scores.Score`; the ends of a list may be missing.
function score(method, column) {
  const [mean, text, spread = "", low = null, high = null, level = null, marks = ""] = data.scores[view.metric][method][column];
  return { mean, text, spread, low, high, level, marks };
}

const interval = ({ low, high, level }) => (low === null ? "" : `interval ${low.toFixed(1)} to ${high.toFixed(1)} (${level} %)`);

const isScore = (x) => x !== null && typeof x === "object";
const plain = (x) => (x === null ? "-" : isScore(x) ? `${x.text} ${x.spread}`.trim() : String(x));

function table({ head, rows }) {
  const built = make("table"), top = built.createTHead().insertRow(), body = built.createTBody();
  for (const title of head) top.append(make("th", title, { scope: "col" }));
  for (const line of rows) {
    const row = body.insertRow();
    line.forEach((x, i) => row.append(make(i ? "td" : "th", plain(x), { className: i ? "number" : "" })));
    row.cells[0].scope = "row";
  }
  const scroll = make("div", undefined, { className: "scroll", tabIndex: 0, role: "region", ariaLabel: "Table, scrolls sideways" });
  scroll.append(built);
  return scroll;
}
