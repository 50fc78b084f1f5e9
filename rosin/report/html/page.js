for (const slider of document.querySelectorAll("[data-zoom]")) {
  const target = slider.closest("section").querySelectorAll(".stretch");
  slider.addEventListener("input", () => {
    for (const each of target) each.style.setProperty("--zoom", slider.value);
  });
}
for (const slider of document.querySelectorAll("[data-rows]")) {
  const section = slider.closest("section");
  const rows = section.querySelectorAll("tbody tr");
  slider.addEventListener("input", () => {
    const cells = rows[slider.value].cells;
    for (const each of section.querySelectorAll("[data-cell]")) each.textContent = cells[each.dataset.cell].textContent;
    slider.setAttribute("aria-valuetext", cells[0].textContent);
  });
}
