"use strict";
// Without this script every step stands below the other; with it, one at a time.
(() => {
  const slider = document.getElementById("step"), all = document.getElementById("all"), shown = document.getElementById("shown");
  if (!slider) return;
  const steps = [...document.querySelectorAll(".step")];
  const show = () => {
    const at = Number(slider.value);
    steps.forEach((step, place) => { step.hidden = !all.checked && place !== at; });
    slider.closest("section").classList.toggle("one", !all.checked);
    slider.disabled = all.checked;
    shown.value = all.checked ? `${steps.length} steps` : steps[at].dataset.name;
    slider.setAttribute("aria-valuetext", steps[at].dataset.name);
  };
  slider.addEventListener("input", show);
  all.addEventListener("change", show);
  slider.closest(".controls").hidden = false;
  show();
})();
