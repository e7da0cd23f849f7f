// What pages.css needs to know of tables and of texts of errors. Without it both scroll.
for (const table of document.querySelectorAll(".md-typeset table:not([class])")) {
  const cells = [...table.querySelectorAll("thead th")];
  const heads = cells.map((head) => head.textContent.trim());
  // The first cell of a row is the card's title; under the name of a field it is a value, and needs the name.
  const first = cells[0]?.querySelector("code") ? 0 : 1;
  if (heads.length > 2) {
    table.dataset.cards = "";
    for (const row of table.querySelectorAll("tbody tr"))
      [...row.cells].forEach((cell, column) => {
        if (column >= first && heads[column]) cell.dataset.label = heads[column];
      });
  }
  // Long names may be broken where a person would: before a capital, after an underscore, a dot or a slash.
  for (const code of [...table.querySelectorAll("code")].filter((name) => name.textContent.length > 12))
    for (const node of [...code.childNodes].filter((child) => child.nodeType === Node.TEXT_NODE)) {
      const parts = node.data.split(/(?<=[_./=,(])(?=[^\s.])|(?<=[a-z])(?=[A-Z])/);
      node.replaceWith(...parts.flatMap((part, place) => (place ? [document.createElement("wbr"), part] : [part])));
    }
}
for (const block of document.querySelectorAll(".md-typeset .highlight pre"))
  if (/\[dagster-ray: [\w-]+\]\s*$/.test(block.textContent)) block.dataset.wrap = "";
