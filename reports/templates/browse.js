"use strict";
// The list of prompts (a page of it at a time) and the gallery of the worst.
{
  const { data, make } = clips;
  const part = (id) => document.getElementById(id);
  const LENGTH = 10;
  let order = [], page = 0;

  // What an order sorts by, lowest first (null last), and what the list shows of it. a, b: the two rows shown large.
  const orders = {
    list: { value: (prompt) => prompt, text: () => "" },
    gap: {
      value: (prompt, a, b, name) => { const gap = clips.gap(prompt, a, b, name); return gap === null ? null : -Math.abs(gap); },
      text: (prompt, a, b, name) => { const gap = clips.gap(prompt, a, b, name); return gap === null ? "-" : clips.signed(gap); },
    },
    lowest: {
      value: (prompt, a, b, name) => clips.score(prompt, a, name),
      text: (prompt, a, b, name) => { const score = clips.score(prompt, a, name); return score === null ? "-" : score.toFixed(1); },
    },
  };
  const states = {
    any: () => true, inside: (facts) => facts.clips, out: (facts) => facts.files && !facts.clips, none: (facts) => !facts.files,
  };
  const lines = data.prompts.map((facts) => (facts.id + " " + facts.prompt).toLowerCase());
  const chosen = () => [part("row-a").value, part("row-b").value, part("find-dimension").value];
  const describe = { list: "in list order", gap: "largest difference of the two rows first", lowest: "lowest score of the left row first" };

  const find = () => {
    const words = part("find-text").value.toLowerCase().split(/\s+/).filter(Boolean), name = part("find-dimension").value;
    const inside = name ? new Set(data.scores[name].prompts) : null, state = states[part("find-state").value];
    const kind = part("find-order").value, { value } = orders[kind];
    const found = data.prompts
      .map((facts, prompt) => prompt)
      .filter((prompt) => (!inside || inside.has(prompt)) && state(data.prompts[prompt]) && words.every((word) => lines[prompt].includes(word)))
      .map((prompt) => [value(prompt, ...chosen()), prompt]);
    found.sort(([a, one], [b, other]) => (a === null) - (b === null) || a - b || one - other);
    order = found.map(([, prompt]) => prompt);
    page = 0;
    part("found").textContent = order.length + " of " + numbered(data.prompts.length, "prompt") + ", " + describe[kind];
    draw();
  };
  const draw = () => {
    const { text } = orders[part("find-order").value], first = page * LENGTH;
    part("prompts").replaceChildren(...order.slice(first, first + LENGTH).map((prompt) => {
      const facts = data.prompts[prompt], button = make("button", { type: "button" },
        make("span", { textContent: facts.prompt, dir: "auto", className: "cut" }),
        make("small", { textContent: facts.id + (facts.clips ? "" : facts.files ? ", left out" : ", no clip files") }),
        make("b", { textContent: text(prompt, ...chosen()) }));
      if (prompt === players.current()) button.setAttribute("aria-current", "true");
      button.addEventListener("click", () => go(prompt));
      button.dataset.prompt = prompt;
      return make("li", { value: first + 1 + order.slice(first, first + LENGTH).indexOf(prompt) }, button);
    }));
    const pages = Math.max(1, Math.ceil(order.length / LENGTH));
    part("page").textContent = "page " + (page + 1) + " of " + pages;
    part("page-back").disabled = page === 0;
    part("page-on").disabled = page >= pages - 1;
  };
  const mark = (prompt) => {
    for (const button of part("prompts").querySelectorAll("button")) {
      if (Number(button.dataset.prompt) === prompt) button.setAttribute("aria-current", "true");
      else button.removeAttribute("aria-current");
    }
  };
  const turn = (by) => {
    if (!order.length) return;
    const at = order.indexOf(players.current()), next = at < 0 ? 0 : (at + by + order.length) % order.length;
    page = Math.floor(next / LENGTH);
    players.show(order[next]);
    draw();
    link();
  };
  const go = (prompt) => { players.show(prompt); mark(prompt); link(); };

  // The address names what is shown, so that it can be sent: #prompt=...&a=...&b=...&sample=...
  const link = () => {
    const [a, b] = chosen(), facts = { prompt: data.prompts[players.current()].id, a, b };
    if (part("sample").value !== "0") facts.sample = part("sample").value;
    history.replaceState(null, "", "#" + new URLSearchParams(facts));
  };
  // The prompt on which the two rows differ most, of those that the page can play.
  const widest = () => {
    const [a, b] = chosen(), gaps = data.prompts.map((facts, prompt) => [clips.gap(prompt, a, b), prompt]);
    gaps.sort(([x, one], [y, other]) => (x === null) - (y === null) || Math.abs(y) - Math.abs(x) || one - other);
    const found = gaps.find(([, prompt]) => clips.playable(prompt, [a, b])) || gaps.find(([, prompt]) => clips.playable(prompt, [a]));
    return found ? found[1] : 0;
  };
  // What the address asks for. Words that name nothing here are said, and the rest is shown.
  const follow = () => {
    const asked = new URLSearchParams(location.hash.slice(1)), unknown = [];
    for (const [key, id] of [["a", "row-a"], ["b", "row-b"]]) {
      if (!asked.has(key)) continue;
      if ([...part(id).options].some((option) => option.value === asked.get(key))) part(id).value = asked.get(key);
      else unknown.push("row " + asked.get(key));
    }
    let prompt = data.prompts.findIndex((facts) => facts.id === asked.get("prompt"));
    if (asked.has("prompt") && prompt < 0) unknown.push("prompt " + asked.get("prompt"));
    if (prompt < 0) prompt = widest();
    find();
    players.show(prompt);
    mark(prompt);
    const place = order.indexOf(prompt);
    if (place >= 0) { page = Math.floor(place / LENGTH); draw(); }
    if (asked.has("sample") && [...part("sample").options].some((option) => option.value === asked.get("sample"))) {
      part("sample").value = asked.get("sample");
      players.render();
    }
    part("link-state").textContent = unknown.length ? "The link names " + unknown.join(" and ") + ", which this report does not have." : "";
    if (!["prompt", "a", "b"].some((key) => asked.has(key))) return;
    for (let up = part("player"); up; up = up.parentElement) if (up.tagName === "DETAILS") up.open = true;
    part("player").scrollIntoView();
  };

  // The worst: by score of a row or of any row, or by what a row loses against another one.
  const worst = () => {
    const name = part("worst-dimension").value, row = part("worst-row").value, against = part("worst-against").value;
    const losses = part("worst-kind").value === "loss";
    part("worst-against-choice").hidden = !losses;
    const rows = row ? [row] : [...clips.labels.keys()].filter((each) => !(losses && each === against));
    const cells = rows.flatMap((each) => data.scores[name].prompts.map((prompt) =>
      [losses ? clips.gap(prompt, each, against, name) : clips.points(name, each, prompt), prompt, each]));
    const found = cells.filter(([value]) => value !== null && !(losses && value >= 0));
    found.sort(([a, one], [b, other]) => a - b || one - other);
    part("worst-state").textContent = (losses ? "Largest losses in " : "Lowest scores in ") + clips.titles.get(name) +
      (row ? " of " + clips.labels.get(row) : ", all rows") + (losses ? " against " + clips.labels.get(against) : "") +
      ": " + Math.min(found.length, data.worst) + " of " + found.length + ".";
    const shown = found.slice(0, data.worst).map((cell) => [...cell, clips.poster(clips.block(cell[1]), cell[2])]);
    const posters = shown.some(([, , , poster]) => poster);
    part("worst").replaceChildren(...shown.map(([value, prompt, each, poster]) => {
      const facts = data.prompts[prompt], frame = make("span", { className: "frame" });
      if (posters) frame.style.aspectRatio = data.width + " / " + data.height;
      frame.append(poster ? make("img", { src: poster, alt: "" })
        : make("span", { className: "absent", textContent: facts.files ? "not in this file" : "no clip" }));
      const button = make("button", { type: "button" }, frame,
        make("b", { textContent: losses ? clips.signed(value) : value.toFixed(1) }),
        make("span", { textContent: clips.labels.get(each), dir: "auto" }),
        make("small", { textContent: facts.prompt, dir: "auto", className: "cut" }), make("small", { textContent: facts.id }));
      button.addEventListener("click", () => {
        go(prompt);
        part("player").scrollIntoView({ behavior: matchMedia("(prefers-reduced-motion: reduce)").matches ? "auto" : "smooth" });
        part("player").focus({ preventScroll: true });
      });
      return make("li", {}, button);
    }));
    part("worst").classList.toggle("pixels", data.width <= 128);
  };

  part("find-text").addEventListener("input", find);
  for (const id of ["find-dimension", "find-state", "find-order"]) part(id).addEventListener("change", find);
  for (const id of ["row-a", "row-b"]) {
    part(id).addEventListener("change", () => { find(); go(widest()); });
    part(id).addEventListener("chosen", () => { find(); link(); });
  }
  part("sample").addEventListener("change", link);
  addEventListener("hashchange", () => { if (/^#(prompt|a|b|sample)=/.test(location.hash)) follow(); });
  part("page-back").addEventListener("click", () => { page -= 1; draw(); });
  part("page-on").addEventListener("click", () => { page += 1; draw(); });
  part("previous").addEventListener("click", () => turn(-1));
  part("next").addEventListener("click", () => turn(1));
  for (const id of ["worst-kind", "worst-row", "worst-against", "worst-dimension"]) part(id).addEventListener("change", worst);
  follow();
  if (part("worst-dimension").options.length) worst();
}
