// Sorting tables: a button in each column head; again reverses, a third time restores the order.
"use strict";

const ORDERS = ["none", "ascending", "descending"];

function key(row, column) {
  const cell = row.cells[column];
  return cell.dataset.key ?? cell.textContent.trim();
}

function compare(a, b) {
  const [x, y] = [Number(a), Number(b)];
  return Number.isNaN(x) || Number.isNaN(y) ? a.localeCompare(b, "en", { numeric: true }) : x - y;
}

function sort(button) {
  const head = button.closest("th");
  const table = head.closest("table");
  const body = table.tBodies[0];
  // Numbers start with the largest.
  const cycle = head.classList.contains("num") ? [0, 2, 1] : [0, 1, 2];
  const now = cycle.indexOf(ORDERS.indexOf(head.ariaSort));
  const order = ORDERS[cycle[(now + 1) % 3]];
  for (const other of table.tHead.rows[0].cells) other.ariaSort = "none";
  head.ariaSort = order;

  const rows = [...body.rows];
  rows.forEach((row, position) => (row.dataset.position ??= position));
  const sign = order === "descending" ? -1 : 1;
  rows.sort((a, b) => {
    const before = a.dataset.position - b.dataset.position;
    if (order === "none") return before;
    const [x, y] = [key(a, head.cellIndex), key(b, head.cellIndex)];
    // What is missing stays at the bottom.
    if (x === "" || y === "") return (x === "") - (y === "") || before;
    return sign * compare(x, y) || before;
  });
  body.append(...rows);
  const by = order === "none" ? "in the original order" : `sorted by ${button.textContent}, ${order}`;
  document.getElementById("status").textContent = `Table ${by}`;
}

document.addEventListener("click", (event) => {
  const button = event.target.closest("thead button");
  if (button) sort(button);
});
