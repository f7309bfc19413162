"use strict";
// The section in view is marked in the bar of sections, which moves along on a phone.
{
  const links = new Map([...document.querySelectorAll("body > nav a")].map((link) => [link.hash.slice(1), link]));
  const bar = document.querySelector("body > nav"), seen = new Set();
  const watch = new IntersectionObserver((entries) => {
    for (const { target, isIntersecting } of entries) isIntersecting ? seen.add(target.id) : seen.delete(target.id);
    const now = [...links.keys()].find((id) => seen.has(id));
    for (const [id, link] of links) id === now ? link.setAttribute("aria-current", "true") : link.removeAttribute("aria-current");
    if (now) bar.scrollTo({ left: links.get(now).offsetLeft - bar.clientWidth / 2 + links.get(now).clientWidth / 2 });
  }, { rootMargin: "-20% 0px -70% 0px" });
  for (const id of links.keys()) if (document.getElementById(id)) watch.observe(document.getElementById(id));
}

// A link to what lies folded opens it. Print opens the sections that say something on paper, and closes them again.
{
  const open = () => {
    const target = location.hash.length > 1 && document.getElementById(decodeURIComponent(location.hash.slice(1)));
    if (!target) return;
    const own = target.querySelector(":scope > details.fold");
    if (own) own.open = true;
    for (let fold = target.closest("details"); fold; fold = fold.parentElement.closest("details")) fold.open = true;
    target.scrollIntoView();
  };
  addEventListener("hashchange", open);
  addEventListener("click", (event) => {  // the address may already end with it
    const link = event.target.closest('a[href^="#"]');
    if (link && link.hash === location.hash) open();
  });
  addEventListener("load", open);  // the players above have their height by then
  const printed = [];
  addEventListener("beforeprint", () => {
    printed.push(...document.querySelectorAll("details[data-print]:not([open])"));
    for (const fold of printed) fold.open = true;
  });
  addEventListener("afterprint", () => {
    for (const fold of printed.splice(0)) fold.open = false;
  });
}

// On a phone the main table starts with its scores; the other columns are a press away.
if (matchMedia("(max-width: 40rem)").matches) {
  for (const id of ["col-gap", "col-published", "col-speed"]) {
    const box = document.getElementById(id);
    if (box) box.checked = false;
  }
}
