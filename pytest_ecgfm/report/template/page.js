const table = document.getElementById("checks");
const rows = Array.from(table.tBodies[0].rows);
const fields = Array.from(document.querySelectorAll("[data-field]"));
const words = document.getElementById("words");
const told = document.getElementById("told");
// A dash asks for checks that have no such thing, such as a label.
const fitting = (asked, held) => !asked || held === (asked === "-" ? "" : asked);
function filter() {
  const asked = words.value.trim().toLowerCase();
  let shown = 0;
  for (const row of rows) {
    const fits = fields.every((one) => fitting(one.value, row.dataset[one.dataset.field]))
      && (!asked || row.textContent.toLowerCase().includes(asked));
    row.hidden = !fits;
    shown += fits;
  }
  told.textContent = `${shown} of ${rows.length} checks`;
}
fields.forEach((one) => one.addEventListener("change", filter));
words.addEventListener("input", filter);
document.getElementById("all").addEventListener("click", () => {
  fields.forEach((one) => { one.value = ""; });
  words.value = "";
  filter();
});
document.querySelectorAll("button[data-pick]").forEach((button) => button.addEventListener("click", () => {
  const picked = JSON.parse(button.dataset.pick);
  fields.forEach((one) => { one.value = picked[one.dataset.field] || ""; });
  filter();
  document.getElementById("all-checks").scrollIntoView();
}));
table.querySelectorAll("th button").forEach((button) => button.addEventListener("click", () => {
  const column = button.parentElement.cellIndex;
  const down = button.parentElement.getAttribute("aria-sort") === "ascending";
  table.querySelectorAll("th").forEach((one) => one.removeAttribute("aria-sort"));
  button.parentElement.setAttribute("aria-sort", down ? "descending" : "ascending");
  // Numbers before words, and cells without a number always last.
  const key = (row) => {
    const data = row.cells[column].querySelector("data");
    return data ? Number(data.value) : row.cells[column].textContent.trim();
  };
  const order = (x, y) => {
    const numbers = [x, y].map((one) => typeof one === "number");
    if (numbers[0] && numbers[1]) return down ? y - x : x - y;
    if (numbers[0] !== numbers[1]) return numbers[0] ? -1 : 1;
    return down ? y.localeCompare(x) : x.localeCompare(y);
  };
  const keys = new Map(rows.map((row) => [row, key(row)]));
  rows.sort((a, b) => order(keys.get(a), keys.get(b)));
  rows.forEach((row) => table.tBodies[0].append(row));
}));
filter();
