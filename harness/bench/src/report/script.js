"use strict";
// Sorts tables by their headings and filters the table of service times. Nothing else needs it.
for (const table of document.querySelectorAll("table")) {
  table.classList.add("sortable");
  const body = table.tBodies[0];
  const original = [...body.rows];
  [...table.tHead.rows[0].cells].forEach((heading, column) => {
    heading.tabIndex = 0;
    const sort = () => {
      const was = heading.getAttribute("aria-sort");
      for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
      if (was === "ascending") {
        body.append(...original);
        return;
      }
      const sign = was === "descending" ? 1 : -1;
      heading.setAttribute("aria-sort", sign > 0 ? "ascending" : "descending");
      const key = (row) => {
        const cell = row.cells[column];
        return cell.dataset.sort === undefined ? cell.textContent : Number(cell.dataset.sort);
      };
      const missing = (row) => row.cells[column].classList.contains("none");
      body.append(...[...original].sort((a, b) => {
        if (missing(a) !== missing(b)) return missing(a) ? 1 : -1;
        const [x, y] = [key(a), key(b)];
        return sign * (typeof x === "number" && typeof y === "number" ? x - y : String(x).localeCompare(String(y)));
      }));
    };
    heading.addEventListener("click", sort);
    heading.addEventListener("keydown", (event) => {
      if (event.key === "Enter" || event.key === " ") {
        event.preventDefault();
        sort();
      }
    });
  });
}
const filter = document.getElementById("filter");
filter.addEventListener("input", () => {
  const words = filter.value.toLowerCase().split(/\s+/).filter(Boolean);
  for (const row of document.getElementById("latencies").tBodies[0].rows) {
    const cells = [...row.cells].slice(0, 3).map((cell) => cell.textContent.toLowerCase());
    row.hidden = !words.every((word) => cells.some((cell) => cell.includes(word)));
  }
});
