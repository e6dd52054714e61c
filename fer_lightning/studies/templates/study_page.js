// The page is complete without this: it adds sorting, and opens what is folded before printing.
for (const table of document.querySelectorAll("table.sortable")) {
  const body = table.tBodies[0];
  for (const heading of table.querySelectorAll("th[data-column]")) {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...heading.childNodes);
    heading.append(button);
    heading.setAttribute("aria-sort", "none");
    button.addEventListener("click", () => {
      const falling = heading.getAttribute("aria-sort") === "ascending";
      for (const other of table.querySelectorAll("th[aria-sort]")) other.setAttribute("aria-sort", "none");
      heading.setAttribute("aria-sort", falling ? "descending" : "ascending");
      const keys = new Map();
      for (const row of body.rows) {
        const cell = row.cells[Number(heading.dataset.column)];
        keys.set(row, cell.dataset.order ?? cell.textContent.trim());
      }
      const compare = (first, second) => {
        const [one, two] = [keys.get(first), keys.get(second)];
        if (one === "" || two === "") return (one === "") - (two === ""); // nothing is last, either way
        const difference = isNaN(one) || isNaN(two) ? one.localeCompare(two, "en", {numeric: true}) : one - two;
        return falling ? -difference : difference;
      };
      body.append(...[...body.rows].sort(compare));
    });
  }
}
let opened = [];
addEventListener("beforeprint", () => {
  opened = [...document.querySelectorAll("details:not([open])")];
  for (const details of opened) details.open = true;
});
addEventListener("afterprint", () => {
  for (const details of opened) details.open = false;
});
// A link into something folded opens it.
for (const link of document.querySelectorAll('a[href^="#"]')) {
  link.addEventListener("click", () => {
    const target = document.querySelector(link.getAttribute("href"));
    if (target instanceof HTMLDetailsElement) target.open = true;
  });
}
