"use strict";
(() => {
  const cells = JSON.parse(document.getElementById("cells").textContent).map((one) => ({ ...one, name: `${one.label}, ${one.under}` }));
  let order = cells.map((_, column) => column); // as they stand, from left to right
  const get = (id) => document.getElementById(id);
  const view = get("view"), pair = get("pair"), large = get("large"), other = get("other");
  const shots = [...document.querySelectorAll(".shots button")];
  const at = (row, column, seed) => shots.find((one) => Number(one.dataset.row) === row && Number(one.dataset.column) === column && Number(one.dataset.seed) === seed);
  let now = null, pinned = null, ticking = 0, turned = false, winner = -1;
  const place = (shot) => ["row", "column", "seed"].map((key) => Number(shot.dataset[key]));
  const words = (shot) => cells[place(shot)[1]].name + (cells[place(shot)[1]].numbers ? " · " + cells[place(shot)[1]].numbers : "");
  const put = (image, caption, shot) => { image.src = shot.firstElementChild.src; image.alt = shot.firstElementChild.alt; image.className = shot.firstElementChild.className; caption.textContent = words(shot); };
  const show = () => {
    const [row, column] = place(now);
    put(large, get("largewhat"), turned && pinned ? at(row, place(pinned)[1], place(now)[2]) || now : now);
    if (pinned) put(other, get("otherwhat"), at(row, place(pinned)[1], place(now)[2]) || pinned);
    pair.classList.toggle("two", Boolean(pinned) && !ticking);
    get("what").textContent = now.dataset.prompt + (column === winner ? " · winner" : "");
    for (const [key, on] of [["c", pinned], ["f", ticking], ["z", pair.classList.contains("zoom")], ["w", column === winner]])
      view.querySelector(`[data-key=${key}]`).setAttribute("aria-pressed", String(Boolean(on)));
  };
  const still = () => { clearInterval(ticking); ticking = 0; turned = false; };
  const move = (rows, columns) => {
    const [row, column, seed] = place(now);
    const beside = order[order.indexOf(column) + columns];
    now = at(row + rows, beside, seed) || at(row + rows, beside, 0) || now;
    show();
  };
  const swap = () => { // grouped by checkpoint, or by strength
    const swapped = document.querySelector("table").classList.toggle("swapped");
    const groups = [...new Set(cells.map((one) => one.under))];
    order = cells.map((_, column) => column);
    if (swapped) order.sort((a, b) => groups.indexOf(cells[a].under) - groups.indexOf(cells[b].under) || a - b);
    document.querySelectorAll("table tr").forEach((row) => row.append(row.firstElementChild, ...order.map((column) => [...row.children].find((one) => one.dataset.column === String(column)))));
    get("swap").setAttribute("aria-pressed", String(swapped));
  };
  const choose = (column) => {
    if (!cells[column].command) return;
    winner = winner === column ? -1 : column;
    document.querySelectorAll("[data-column]").forEach((one) => { if (one.matches("th, td")) one.classList.toggle("won", Number(one.dataset.column) === winner); });
    get("bar").hidden = winner < 0;
    if (winner < 0) return;
    get("winner").textContent = cells[winner].name;
    get("command").textContent = cells[winner].command;
    get("save").href = "data:text/plain;charset=utf-8," + encodeURIComponent(cells[winner].command + "\n");
  };
  const press = (key) => {
    if (key === "ArrowLeft") move(0, -1);
    else if (key === "ArrowRight") move(0, 1);
    else if (key === "ArrowUp") move(-1, 0);
    else if (key === "ArrowDown") move(1, 0);
    else if (key === "c") { pinned = pinned ? null : now; still(); if (pinned && order.indexOf(place(now)[1]) + 1 < order.length) move(0, 1); else show(); }
    else if (key === "f") { if (ticking) still(); else if (pinned) ticking = setInterval(() => { turned = !turned; show(); }, 600); show(); }
    else if (key === "z") { pair.classList.toggle("zoom"); show(); }
    else if (key === "w") { choose(place(now)[1]); show(); }
    else if (key === "Escape") view.close();
    else return false;
    return true;
  };
  shots.forEach((shot) => shot.addEventListener("click", () => { now = shot; show(); view.showModal(); }));
  view.addEventListener("keydown", (event) => { if (!event.ctrlKey && !event.metaKey && !event.altKey && press(event.key.length === 1 ? event.key.toLowerCase() : event.key)) event.preventDefault(); });
  view.addEventListener("close", () => { still(); pinned = null; pair.className = ""; if (now) now.focus(); });
  view.querySelectorAll("[data-key]").forEach((button) => button.addEventListener("click", () => press(button.dataset.key)));
  get("swap").addEventListener("click", swap);
  get("copy").addEventListener("click", () => {
    const done = () => { get("copy").textContent = "Copied"; };
    const select = () => { getSelection().selectAllChildren(get("command")); if (document.execCommand("copy")) done(); };
    if (navigator.clipboard) navigator.clipboard.writeText(get("command").textContent).then(done, select); else select();
  });
})();
