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
