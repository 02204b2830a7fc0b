// Text of models, evaluators and files reaches the page as text nodes alone: nothing in it is ever read as HTML.

const HIDDEN = /(?![\n\t\u200c\u200d])[\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}]/gu;

/** An element; children that are strings become text. */
function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children.filter((child) => child !== null));
  return made;
}

/** The text with what a browser would obey or hide, such as a change of direction, written as escapes. */
function visible(text) {
  const parts = document.createDocumentFragment();
  let place = 0;
  for (const match of text.matchAll(HIDDEN)) {
    const code = match[0].codePointAt(0).toString(16).padStart(4, "0");
    parts.append(text.slice(place, match.index), element("span", { class: "escape" }, `\\u${code}`));
    place = match.index + match[0].length;
  }
  parts.append(text.slice(place));
  return parts;
}

function words(text) {
  return text.split(/\s+/).filter(Boolean);
}

function counted(number, noun) {
  return `${number.toLocaleString("en")} ${noun}${number === 1 ? "" : "s"}`;
}

/** A revision with the words marked that the answer before it does not have in this order. */
function marked(text, before) {
  const parts = text.split(/(\s+)/);
  const kept = commonWords(before.split(/\s+/), parts.filter((_, n) => n % 2 === 0));
  const isNew = (n) => (n % 2 ? isNew(n - 1) && isNew(n + 1) : parts[n] !== "" && !kept.has(n / 2));
  const made = document.createDocumentFragment();
  for (let start = 0, end; start < parts.length; start = end) {
    for (end = start + 1; end < parts.length && isNew(end) === isNew(start);) end++;
    const run = visible(parts.slice(start, end).join(""));
    made.append(isNew(start) ? element("ins", {}, run) : run);
  }
  return made;
}

const MOST_CELLS = 4_000_000;

/** The places in `after` of a longest common subsequence of words; all of them where the texts are too long for it. */
function commonWords(before, after) {
  const width = after.length + 1;
  if ((before.length + 1) * width > MOST_CELLS) return new Set(after.keys());
  const lengths = new Uint16Array((before.length + 1) * width);
  for (let row = before.length - 1; row >= 0; row--) {
    for (let column = after.length - 1; column >= 0; column--) {
      const here = row * width + column;
      lengths[here] = before[row] === after[column]
        ? lengths[here + width + 1] + 1
        : Math.max(lengths[here + width], lengths[here + 1]);
    }
  }
  const kept = new Set();
  for (let row = 0, column = 0; row < before.length && column < after.length;) {
    const here = row * width + column;
    if (before[row] === after[column]) {
      kept.add(column);
      row++;
      column++;
    } else if (lengths[here + width] >= lengths[here + 1]) row++;
    else column++;
  }
  return kept;
}
