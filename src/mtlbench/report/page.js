"use strict";
// Sorting: a column's button sorts its table's rows by data-value, best first; again: worst first; again: as they were.
// Cells without a number stay last either way.
for (const table of document.querySelectorAll("table.sortable")) {
  const body = table.tBodies[0];
  const original = [...body.rows];
  const columnOf = (button) => {
    // The first and the last heading of a two-line head span both lines; those of the second line stand between them.
    const heading = button.closest("th");
    const lines = [...table.tHead.rows];
    if (lines.length === 1) return heading.cellIndex;
    if (heading.parentElement === lines[1]) return heading.cellIndex + 1;
    return heading.cellIndex === 0 ? 0 : original[0].cells.length - 1;
  };
  for (const button of table.tHead.querySelectorAll("button")) {
    button.addEventListener("click", () => {
      const heading = button.closest("th");
      const first = button.dataset.first;
      const second = first === "ascending" ? "descending" : "ascending";
      const state = heading.getAttribute("aria-sort");
      const next = state === first ? second : state === second ? null : first;
      for (const other of table.tHead.querySelectorAll("[aria-sort]")) other.removeAttribute("aria-sort");
      if (next) heading.setAttribute("aria-sort", next);
      const column = columnOf(button);
      const value = (row) => row.cells[column].dataset.value;
      const compare = (one, other) => {
        if (value(one) === "" || value(other) === "") return (value(one) === "") - (value(other) === "");
        return (next === "ascending" ? 1 : -1) * (Number(value(one)) - Number(value(other)));
      };
      body.append(...(next ? [...original].sort(compare) : original));
    });
  }
}
addEventListener("beforeprint", () => {
  for (const details of document.querySelectorAll("details")) details.open = true;
});
