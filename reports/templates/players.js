"use strict";
// One clock for all players of a prompt: two rows large, the others small. Nothing plays before a button or key is pressed.
const players = (() => {
  const { data, make } = clips;
  const part = (id) => document.getElementById(id);
  const one = part("row-a"), other = part("row-b"), seek = part("seek"), play = part("play"), time = part("time"), sample = part("sample");
  const still = matchMedia("(prefers-reduced-motion: reduce)");
  let videos = [], prompt = -1, playing = false;

  const wanted = () => new Set([...document.querySelectorAll("#shown-rows input:checked")].map((input) => input.value));
  const frames = () => data.frames || Math.round((videos[0] && videos[0].duration || 0) * data.fps);
  const frameOf = (video) => Math.floor(video.currentTime * data.fps + 0.01);
  const say = (frame) => {
    seek.value = frame;
    time.textContent = "frame " + (frame + 1) + " of " + frames();
    seek.setAttribute("aria-valuetext", time.textContent);
  };

  const scores = (row) => {
    const lines = clips.dimensions(prompt).map((name) => [clips.titles.get(name), clips.points(name, row, prompt)]);
    return make("dl", { className: "points" }, ...lines.flatMap(([title, value]) =>
      [make("dt", { textContent: title }), make("dd", { textContent: value === null ? "-" : value.toFixed(1) })]));
  };
  const absent = (frame, text) => {
    frame.append(make("p", { className: "absent", textContent: text }));
  };
  const player = (inside, row, large) => {
    const list = clips.sources(inside, prompt, row.row, Number(sample.value)), poster = clips.poster(inside, row.row);
    const frame = make("div", { className: "frame" });
    frame.style.aspectRatio = data.width + " / " + data.height;
    if (large) part("pair").style.setProperty("--shape", data.width / data.height);
    if (poster && !list.length) frame.append(make("img", { src: poster, alt: "Middle frame of " + row.label }));
    if (!list.length) absent(frame, row.files && data.prompts[prompt].files ? "clip not in this file" : "no clip");
    else {
      const video = make("video", { muted: true, loop: !still.matches, playsInline: true, preload: "auto" });
      video.setAttribute("aria-label", row.label + ": " + data.prompts[prompt].prompt);
      if (poster) video.poster = poster;
      video.addEventListener("error", () => {
        list.shift();
        if (list.length) { video.src = list[0]; return; }
        videos = videos.filter((other) => other !== video);
        video.remove();
        absent(frame, "clip not beside this file");
      });
      video.addEventListener("ended", pause);
      video.src = list[0];
      videos.push(video);
      frame.append(video);
    }
    const address = clips.file(prompt, row.row, Number(sample.value)), caption = make("figcaption", {}, make("strong", { textContent: row.label, dir: "auto" }));
    if (address) {
      // Opened as a file, a page may not download: the clip then opens in a tab of its own.
      const link = make("a", { href: address, target: "_blank", download: row.row + "-" + address.split("/").pop(), textContent: "mp4" });
      link.setAttribute("aria-label", "Download the clip of " + row.label);
      caption.append(" ", link);
    }
    if (!large) {
      const button = make("button", { type: "button", className: "swap", textContent: "Enlarge" });
      button.setAttribute("aria-label", "Show " + row.label + " large, on the right");
      button.addEventListener("click", () => { other.value = row.row; other.dispatchEvent(new CustomEvent("chosen", { bubbles: true })); render(); part("player").focus({ preventScroll: true }); });
      caption.append(" ", button);
    }
    caption.append(scores(row.row));
    return make("figure", {}, frame, caption);
  };

  const render = () => {
    pause();
    const at = seek.value, inside = clips.block(prompt), shown = wanted(), pair = [...new Set([one.value, other.value])];
    const rows = new Map(data.rows.map((row) => [row.row, row])), rest = data.rows.filter((row) => shown.has(row.row) && !pair.includes(row.row));
    videos = [];
    part("pair").replaceChildren(...pair.map((row) => player(inside, rows.get(row), true)));
    part("others").replaceChildren(...rest.map((row) => player(inside, row, false)));
    part("stills").replaceChildren(...data.rows.filter((row) => inside.posters[row.row]).map((row) => make("figure", {},
      make("img", { src: clips.poster(inside, row.row), alt: "Middle frame of " + row.label }), make("figcaption", { textContent: row.label }))));
    part("stills-text").textContent = data.prompts[prompt].prompt + " (" + data.prompts[prompt].id + ")";
    const gap = pair.length > 1 ? clips.gap(prompt, ...pair) : null;
    part("pair-gap").textContent = gap === null ? "" : clips.labels.get(pair[0]) + " minus " + clips.labels.get(pair[1]) + " on this prompt: " + clips.signed(gap) + " points.";
    for (const box of [part("player"), part("stills")]) box.classList.toggle("pixels", data.width <= 128);
    for (const video of videos) video.playbackRate = Number(part("speed").value);
    seek.max = Math.max(0, frames() - 1);
    jump(Number(at));
  };
  const show = (index) => {
    prompt = index;
    const facts = data.prompts[index], inside = clips.block(index), list = clips.samples(inside, index);
    part("prompt-text").textContent = facts.prompt;
    part("prompt-id").textContent = facts.id;
    part("extended-text").textContent = facts.extended;
    const before = list.includes(Number(sample.value)) ? sample.value : "0";
    sample.replaceChildren(...(list.length ? list : [0]).map((n) => make("option", { value: n, textContent: n })));
    sample.value = before;
    part("sample-choice").hidden = list.length < 2;
    seek.value = 0;
    render();
    part("player-state").textContent = "Prompt " + facts.id + ", " + videos.length + " clips: " + facts.prompt;
  };

  const jump = (frame) => {
    const last = Math.max(0, frames() - 1), at = Math.min(Math.max(frame, 0), last);
    for (const video of videos) video.currentTime = at ? (at + 0.1) / data.fps : 0;
    say(at);
  };
  function pause() {
    for (const video of videos) video.pause();
    playing = false;
    play.textContent = "Play";
  }
  const follow = () => {
    if (!playing || !videos.length) return;
    say(frameOf(videos[0]));
    clips.align(videos);
    requestAnimationFrame(follow);
  };
  const toggle = () => {
    if (playing) { pause(); return; }
    if (!videos.length) return;
    if (videos[0].ended) jump(0);
    for (const video of videos) { video.currentTime = videos[0].currentTime; video.play().catch(() => {}); }
    playing = true;
    play.textContent = "Pause";
    requestAnimationFrame(follow);
  };
  const step = (by) => { pause(); jump(Number(seek.value) + by); };
  const start = () => { pause(); jump(0); };

  play.addEventListener("click", toggle);
  part("back").addEventListener("click", () => step(-1));
  part("forward").addEventListener("click", () => step(1));
  part("start").addEventListener("click", start);
  seek.addEventListener("input", () => { pause(); jump(Number(seek.value)); });
  sample.addEventListener("change", render);
  part("shown-rows").addEventListener("change", render);
  part("speed").addEventListener("change", () => {
    for (const video of videos) video.playbackRate = Number(part("speed").value);
  });
  const whole = part("whole");
  whole.hidden = !document.fullscreenEnabled;
  whole.addEventListener("click", () => document.fullscreenElement ? document.exitFullscreen() : part("stage").requestFullscreen());
  document.addEventListener("fullscreenchange", () => { whole.textContent = document.fullscreenElement ? "Leave full screen" : "Full screen"; });
  // Keys act while the focus is in this section, and not where a key already means something.
  const keys = {
    " ": toggle, k: toggle, ArrowRight: () => step(1), ".": () => step(1), ArrowLeft: () => step(-1), ",": () => step(-1),
    Home: start, f: () => whole.click(), n: () => part("next").click(), p: () => part("previous").click(), "?": () => part("keys").togglePopover(),
  };
  part("watch").addEventListener("keydown", (event) => {
    const tag = event.target.tagName, own = tag === "INPUT" && event.target.type !== "checkbox" || tag === "SELECT";
    const presses = event.key === " " && ["BUTTON", "SUMMARY", "INPUT"].includes(tag);
    if (!(event.key in keys) || own || presses || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    keys[event.key]();
  });
  return { show, render, pause, current: () => prompt };
})();
