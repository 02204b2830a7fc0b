// One conversation: its line in the list and, once it is opened, everything that was said in it.

const SPEAKERS = { user: "Human", assistant: "Assistant", system: "System" };

/** Draws the conversations of a report. */
class Conversations {
  constructor(report, search) {
    this.report = report;
    this.search = search;
  }

  /** The line that stands in the list and opens the conversation. */
  line(conversation, column, isOpen, isUnfolded) {
    return element(
      "button",
      { type: "button", class: "line", "aria-expanded": isOpen },
      element("span", { class: "opening" }, this.category(conversation), this.preview(conversation, isUnfolded)),
      element("span", { class: "marks" }, ...this.marks(conversation, column)),
    );
  }

  category({ category }) {
    return category === null ? null : element("span", { class: "category" }, visible(category));
  }

  preview({ turns, id }, isUnfolded) {
    const text = turns.length ? this.report.texts[turns.at(-1)[1]] : `prompt ${id} is not recorded`;
    if (isUnfolded) return element("span", { class: "preview" }, visible(text.slice(0, 300)));
    return element("span", { class: "preview folded" }, `Prompt of ${counted(words(text).length, "word")}, folded`);
  }

  /** One mark for each run: its score in the chosen metric, and whether it refused. */
  marks(conversation, column) {
    return this.report.runs.map((run, n) => {
      const response = conversation.responses[n];
      const score = conversation.scores[column]?.[n];
      const said = response?.refused ? "refused" : response ? "answered" : "no response";
      const title = `${run}: ${said}, ${this.report.columns[column]?.name ?? "no metric"} ${shownScore(score)}`;
      const kind = response?.refused ? "mark refused" : "mark";
      return element("span", { class: `${kind} ${this.report.colors[n]}`, title }, shownScore(score));
    });
  }

  /** All that belongs to the conversation. Texts are folded until somebody wants to read them. */
  body(conversation, isUnfolded) {
    this.isUnfolded = isUnfolded;
    const { turns, references } = conversation;
    return element(
      "div",
      { class: "body" },
      this.controls(conversation, isUnfolded),
      ...turns.map(([role, text]) => this.said(SPEAKERS[role] ?? role, this.report.texts[text], "prompt")),
      element("div", { class: "chains" }, ...this.chains(conversation)),
      ...references.map((text) => this.said("Reference: the held-out revision", this.report.texts[text])),
      element("div", { class: "responses" }, ...this.report.runs.map((run, n) => this.response(conversation, run, n))),
    );
  }

  controls({ id }, isUnfolded) {
    return element(
      "p",
      { class: "controls" },
      element("button", { type: "button", class: "unfold" }, isUnfolded ? "Fold the texts" : "Show the texts"),
      element("a", { href: `#${new URLSearchParams({ id })}` }, "link to this conversation"),
      element("code", {}, visible(id)),
    );
  }

  said(label, text, kind = "", remark = "", before = null, thought = null) {
    const title = element("h4", {}, visible(label), remark ? element("small", {}, visible(remark)) : null);
    if (!this.isUnfolded) {
      const folded = element("p", { class: "folded" }, `${counted(words(text).length, "word")}, folded`);
      return element("div", { class: `said ${kind}` }, title, folded);
    }
    const shown = before === null ? visible(text) : marked(text, before);
    const paragraph = element("p", { class: "text", dir: "auto" }, shown);
    return element("div", { class: `said ${kind}` }, title, this.thought(thought), paragraph);
  }

  /** What was thought before, folded even where texts are shown. */
  thought(place) {
    if (place === null) return null;
    const text = this.report.texts[place];
    const summary = element("summary", {}, `Thought of ${counted(words(text).length, "word")}`);
    return element("details", { class: "details" }, summary, element("p", { class: "remark" }, visible(text)));
  }

  /** Initial response, critiques and revisions of every run that has made some; equal ones are shown once. */
  chains({ revisions }) {
    const shown = new Map();
    revisions.forEach((chain, n) => {
      if (!chain) return;
      const key = JSON.stringify(chain);
      shown.set(key, [...(shown.get(key) ?? []), this.report.runs[n]]);
    });
    return [...shown].map(([key, runs]) => this.chain(JSON.parse(key), runs));
  }

  chain({ initial, finish, thoughts, rounds }, runs) {
    const texts = this.report.texts;
    const endings = [...finish];
    const thought = [...thoughts];
    const said = (label, place, kind, before = null) =>
      this.said(label, texts[place], kind, shownEnding(endings.shift()), before, thought.shift());
    const parts = [said("Initial response", initial, "initial")];
    let before = texts[initial];
    rounds.forEach((round, n) => {
      const number = rounds.length > 1 ? ` ${n + 1}` : "";
      parts.push(this.principle(round));
      if (round.critique !== null) {
        parts.push(said(`Critique${number}`, round.critique, "critique"));
      }
      parts.push(said(`Revision${number}`, round.revision, "revision", before));
      before = texts[round.revision];
    });
    const title = element("summary", {}, "Critique and revision of ", element("strong", {}, visible(runs.join(", "))));
    return element("details", { class: "chain", open: "" }, title, ...parts);
  }

  principle({ principle, similarity }) {
    const { id, request } = this.report.principles[principle];
    const how = similarity === null ? "" : `, similarity ${similarity.toFixed(2)}`;
    const named = id === request ? "Principle" : `Principle ${id}`;
    return element("p", { class: "principle" }, element("strong", {}, visible(named), how), " ", visible(request));
  }

  response(conversation, run, n) {
    const response = conversation.responses[n];
    const name = element("h3", { class: `run ${this.report.colors[n]}` }, visible(run));
    const scores = element("dl", { class: "scores" }, ...this.scores(conversation, n));
    if (!response) return element("section", {}, name, element("p", { class: "folded" }, "No response."), scores);
    const remarks = [response.refused ? "refuses" : "", shownEnding(response.finish)].filter(Boolean).join(", ");
    const said = this.report.texts[response.text];
    const text = this.said("Response", said, "response", remarks, null, response.thought);
    return element("section", {}, name, text, scores, this.details(conversation, n));
  }

  /** The scores of a run, each with what the baseline makes of it, or with why there is none. */
  scores(conversation, run) {
    return this.report.columns.flatMap(({ name }, column) => {
      const score = shownScore(conversation.scores[column][run]);
      const gain = this.search.gain(conversation, column, run);
      const isVisible = gain && score !== shownScore(conversation.scores[column][this.report.baseline]);
      const verdict = gain > 0 ? "better" : "worse";
      const value = element("dd", {}, score, isVisible ? element("small", { class: verdict }, verdict) : null);
      const reason = conversation.reasons[`${column},${run}`];
      const why = reason === undefined ? [] : [element("dd", { class: "remark" }, visible(this.report.texts[reason]))];
      return [element("dt", {}, visible(name)), value, ...why];
    });
  }

  /** What the evaluators have said besides, which may quote the response. */
  details(conversation, run) {
    if (!this.isUnfolded) return null;
    const lines = this.report.columns.flatMap(({ name }, column) => {
      const place = conversation.details[`${column},${run}`];
      const text = this.report.texts[place];
      return place === undefined ? [] : [element("p", { class: "remark" }, visible(`${name}\n${text}`))];
    });
    return lines.length ? element("details", { class: "details" }, element("summary", {}, "Details"), ...lines) : null;
  }
}

function shownScore(score) {
  if (score === null || score === undefined) return "–";
  return Number.isInteger(score) ? String(score) : score.toFixed(Math.abs(score) < 10 ? 2 : 1);
}

/** How a reply ended, where that is worth a word. */
function shownEnding(reason) {
  if (!reason || reason === "stop") return "";
  return reason === "length" ? "cut off" : reason;
}
