// Everything works without this file except sorting, filtering, comparing and the copy buttons.
"use strict";
(() => {
  const root = document.documentElement;
  const store = {
    get(key) { try { return localStorage.getItem(key); } catch { return null; } },
    set(key, value) { try { localStorage.setItem(key, value); } catch { /* private mode */ } },
  };

  // Theme: what the system says, until somebody presses the button.
  const theme = document.querySelector(".theme");
  if (theme) {
    theme.hidden = false;
    theme.addEventListener("click", () => {
      const dark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
      root.dataset.theme = dark ? "light" : "dark";
      store.set("mien-theme", root.dataset.theme);
    });
  }

  for (const button of document.querySelectorAll(".copy")) {
    button.hidden = false;
    button.addEventListener("click", async () => {
      const source = button.parentElement.querySelector("pre");
      let done = true;
      try { await navigator.clipboard.writeText(source.textContent); }
      catch {
        const range = document.createRange();
        range.selectNodeContents(source);
        getSelection().removeAllRanges();
        getSelection().addRange(range);
        try { done = document.execCommand("copy"); } catch { done = false; }
      }
      button.textContent = done ? "Copied" : "Selected";
      setTimeout(() => { button.textContent = "Copy"; }, 1600);
    });
  }

  const table = document.querySelector("table.board");
  const source = document.getElementById("board-data");
  if (!table || !source) return;
  const sent = JSON.parse(source.textContent);
  const { columns, labels, file } = sent;
  const data = sent.rows.map((values) => Object.fromEntries(sent.fields.map((name, at) => [name, values[at]])));
  for (const row of data) row.text = [row.name, row.system, row.paper, ...row.authors, ...row.extra_data, row.year].filter(Boolean).join(" ").toLowerCase();
  const pairs = sent.pairs.map(([better, worse, difference, low, high, adjusted, test]) =>
    ({ better: sent.systems[better], worse: sent.systems[worse], difference, low, high, adjusted, test: sent.tests[test] }));
  const byKey = new Map(data.map((row) => [row.key, row]));
  const body = table.tBodies[0];
  const lines = [...body.rows];
  for (const line of lines) {
    line.dataset.key = line.id.slice(4);
    const box = Object.assign(document.createElement("input"), { type: "checkbox", ariaLabel: `Compare ${byKey.get(line.dataset.key).name}` });
    line.cells[0].className = "pick";
    line.cells[0].append(box);
  }
  const tools = document.querySelector(".tools");
  const count = document.querySelector(".count");
  const empty = document.querySelector(".empty");
  tools.hidden = false;

  // Sorting: what is unknown comes last in either direction.
  const last = (a, b, up) => (a == null || a === "" ? (b == null || b === "" ? 0 : 1) : b == null || b === "" ? -1 : up ? (a < b ? -1 : a > b ? 1 : 0) : (a > b ? -1 : a < b ? 1 : 0));
  const accuracy = (up) => (a, b) => last(a.measured, b.measured, up) || last(a.claimed, b.claimed, up);
  const orders = {
    "measured-down": accuracy(false),
    "measured-up": accuracy(true),
    "claimed-down": (a, b) => last(a.claimed, b.claimed, false),
    "claimed-up": (a, b) => last(a.claimed, b.claimed, true),
    "date-down": (a, b) => last(a.date, b.date, false) || last(a.year, b.year, false),
    "date-up": (a, b) => last(a.date, b.date, true) || last(a.year, b.year, true),
    "name-up": (a, b) => a.name.localeCompare(b.name, "en", { sensitivity: "base" }),
    "name-down": (a, b) => b.name.localeCompare(a.name, "en", { sensitivity: "base" }),
  };
  const field = (name) => tools.elements.namedItem(name);

  function update() {
    const order = field("sort").value;
    const wanted = field("view").value;
    const words = field("search").value.trim().toLowerCase();
    const from = Number(field("from").value) || -Infinity;
    const most = Number(field("size").value) || Infinity;
    const shown = [];
    for (const line of lines) {
      const row = byKey.get(line.dataset.key);
      const hit = (wanted === "headline" ? !row.further : row.measured != null && (wanted === "all" || row.view === wanted))
        && (!field("hide-extra").checked || row.extra_data.length === 0)
        && (!field("only-measured").checked || row.measured != null)
        && (from === -Infinity || (row.year != null && row.year >= from))
        && (most === Infinity || (row.parameters != null && row.parameters <= most))
        && (!words || row.text.includes(words));
      line.hidden = !hit;
      if (hit) shown.push(line);
    }
    const compare = orders[order] || orders["measured-down"];
    lines.sort((a, b) => compare(byKey.get(a.dataset.key), byKey.get(b.dataset.key)) || a.dataset.at - b.dataset.at);
    body.append(...lines);
    for (const head of table.tHead.querySelectorAll("th[data-sort]")) {
      const [key, way] = order.split("-");
      if (head.dataset.sort === key) head.setAttribute("aria-sort", way === "up" ? "ascending" : "descending");
      else head.setAttribute("aria-sort", "none");
    }
    empty.hidden = shown.length > 0;
    count.textContent = `${shown.length} of ${data.filter((row) => !row.further).length}` + (shown.length === 1 ? " row" : " rows");
    return shown;
  }
  lines.forEach((line, at) => { line.dataset.at = at; });
  tools.addEventListener("input", update);
  tools.addEventListener("change", update);
  tools.addEventListener("submit", (event) => event.preventDefault());
  tools.addEventListener("reset", () => setTimeout(update));
  for (const head of table.tHead.querySelectorAll("th[data-sort] button")) {
    head.addEventListener("click", () => {
      const key = head.parentElement.dataset.sort;
      const first = key === "name" ? "up" : "down";
      const other = first === "up" ? "down" : "up";
      const value = field("sort").value === `${key}-${first}` ? `${key}-${other}` : `${key}-${first}`;
      if (![...field("sort").options].some((option) => option.value === value)) field("sort").add(new Option("Model name (Z→A)", value));
      field("sort").value = value;
      update();
    });
  }
  const protocol = field("protocol");
  if (protocol) protocol.addEventListener("change", () => { location.href = protocol.value; });

  // CSV of what is shown. A cell that a spreadsheet would take for a formula is kept a text.
  const cell = (value) => {
    let text = value == null ? "" : Array.isArray(value) ? value.join("; ") : String(value);
    if (typeof value !== "number" && /^[=+\-@\t\r]/.test(text)) text = `'${text}`;
    return /[",\n\r]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
  };
  document.getElementById("csv").addEventListener("click", () => {
    const chosen = update().map((line) => byKey.get(line.dataset.key));
    const value = (row, column) => (column.startsWith("recall_") ? row.recall?.[column.slice(7)] : row[column]);
    const text = [columns, ...chosen.map((row) => columns.map((column) => value(row, column)))].map((line) => line.map(cell).join(",")).join("\r\n");
    const anchor = document.createElement("a");
    anchor.href = URL.createObjectURL(new Blob(["\ufeff", text, "\r\n"], { type: "text/csv;charset=utf-8" }));
    anchor.download = `${file}.csv`;
    anchor.click();
    setTimeout(() => URL.revokeObjectURL(anchor.href), 10000);
  });

  // Compare two rows; the choice is part of the address, so that a comparison can be passed on.
  const bar = document.querySelector(".comparebar");
  const dialog = document.getElementById("compare");
  let chosen = [];
  function choose(keys) {
    chosen = keys.filter((key) => byKey.has(key)).slice(-2);
    for (const line of lines) {
      const box = line.querySelector(".pick input");
      box.checked = chosen.includes(line.dataset.key);
      line.classList.toggle("chosen", box.checked);
    }
    bar.hidden = chosen.length === 0;
    bar.querySelector("span").textContent = chosen.length === 1 ? `${byKey.get(chosen[0]).name} and … pick another` : chosen.map((key) => byKey.get(key).name).join(" and ");
    bar.querySelector(".open").disabled = chosen.length < 2;
  }
  body.addEventListener("change", (event) => {
    const line = event.target.closest("tr");
    if (!event.target.matches(".pick input")) return;
    choose(event.target.checked ? [...chosen, line.dataset.key] : chosen.filter((key) => key !== line.dataset.key));
  });
  const element = (name, text, attributes = {}) => {
    const made = document.createElement(name);
    made.textContent = text;
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    return made;
  };
  const percent = (value) => (value == null ? "–" : `${(100 * value).toFixed(1)} %`);
  const decimal = (value) => (value == null ? "–" : value.toFixed(3));
  const large = (value) => (value == null ? "–" : Math.round(value).toLocaleString("en"));
  const list = (value) => (value.length ? value.join(", ") : "none");
  const fields = [
    ["Claimed accuracy", (r) => r.claimed, (v) => (v == null ? "–" : `${v.toFixed(2)} %`), 1],
    ["Measured accuracy", (r) => r.measured, percent, 1],
    ["95 % interval", (r) => (r.low == null ? null : `[${(100 * r.low).toFixed(1)}, ${(100 * r.high).toFixed(1)}]`), (v) => v ?? "–"],
    ["Rank", (r) => (r.rank_low == null ? null : r.rank_low === r.rank_high ? `${r.rank_low}` : `${r.rank_low}–${r.rank_high}`), (v) => v ?? "–"],
    ["clean@1", (r) => r.clean, percent, 1],
    ["Macro-F1", (r) => r.macro_f1, percent, 1],
    ["Balanced accuracy", (r) => r.balanced_accuracy, percent, 1],
    ["NLL", (r) => r.nll, decimal, -1],
    ["Brier", (r) => r.brier, decimal, -1],
    ["Calibration error (ECE)", (r) => r.ece, percent, -1],
    ...labels.map((label) => [`Recall of ${label}`, (r) => r.recall?.[label], percent, 1]),
    ["Parameters", (r) => r.parameters, large, -1],
    ["Multiply-accumulates", (r) => r.macs, large, -1],
    ["Faces per second", (r) => r.faces_per_second, large, 1],
    ["View", (r) => r.view, (v) => v || "–"],
    ["Extra data", (r) => r.extra_data, list],
    ["Split of the claim", (r) => r.split, (v) => v || "–"],
    ["Openings of the test split", (r) => r.openings, (v) => v ?? "–"],
    ["Date", (r) => r.date || r.year, (v) => v || "–"],
  ];
  function open() {
    const [a, b] = chosen.map((key) => byKey.get(key));
    const made = document.createElement("table");
    const head = made.createTHead().insertRow();
    head.append(element("th", ""), element("th", a.name, { scope: "col" }), element("th", b.name, { scope: "col" }));
    head.firstChild.append(element("span", "Measure", { class: "hidden" }));
    const rows = made.createTBody();
    for (const [name, get, show, better] of fields) {
      const [left, right] = [get(a), get(b)];
      if ((left == null || left === "") && (right == null || right === "")) continue;
      const line = rows.insertRow();
      line.append(element("th", name, { scope: "row" }));
      const win = better && left != null && right != null && left !== right ? (better * (left - right) > 0 ? 0 : 1) : -1;
      [left, right].forEach((value, at) => line.append(element("td", show(value), win === at ? { class: "better" } : {})));
    }
    const pair = pairs.find((p) => (p.better === a.system && p.worse === b.system) || (p.better === b.system && p.worse === a.system));
    let said = "Only one of the two, or none, was measured here, so nothing says which is better: a claim and a result are not compared.";
    if (pair && !a.further && !b.further) {
      const name = pair.better === a.system ? a.name : b.name;
      said = `${name} is right on ${(100 * pair.difference).toFixed(1)} of 100 faces more [${(100 * pair.low).toFixed(1)}, ${(100 * pair.high).toFixed(1)}]; ${pair.test}, p = ${pair.adjusted < 0.001 ? "below 0.001" : pair.adjusted.toFixed(3)} after Holm over all pairs: ${pair.adjusted < 0.05 ? "more than chance" : "these faces do not show which is better"}.`;
    } else if (a.measured != null && b.measured != null) said = "Only the headline results of two systems are tested against each other; see `mien compare` for any other pair.";
    dialog.querySelector(".dialogbody").replaceChildren(element("p", said), made);
    if (!dialog.open) dialog.showModal();
    history.replaceState(null, "", `#compare=${chosen.map(encodeURIComponent).join(",")}`);
  }
  bar.querySelector(".open").addEventListener("click", open);
  bar.querySelector(".clear").addEventListener("click", () => choose([]));
  dialog.querySelector(".close").addEventListener("click", () => dialog.close());
  dialog.addEventListener("click", (event) => { if (event.target === dialog) dialog.close(); });
  dialog.addEventListener("close", () => history.replaceState(null, "", location.pathname + location.search));

  choose([]);
  update();
  if (location.hash.startsWith("#compare=")) {
    choose(location.hash.slice(9).split(",").map(decodeURIComponent));
    if (chosen.length === 2) open();
  }
})();
