"use strict";
// One list of clips per prompt, one clock for all players. Nothing plays before a button is pressed.
const data = JSON.parse(document.getElementById("clip-data").textContent);
const part = (id) => document.getElementById(id);
const box = part("clips"), chosen = part("chosen"), seek = part("seek"), play = part("play"), time = part("time");
let videos = [];

function show(index) {
  pause();
  const entry = data.prompts[index];
  part("prompt-text").textContent = entry.prompt;
  part("extended-text").textContent = entry.extended;
  videos = [];
  box.replaceChildren(...data.rows.map((row) => {
    const figure = document.createElement("figure"), caption = document.createElement("figcaption");
    caption.textContent = row.label;
    let picture;
    if (row.row in entry.clips) {
      picture = document.createElement("video");
      picture.muted = true;
      picture.loop = true;
      picture.playsInline = true;
      picture.preload = "auto";
      picture.setAttribute("aria-label", row.label + ": " + entry.prompt);
      picture.src = "data:video/mp4;base64," + entry.clips[row.row];
      videos.push(picture);
    } else {
      picture = document.createElement("div");
      picture.className = "absent";
      picture.textContent = "no clip";
    }
    figure.append(picture, caption);
    return figure;
  }));
  if (videos.length) videos[0].addEventListener("timeupdate", follow);
  seek.value = 0;
  time.textContent = "frame 1";
}

function length() { return videos.length && videos[0].duration || 1; }
function label(seconds) { time.textContent = "frame " + (1 + Math.floor(seconds * data.fps + 0.01)); }
function follow() {
  const now = videos[0].currentTime;
  seek.value = 1000 * now / length();
  label(now);
  for (const video of videos) {
    const gap = Math.abs(video.currentTime - now);
    if (!video.paused && gap > 0.15 && gap < length() - 0.15) video.currentTime = now;
  }
}
function jump(seconds) {
  const end = length() - 0.5 / data.fps, at = Math.min(Math.max(seconds, 0), end);
  for (const video of videos) video.currentTime = at;
  seek.value = 1000 * at / length();
  label(at);
}
function pause() {
  for (const video of videos) video.pause();
  play.textContent = "Play";
  play.setAttribute("aria-pressed", "false");
}
function toggle() {
  if (play.getAttribute("aria-pressed") === "true") { pause(); return; }
  for (const video of videos) { video.currentTime = videos[0].currentTime; video.play().catch(() => {}); }
  play.textContent = "Pause";
  play.setAttribute("aria-pressed", "true");
}
function step(frames) {
  pause();
  if (videos.length) jump((Math.round(videos[0].currentTime * data.fps) + frames) / data.fps + 0.1 / data.fps);
}
function turn(by) {
  chosen.selectedIndex = (chosen.selectedIndex + by + data.prompts.length) % data.prompts.length;
  show(chosen.selectedIndex);
}
if (data.prompts.length) {
  chosen.addEventListener("change", () => show(chosen.selectedIndex));
  play.addEventListener("click", toggle);
  part("back").addEventListener("click", () => step(-1));
  part("forward").addEventListener("click", () => step(1));
  part("start").addEventListener("click", () => { pause(); jump(0); });
  part("previous").addEventListener("click", () => turn(-1));
  part("next").addEventListener("click", () => turn(1));
  seek.addEventListener("input", () => { pause(); jump(seek.value / 1000 * length()); });
  show(0);
}
