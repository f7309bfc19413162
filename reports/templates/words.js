"use strict";
// A count with its noun, as in evaluation/words.py: "1 model", "1,200 models".
const numbered = (count, noun) => count.toLocaleString("en") + " " + noun + (count === 1 ? "" : "s");

