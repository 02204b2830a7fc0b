// Which conversations are listed, and in which order. The query lives behind the `#` of the address.

const FIELDS = { q: "", category: "", principle: "", run: "", metric: "", show: "", sort: "", page: "", id: "", unfold: "" };

function readQuery() {
  const written = new URLSearchParams(location.hash.slice(1));
  return Object.fromEntries(Object.keys(FIELDS).map((name) => [name, written.get(name) ?? FIELDS[name]]));
}

function writeQuery(query) {
  const written = Object.entries(query).filter(([, value]) => value !== "");
  history.replaceState(null, "", `#${new URLSearchParams(written)}`);
}

/** Answers what a query asks of the conversations of a report. */
class Search {
  constructor(report) {
    this.report = report;
    this.lowered = new Map();
  }

  find(query) {
    const filters = [this.saying(query.q), this.among(query), this.showing(query)];
    const found = this.report.conversations.filter((conversation) => filters.every((holds) => holds(conversation)));
    return this.sorted(found, query);
  }

  runs(query) {
    const chosen = this.report.runs.indexOf(query.run);
    return chosen < 0 ? this.report.runs.map((_, run) => run) : [chosen];
  }

  column(query) {
    return Math.max(0, this.report.columns.findIndex((column) => column.name === query.metric));
  }

  /** How much better than the baseline a run's score is; null where one of the two is unscored, or was judged otherwise. */
  gain(conversation, column, run) {
    const scores = conversation.scores[column];
    const { baseline, columns } = this.report;
    const compared = columns[column]?.compared;
    if (!compared?.[run] || !compared[baseline]) return null;
    if (!scores || run === baseline || scores[run] === null || scores[baseline] === null) return null;
    return (scores[run] - scores[baseline]) * (columns[column].direction === "lower" ? -1 : 1);
  }

  saying(text) {
    const sought = text.trim().toLowerCase();
    return (conversation) => !sought || conversation.id === sought || this.text(conversation).includes(sought);
  }

  /** Everything that was said in a conversation, in small letters; made once. */
  text(conversation) {
    if (!this.lowered.has(conversation.id)) {
      const places = new Set(spokenIn(conversation));
      const said = [...places].map((place) => this.report.texts[place]).join("\n");
      this.lowered.set(conversation.id, said.toLowerCase());
    }
    return this.lowered.get(conversation.id);
  }

  among({ category, principle }) {
    const { principles } = this.report;
    const isUnder = (round) => principles[round.principle].id === principle;
    const used = ({ revisions }) => revisions.some((chain) => chain?.rounds.some(isUnder));
    return (conversation) =>
      (!category || conversation.category === category) && (!principle || used(conversation));
  }

  showing(query) {
    const runs = this.runs(query);
    const column = this.column(query);
    const some = (holds) => (conversation) => runs.some((run) => holds(conversation, conversation.responses[run], run));
    const tests = {
      refused: some((_, response) => response?.refused === true),
      answered: some((_, response) => response?.refused === false),
      cut: some((_, response) => response?.finish === "length"),
      unscored: some(({ scores }, _, run) => scores[column]?.[run] === null),
      better: some((conversation, _, run) => this.gain(conversation, column, run) > 0),
      worse: some((conversation, _, run) => this.gain(conversation, column, run) < 0),
      differ: ({ responses }) => new Set(responses.filter(Boolean).map(({ refused }) => refused)).size > 1,
    };
    return tests[query.show] ?? (() => true);
  }

  sorted(found, query) {
    const runs = this.runs(query);
    const column = this.column(query);
    const alike = runs.filter((run) => this.report.columns[column]?.compared[run]);
    const scores = (conversation, among = runs) => among.map((run) => conversation.scores[column]?.[run] ?? null);
    const known = (conversation, among) => scores(conversation, among).filter((value) => value !== null);
    const keys = {
      lowest: (conversation) => Math.min(...known(conversation)),
      highest: (conversation) => -Math.max(...known(conversation)),
      apart: (conversation) => Math.min(...known(conversation, alike)) - Math.max(...known(conversation, alike)),
      longest: ({ responses }) =>
        -Math.max(...runs.map((run) => this.report.texts[responses[run]?.text]?.length ?? 0)),
    };
    const key = keys[query.sort];
    if (!key) return found;
    const keyed = found.map((conversation) => [key(conversation), conversation]);
    return keyed.sort(([first], [second]) => (first === second ? 0 : first - second)).map(([, found]) => found);
  }
}

/** The places of all texts that belong to a conversation. */
function* spokenIn({ turns, references, responses, revisions }) {
  for (const [, text] of turns) yield text;
  yield* references;
  for (const response of responses) if (response) yield response.text;
  for (const chain of revisions) {
    if (!chain) continue;
    yield chain.initial;
    for (const { critique, revision } of chain.rounds) {
      if (critique !== null) yield critique;
      yield revision;
    }
  }
}
