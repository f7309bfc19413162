"use strict";
// What the page knows of clips and scores. A prompt's clips and posters are parsed each time it is shown, never all at once.
const clips = (() => {
  const data = JSON.parse(document.getElementById("clip-data").textContent);
  const folder = document.documentElement.dataset.clips;
  const absent = new Map(Object.entries(data.absent).map(([row, names]) => [row, new Set(names)]));
  const places = new Map(Object.entries(data.scores).map(([name, found]) =>
    [name, new Map(found.prompts.map((prompt, place) => [prompt, place]))]));
  const titles = new Map(Object.entries(data.dimensions));
  const filed = new Set(data.rows.filter((row) => row.files).map((row) => row.row));
  const labels = new Map(data.rows.map((row) => [row.row, row.label]));

  const block = (prompt) => {
    const element = document.getElementById("clip-" + prompt);
    return element ? JSON.parse(element.textContent) : { clips: {}, posters: {} };
  };
  const file = (prompt, row, sample) => {
    const facts = data.prompts[prompt], name = facts.id + "-" + sample;
    const there = folder && facts.files && filed.has(row) && sample < facts.samples && !(absent.get(row) || new Set()).has(name);
    return there ? [folder, row, "mp4", name + ".mp4"].join("/") : null;
  };
  // Where a clip can be had, best first: the file itself, if what is inside is a smaller copy.
  const sources = (inside, prompt, row, sample) => {
    const found = inside.clips[row] && inside.clips[row][sample];
    const list = [found && "data:video/mp4;base64," + found, file(prompt, row, sample)];
    return (data.preview ? list.reverse() : list).filter(Boolean);
  };
  const samples = (inside, prompt) => {
    const found = new Set(folder && data.prompts[prompt].files ? Array(data.prompts[prompt].samples).keys() : []);
    for (const row of Object.values(inside.clips)) for (const sample of Object.keys(row)) found.add(Number(sample));
    return [...found].sort((a, b) => a - b);
  };
  const poster = (inside, row) => inside.posters[row] ? "data:image/webp;base64," + inside.posters[row] : null;

  const points = (name, row, prompt) => {
    const place = places.get(name).get(prompt), found = data.scores[name].points[row];
    return place === undefined || !found ? null : found[place];
  };
  const dimensions = (prompt) => [...titles.keys()].filter((name) => places.get(name).has(prompt));
  // What `value` finds on the given dimension, or its mean over the prompt's dimensions as the total weighs them
  // (custom ones count where there are no others); null if it finds nothing.
  const mean = (prompt, name, value) => {
    const names = name ? [name] : dimensions(prompt), weighed = !name && names.some((each) => data.weights[each]);
    let sum = 0, weights = 0;
    for (const each of names) {
      const found = value(each), weight = weighed ? data.weights[each] || 0 : 1;
      if (found !== null && weight) { sum += weight * found; weights += weight; }
    }
    return weights ? sum / weights : null;
  };
  const score = (prompt, row, name) => mean(prompt, name, (each) => points(each, row, prompt));
  const gap = (prompt, a, b, name) => mean(prompt, name, (each) => {
    const one = points(each, a, prompt), other = points(each, b, prompt);
    return one === null || other === null ? null : one - other;
  });
  // Whether the page can play a clip of both rows of a prompt.
  const playable = (prompt, rows) => {
    const facts = data.prompts[prompt];
    if (!facts.clips && !(folder && facts.files)) return false;
    const inside = block(prompt);
    return rows.every((row) => samples(inside, prompt).some((sample) => sources(inside, prompt, row, sample).length));
  };
  // One clock: whoever is late, or early, jumps to the first video's time.
  const align = (videos) => {
    const now = videos[0].currentTime, end = videos[0].duration;
    for (const video of videos) {
      const late = Math.abs(video.currentTime - now);
      if (late > 0.12 && late < end - 0.2 && !video.seeking) video.currentTime = now;
    }
  };
  const signed = (value) => (value < 0 ? "\u2212" : "+") + Math.abs(value).toFixed(1);
  const make = (name, facts, ...children) => {
    const element = Object.assign(document.createElement(name), facts);
    element.append(...children);
    return element;
  };
  return { data, folder, titles, labels, block, file, sources, samples, poster, points, dimensions, score, gap, playable, align, signed, make };
})();
