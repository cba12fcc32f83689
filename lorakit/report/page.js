"use strict";
// Without this script every step stands below the other; with it, one at a time.
(() => {
  const slider = document.getElementById("step"), all = document.getElementById("all"), told = document.getElementById("told");
  if (!slider) return;
  const steps = [...document.querySelectorAll(".step")];
  const show = () => {
    const at = Number(slider.value);
    steps.forEach((step, place) => { step.hidden = !all.checked && place !== at; });
    slider.closest("section").classList.toggle("one", !all.checked);
    slider.disabled = all.checked;
    told.value = all.checked ? `${steps.length} steps` : steps[at].dataset.told;
    slider.setAttribute("aria-valuetext", steps[at].dataset.told);
  };
  slider.addEventListener("input", show);
  all.addEventListener("change", show);
  slider.closest(".controls").hidden = false;
  show();
})();
