// A click on a column's name sorts the table by it; another one turns the order round.
"use strict";

for (const table of document.querySelectorAll("table.sortable")) {
  const body = table.tBodies[0];
  table.tHead.addEventListener("click", (event) => {
    const head = event.target.closest("th");
    if (!head?.querySelector("button")) return;
    const rising = head.getAttribute("aria-sort") !== "ascending";
    for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", rising ? "ascending" : "descending");
    const cell = (row) => row.cells[head.cellIndex].textContent.trim();
    const known = (text) => text !== "" && text !== "n/a";
    const number = (text) => Number.parseFloat(text);
    const compare = (a, b) => (Number.isNaN(number(a)) || head.classList.contains("text") ? a.localeCompare(b, "en", { numeric: true }) : number(a) - number(b));
    const rows = [...body.rows].sort((one, two) => {
      const [a, b] = [cell(one), cell(two)];
      if (!known(a) || !known(b)) return known(b) - known(a); // what is not known comes last, whichever way
      return rising ? compare(a, b) : compare(b, a);
    });
    body.append(...rows);
  });
}
