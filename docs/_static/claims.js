// Filters the table of claims by verdict, baseline and words. The choice stands in the address, so
// that a filtered table can be linked to.
document.addEventListener("DOMContentLoaded", () => {
  const form = document.querySelector(".claims-filters");
  if (!form) return;
  const rows = [...document.querySelectorAll(".claims-table tbody tr")];
  const boxes = [...form.querySelectorAll('[name="verdict"]')];
  const { baseline, words } = form.elements;
  const count = form.querySelector(".claims-count");

  // "µ=1", with the sign of the unit that keyboards have, is "μ = 1".
  const plain = (text) => text.normalize("NFKC").toLowerCase().replace(/\s*=\s*/g, "=");

  const restore = () => {
    const chosen = new URLSearchParams(location.search);
    const verdicts = chosen.get("verdict");
    if (verdicts !== null) {
      const names = verdicts.split(" ");
      boxes.forEach((box) => (box.checked = names.includes(box.value)));
    }
    if ([...baseline.options].some((option) => option.value === chosen.get("baseline"))) {
      baseline.value = chosen.get("baseline");
    }
    words.value = chosen.get("words") ?? "";
  };

  const remember = () => {
    const chosen = new URLSearchParams();
    const verdicts = boxes.filter((box) => box.checked).map((box) => box.value);
    if (verdicts.length < boxes.length) chosen.set("verdict", verdicts.join(" "));
    if (baseline.value) chosen.set("baseline", baseline.value);
    if (words.value) chosen.set("words", words.value);
    const query = chosen.size ? `?${chosen}` : location.pathname;
    history.replaceState(null, "", query + location.hash);
  };

  const filter = () => {
    const verdicts = new Set(boxes.filter((box) => box.checked).map((box) => box.value));
    const wanted = plain(words.value).split(/\s+/).filter(Boolean);
    let shown = 0;
    for (const row of rows) {
      const text = plain(row.textContent);
      const isShown =
        verdicts.has(row.dataset.verdict) &&
        (!baseline.value || row.dataset.baseline === baseline.value) &&
        wanted.every((word) => text.includes(word));
      row.hidden = !isShown;
      shown += isShown;
    }
    count.textContent = `${shown} of ${rows.length} claims`;
  };

  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("input", () => {
    filter();
    remember();
  });
  restore();
  filter();
});
