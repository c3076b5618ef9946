// ---- Filters: text, wildcards and bounds; "," or "|" separates alternatives -------------------------------------------
const BOUND = /^(>=|<=|>|<|=)\s*(.*)$/;
const COMPARE = {
  ">=": (x, y) => x >= y, "<=": (x, y) => x <= y, ">": (x, y) => x > y, "<": (x, y) => x < y, "=": (x, y) => x === y,
};

// The test of a cell { text, number }, or { error }. Numbers are compared as they are shown.
function alternative(word, numeric) {
  const bound = word.match(BOUND);
  if (bound && numeric) {
    const text = bound[2].replace(/\s*%$/, ""), limit = text === "" ? NaN : Number(text);
    if (!Number.isFinite(limit)) return { error: text ? `"${text}" is not a number` : `a number is missing after ${bound[1]}` };
    return { passes: ({ number }) => number !== null && COMPARE[bound[1]](number, limit) };
  }
  if (bound && bound[1] !== "=") return { error: `${bound[1]} is for columns of numbers` };
  if (bound) return { passes: ({ text }) => text === bound[2] };
  if (word.includes("*")) {
    const parts = word.split(/\*+/).map((part) => part.replace(/[.*+?^${}()|[\]\\]/g, "\\$&"));
    const pattern = new RegExp(`^${parts.join(".*")}$`, "s");
    return { passes: ({ text }) => pattern.test(text) };
  }
  return { passes: ({ text }) => text.includes(word) };
}

function readFilter(text, numeric) {
  const words = text.toLowerCase().split(/[,|]/).map((word) => word.trim()).filter(Boolean);
  const tests = words.map((word) => alternative(word, numeric)), wrong = tests.find((test) => test.error);
  if (wrong) return wrong;
  return { passes: (cell) => !tests.length || tests.some((test) => test.passes(cell)) };
}
