"use strict";
// The blind vote. Clips are drawn on canvases from videos outside the document, so that no file name is anywhere to be seen.
if (document.getElementById("vote")) {
  const { data, make } = clips, { suite, run, clips: digests } = data.ballot;
  const part = (id) => document.getElementById(id);
  const box = part("vote"), title = document.title, still = matchMedia("(prefers-reduced-motion: reduce)").matches;
  const canvases = [part("vote-left"), part("vote-right")], answers = [...box.querySelectorAll("[data-answer]")];
  const store = (() => { try { return localStorage; } catch { return null; } })();
  const key = (voter) => ["raven-bench votes", run, voter].join(" "), say = (text) => { part("vote-state").textContent = text; };
  let ballot = null, question = null, waiting = [], next = null, videos = [], since = 0, playing = false, before = "";

  // Seeded random numbers from 0 to 1 (mulberry32), so that a file's seed gives its sides again.
  const random = (seed) => () => {
    seed = seed + 0x6d2b79f5 | 0;
    let t = Math.imul(seed ^ seed >>> 15, 1 | seed);
    t = t + Math.imul(t ^ t >>> 7, 61 | t) ^ t;
    return ((t ^ t >>> 14) >>> 0) / 4294967296;
  };
  const shuffled = (list, draw) => {
    const found = [...list];
    for (let last = found.length - 1; last > 0; last -= 1) {
      const place = Math.floor(draw() * (last + 1));
      [found[last], found[place]] = [found[place], found[last]];
    }
    return found;
  };
  const name = ({ prompt, sample, left, right }) => [prompt, sample, ...[left, right].sort()].join(" ");

  // Endless questions in rounds: each round has every pair once, and prompts come in turn.
  function* rounds(seed, pairs) {
    const draw = random(seed);
    let left = [];
    for (;;) {
      for (const [a, b] of shuffled(pairs, draw)) {
        if (!left.length) left = shuffled(data.prompts.keys(), draw);
        const prompt = left.pop();
        if (!clips.playable(prompt, [a, b])) { yield null; continue; }
        const inside = clips.block(prompt), there = (row, sample) => clips.sources(inside, prompt, row, sample).length;
        const samples = clips.samples(inside, prompt).filter((sample) => there(a, sample) && there(b, sample));
        yield samples.length ? { place: prompt, prompt: data.prompts[prompt].id, sample: samples[Math.floor(draw() * samples.length)], left: a, right: b } : null;
      }
    }
  }
  // Every second question is the same for all voters, which tells whether they agree; the others are a voter's own.
  const questions = () => {
    const two = [part("row-a").value, part("row-b").value].filter((row) => row in digests);
    const rows = part("vote-rows").value === "two" && new Set(two).size === 2 ? two.sort() : Object.keys(digests);
    const pairs = rows.flatMap((a, place) => rows.slice(place + 1).map((b) => [a, b]));
    const shared = rounds(parseInt(run.slice(0, 8), 16), pairs), own = rounds(ballot.seed, pairs);
    const asked = new Set(ballot.votes.map(name)), enough = 20 * data.prompts.length * pairs.length;
    return () => {
      for (let tries = 0; tries < enough; tries += 1) {
        const found = (ballot.votes.length % 2 ? own : shared).next().value;
        if (!found || asked.has(name(found))) continue;
        asked.add(name(found));
        const turn = random(ballot.seed + 7919 * asked.size | 0)() < 0.5;
        return turn ? { ...found, left: found.right, right: found.left } : found;
      }
      return null;
    };
  };

  const clear = () => { for (const video of videos) { video.pause(); video.removeAttribute("src"); } videos = []; };
  const play = (on) => {
    playing = on;
    part("vote-play").textContent = on ? "Pause" : "Play";
    for (const video of videos) on ? video.play().catch(() => {}) : video.pause();
  };
  const paint = () => {
    if (box.hidden || !question) return;
    videos.forEach((video, side) => {
      const canvas = canvases[side];
      if (video.readyState < 2) return;
      if (canvas.width !== video.videoWidth || canvas.height !== video.videoHeight) { canvas.width = video.videoWidth; canvas.height = video.videoHeight; }
      canvas.getContext("2d").drawImage(video, 0, 0);
    });
    if (playing && videos.length) clips.align(videos);
    requestAnimationFrame(paint);
  };
  const ask = (given) => {
    clear();
    question = given || waiting.pop() || next();
    part("vote-ask").hidden = !question;
    part("vote-undo").disabled = !ballot.votes.length;
    const count = numbered(ballot.votes.length, "answer") + (store ? " kept in this browser." : ". This browser keeps nothing: export before you close it.");
    if (!question) { part("vote-ask").hidden = false; say("No more questions. " + count); for (const button of answers) button.disabled = true; return; }
    say("Question " + (ballot.votes.length + 1) + ". " + count);
    part("vote-prompt").textContent = data.prompts[question.place].prompt;
    for (const button of answers) button.disabled = true;
    const inside = clips.block(question.place);
    videos = [question.left, question.right].map((row, side) => {
      const list = clips.sources(inside, question.place, row, question.sample), video = make("video", { muted: true, loop: true, playsInline: true, preload: "auto" });
      canvases[side].getContext("2d").clearRect(0, 0, canvases[side].width, canvases[side].height);
      video.addEventListener("error", () => { if (!videos.includes(video)) return; list.shift(); if (list.length) video.src = list[0]; else ask(); });
      video.addEventListener("loadeddata", () => {
        if (!videos.includes(video) || !videos.every((each) => each.readyState >= 2) || since) return;
        since = performance.now();
        for (const button of answers) button.disabled = false;
        play(!still);
      });
      video.src = list[0];
      return video;
    });
    since = 0;
    requestAnimationFrame(paint);
  };
  const save = () => { if (store) store.setItem(key(ballot.voter), JSON.stringify(ballot)); };
  const answer = (given) => {
    if (!question || !since) return;
    const { prompt, sample, left, right } = question, seconds = Math.round((performance.now() - since) / 10) / 100;
    ballot.votes.push({ prompt, sample, left, right, answer: given, seconds });
    save();
    ask();
  };
  const undo = () => {
    const last = ballot.votes.pop();
    if (!last) return;
    save();
    if (question) waiting.push(question);
    ask({ ...last, place: data.prompts.findIndex((facts) => facts.id === last.prompt) });
  };
  const begin = () => {
    const voter = part("vote-voter").value.trim();
    if (!/^[\p{L}\p{Nd}_][\p{L}\p{M}\p{Nd}_ .-]{0,39}$/u.test(voter)) { say("Give a nickname of letters, digits, spaces, dots and dashes, 40 at most."); part("vote-voter").focus(); return; }
    const shown = data.preview && !clips.folder ? "copies" : "clips", kept = store && store.getItem(key(voter));
    ballot = kept ? JSON.parse(kept) : { schema_version: 1, suite, run, clips: digests, voter, seed: crypto.getRandomValues(new Uint32Array(1))[0], shown, votes: [] };
    if (shown === "copies") ballot.shown = shown;
    waiting = [];
    next = questions();
    part("vote-start").hidden = true;
    part("vote-ask").hidden = false;
    box.focus();
    ask();
  };
  // The sha256 of the text stands before it, as in all records (evaluation/records.py, with_checksum).
  const save_file = async () => {
    let text = JSON.stringify(ballot, null, 1) + "\n";
    if (crypto.subtle) {
      const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", new TextEncoder().encode(text)));
      text = '{"checksum":"' + [...digest].map((byte) => byte.toString(16).padStart(2, "0")).join("") + '",' + text.slice(1);
    }
    const url = URL.createObjectURL(new Blob([text], { type: "application/json" }));
    make("a", { href: url, download: "votes-" + suite + "-" + ballot.voter + ".json" }).click();
    setTimeout(() => URL.revokeObjectURL(url), 10000);
    say(numbered(ballot.votes.length, "answer") + " exported as votes-" + suite + "-" + ballot.voter + ".json; you can go on.");
  };
  const open = () => {
    if (!box.hidden) return;
    players.pause();
    before = location.hash === "#vote" ? "" : location.hash;
    document.body.append(box);
    document.body.classList.add("voting");
    document.title = "Blind vote";
    history.replaceState(null, "", "#vote");
    box.hidden = false;
    part("vote-start").hidden = false;
    part("vote-ask").hidden = true;
    say("");
    scrollTo(0, 0);
    part("vote-voter").focus();
  };
  const close = () => {
    clear();
    question = null;
    box.hidden = true;
    document.body.classList.remove("voting");
    document.title = title;
    history.replaceState(null, "", before || "#watch");
    part("vote-open").focus();
  };

  box.classList.toggle("pixels", data.width <= 128);
  part("vote-open").addEventListener("click", open);
  part("vote-close").addEventListener("click", close);
  part("vote-begin").addEventListener("click", begin);
  part("vote-voter").addEventListener("keydown", (event) => { if (event.key === "Enter") begin(); });
  part("vote-undo").addEventListener("click", undo);
  part("vote-export").addEventListener("click", save_file);
  part("vote-play").addEventListener("click", () => play(!playing));
  for (const button of answers) button.addEventListener("click", () => { box.focus(); answer(button.dataset.answer); });
  const keys = { ArrowLeft: () => answer("left"), ArrowRight: () => answer("right"), ArrowDown: () => answer("tie"), " ": () => play(!playing), Backspace: undo };
  document.addEventListener("keydown", (event) => {
    if (box.hidden || event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === "Escape") { close(); return; }
    const presses = event.key === " " && event.target.tagName === "BUTTON";
    if (part("vote-ask").hidden || !(event.key in keys) || presses || event.repeat) return;
    event.preventDefault();
    keys[event.key]();
  });
  addEventListener("hashchange", () => { if (location.hash === "#vote") open(); });
  if (location.hash === "#vote") open();
}
