"use strict";
// The main table sorts by any column. Rows without a value of a column stay last; the reading order of the file is by rank.
{
  const table = document.getElementById("main-table"), body = table.tBodies[0];
  const state = document.getElementById("sorted");
  const value = (row, key) => {
    const cell = row.querySelector('[data-col="' + key + '"]');
    return cell && cell.dataset.value ? Number(cell.dataset.value) : NaN;
  };
  const sort = (head, key, up) => {
    const rows = [...body.rows].map((row) => [value(row, key), row]);
    rows.sort(([a], [b]) => Number.isNaN(a) - Number.isNaN(b) || (up ? a - b : b - a) || 0);
    body.append(...rows.map(([, row]) => row));
    for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", up ? "ascending" : "descending");
    state.textContent = "Sorted by " + head.textContent.trim() + (up ? ", lowest first." : ", highest first.");
  };
  for (const head of table.tHead.rows[0].cells) {
    const key = head.dataset.sort;
    if (!key) continue;
    const button = document.createElement("button"), low = head.dataset.low === "better";
    button.type = "button";
    button.className = "sort";
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      const now = head.getAttribute("aria-sort");
      sort(head, key, now ? now === "descending" : low);
    });
  }
  const total = table.querySelector('th[data-sort="total"]');
  if (total) total.setAttribute("aria-sort", "descending");
}

// Two chosen rows, measure by measure: every number comes from the record of pairs, nothing is computed but its sign.
if (document.getElementById("pair-a")) {
  const data = JSON.parse(document.getElementById("pair-data").textContent);
  const one = document.getElementById("pair-a"), other = document.getElementById("pair-b");
  const body = document.querySelector("#compare-table tbody");
  const found = new Map(data.pairs.map((pair) => [pair.slice(0, 3).join(" "), pair.slice(3)]));
  const difference = (a, b, measure) => {
    const same = found.get([a, b, measure].join(" ")), turned = found.get([b, a, measure].join(" "));
    if (same) return same;
    return turned && [-turned[0], -turned[2], -turned[1], ...turned.slice(3)];
  };
  const signed = (x, digits) => (x < 0 ? "" : "+") + x.toFixed(digits);
  const draw = (name, facts) => {
    const element = document.createElementNS("http://www.w3.org/2000/svg", name);
    for (const [key, value] of Object.entries(facts)) element.setAttribute(key, value);
    return element;
  };
  const plot = ([mean, low, high, p], reach) => {
    const at = (x) => 150 + 145 * x / reach;
    const svg = draw("svg", { viewBox: "0 0 300 16", width: 300, height: 16, "aria-hidden": "true" });
    svg.append(draw("line", { x1: 150, x2: 150, y1: 0, y2: 16, class: "zero" }),
      draw("line", { x1: at(low), x2: at(high), y1: 8, y2: 8, class: "span" }),
      draw("circle", { cx: at(mean), cy: 8, r: 4, class: p < 0.05 ? "differs" : "tie" }));
    return svg;
  };
  const show = () => {
    const lines = Object.entries(data.metrics)
      .map(([key, title]) => [title, difference(one.value, other.value, key)]).filter(([, line]) => line);
    const reach = Math.max(0.1, ...lines.flatMap(([, [, low, high]]) => [Math.abs(low), Math.abs(high)]));
    body.replaceChildren(...lines.map(([title, line]) => {
      const row = document.createElement("tr"), [mean, low, high, p, prompts, found] = line;
      const cells = [title, signed(mean, 2), "", p < 0.001 ? "< 0.001" : p.toFixed(3), found === null ? "-" : found.toFixed(2), prompts];
      row.append(...cells.map((text, place) => {
        const cell = document.createElement(place ? "td" : "th");
        if (!place) cell.scope = "row";
        cell.textContent = text;
        return cell;
      }));
      const small = document.createElement("small");
      small.textContent = signed(low, 1) + " to " + signed(high, 1);
      row.cells[1].append(small);
      row.cells[2].append(plot(line, reach));
      return row;
    }));
    const needed = data.needed[one.value + " " + other.value] || data.needed[other.value + " " + one.value] || [];
    const amount = (count, noun) => count === null ? "no number of " + noun + "s" : numbered(count, noun);
    document.getElementById("pair-power").textContent = needed.map(([points, prompts, seeds]) => "A difference of "
      + numbered(points, "point") + " of " + data.metrics.total + " would need " + amount(prompts, "prompt") + " or " + amount(seeds, "seed") + " a prompt.").join(" ");
    if (!lines.length) {
      const row = body.insertRow(), cell = row.insertCell();
      cell.colSpan = 6;
      cell.className = "text";
      cell.textContent = one.value === other.value ? "Choose two different rows." : "These rows have no common prompts.";
    }
  };
  one.addEventListener("change", show);
  other.addEventListener("change", show);
  show();
}
