// ---- Formats of a grid { head, rows, notes }: cells are texts, numbers, null, or scores -----------------------
const TIED = "†"; // "~" of the page, as `bench table` writes it
const marksOf = ({ marks = "" }) => marks.replace("*", "").replace("~", TIED);

// A spreadsheet executes texts that begin so.
const forSpreadsheet = (text) => (/^\s*[=+\-@]/.test(text) && !Number.isFinite(Number(text)) ? `'${text}` : text);
const csvCell = (x) => {
  const text = x === null || x === "-" ? "" : forSpreadsheet(String(x));
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
};

// A score has columns of its own for its deviation and its interval.
function csv({ head, rows }) {
  const isWide = head.map((_, i) => rows.some((row) => isScore(row[i])));
  const hasStd = head.map((_, i) => rows.some((row) => isScore(row[i]) && row[i].spread.startsWith("±")));
  const widened = (i, all) => (isWide[i] ? [all[0], ...(hasStd[i] ? [all[1]] : []), all[2], all[3]] : [all[0]]);
  const names = head.flatMap((name, i) => widened(i, [name, `${name} std`, `${name} low`, `${name} high`]));
  const lines = rows.map((row) => row.flatMap((x, i) => {
    if (!isScore(x)) return widened(i, [x, null, null, null]);
    return widened(i, [x.text, x.spread.replace("±", ""), x.low?.toFixed(1) ?? null, x.high?.toFixed(1) ?? null]);
  }));
  return [names, ...lines].map((line) => line.map(csvCell).join(",")).join("\r\n") + "\r\n";
}

function markdown({ head, rows, notes }) {
  const escaped = (text) => text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;").replaceAll("|", "\\|");
  const entry = (x) => {
    if (!isScore(x)) return escaped(plain(x));
    return `${x.marks?.includes("*") ? `**${x.text}**` : x.text}${marksOf(x)} ${x.spread}`.trim();
  };
  const lines = [head.map(escaped), ["---", ...head.slice(1).map(() => "---:")], ...rows.map((row) => row.map(entry))];
  return [...lines.map((line) => `| ${line.join(" | ")} |`), "", ...notes.map((note) => `${escaped(note)}  `), ""].join("\n");
}

const LATEX = {
  "\\": "\\textbackslash{}", "~": "\\textasciitilde{}", "^": "\\textasciicircum{}", "±": "$\\pm$", "†": "\\dag{}",
  "↓": "$\\downarrow$", "↗": "$\\nearrow$", "<": "\\textless{}", ">": "\\textgreater{}", "|": "\\textbar{}",
};

function latex({ head, rows, notes }) {
  const escaped = (text) => text.replace(/[\\~^±†↓↗<>|&%$#_{}]/g, (c) => LATEX[c] ?? `\\${c}`);
  const entry = (x) => {
    if (!isScore(x)) return escaped(plain(x));
    const bold = x.marks?.includes("*") ? `\\textbf{${x.text}}` : escaped(x.text), marks = escaped(marksOf(x));
    return `${bold}${marks && `\\textsuperscript{${marks}}`} ${escaped(x.spread)}`.trim();
  };
  return [
    "% needs \\usepackage{booktabs,graphicx}", "\\begin{table}", "\\centering",
    `\\caption{${notes.map((note) => `${escaped(note)}.`).join(" ")}}`,
    "\\resizebox{\\ifdim\\width>\\linewidth\\linewidth\\else\\width\\fi}{!}{%",
    `\\begin{tabular}{l${"r".repeat(head.length - 1)}}`, "\\toprule", `${head.map(escaped).join(" & ")} \\\\`, "\\midrule",
    ...rows.map((row) => `${row.map(entry).join(" & ")} \\\\`), "\\bottomrule", "\\end{tabular}}", "\\end{table}", "",
  ].join("\n");
}

const FORMATS = {
  csv: { write: csv, title: "CSV", type: "text/csv" },
  md: { write: markdown, title: "Markdown", type: "text/markdown" },
  tex: { write: latex, title: "LaTeX", type: "text/x-tex" },
};
