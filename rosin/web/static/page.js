// Sliders move the fields beside them, on a logarithmic scale; everything else is htmx's.
"use strict";

const TURNS = 100; // steps of a slider

function ends(slider) {
  return [Math.log(Number(slider.dataset.least)), Math.log(Number(slider.dataset.most))];
}

function fieldOf(slider) {
  return document.getElementById(slider.dataset.moves);
}

// A number with three digits that count, as people write it; whole ones stay whole.
function written(value, slider) {
  const rounded = Number(value.toPrecision(3));
  return String("whole" in slider.dataset ? Math.round(rounded) : rounded);
}

function placeSlider(slider) {
  const field = fieldOf(slider);
  const value = Number(field.value);
  const [low, high] = ends(slider);
  if (field.value && value > 0) {
    slider.value = String(Math.round(TURNS * (Math.log(value) - low) / (high - low)));
  }
  slider.setAttribute("aria-valuetext", field.value || field.placeholder);
}

function placeSliders() {
  document.querySelectorAll("[data-moves]").forEach(placeSlider);
}

// The slider's own event goes on to the form after the field has its new value.
document.addEventListener("input", event => {
  const slider = event.target;
  if (slider.dataset.moves) {
    const [low, high] = ends(slider);
    const field = fieldOf(slider);
    field.value = written(Math.exp(low + (high - low) * slider.value / TURNS), slider);
    slider.setAttribute("aria-valuetext", field.value);
  } else {
    document.querySelectorAll(`[data-moves="${CSS.escape(slider.id)}"]`).forEach(placeSlider);
  }
}, true);

document.addEventListener("click", event => {
  if (!event.target.closest("button[data-reset]")) return;
  for (const field of document.querySelectorAll("[data-own]")) field.value = field.dataset.own;
  placeSliders();
  htmx.trigger("#pc", "input");
});

// A field with something wrong says so to screen readers, too.
document.addEventListener("htmx:afterSettle", () => {
  for (const problem of document.querySelectorAll("p.problem[id]")) {
    const field = document.getElementById(problem.id.replace(/-problem$/, ""));
    if (field) field.setAttribute("aria-invalid", String(problem.textContent.trim() !== ""));
  }
  placeSliders();
});

document.addEventListener("DOMContentLoaded", placeSliders);
