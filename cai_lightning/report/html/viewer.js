// The list of conversations: a page of lines at a time, whatever their number.

const PAGE = 50;
const PAUSE = 120;

/** Ties the form, the list and the address together. */
class Viewer {
  constructor(report) {
    this.report = report;
    this.search = new Search(report);
    this.conversations = new Conversations(report, this.search);
    this.exceptions = new Set();
    this.form = document.getElementById("query");
    this.list = document.getElementById("list");
    this.listen();
    this.follow();
  }

  listen() {
    let waiting = 0;
    this.form.addEventListener("input", () => {
      clearTimeout(waiting);
      waiting = setTimeout(() => this.ask(), PAUSE);
    });
    this.form.addEventListener("submit", (event) => event.preventDefault());
    document.getElementById("clear").addEventListener("click", () => this.show({ ...FIELDS, unfold: this.query.unfold }));
    document.getElementById("unfold").addEventListener("click", () => this.unfoldAll());
    document.getElementById("earlier").addEventListener("click", () => this.turn(-1));
    document.getElementById("later").addEventListener("click", () => this.turn(1));
    this.list.addEventListener("click", (event) => this.pressed(event));
    addEventListener("hashchange", () => this.follow());
  }

  /** Shows what the address asks for; an address without a query is a place on the page. */
  follow() {
    const isQuery = location.hash.includes("=");
    if (!isQuery && this.query) return;
    const unfold = this.query?.unfold ?? "";
    this.show(isQuery ? { ...readQuery(), unfold: readQuery().unfold || unfold } : { ...FIELDS });
    if (!isQuery) return;
    const open = this.list.querySelector("article.open");
    (open ?? document.getElementById("conversations")).scrollIntoView();
  }

  /** Shows what the form asks for. */
  ask() {
    const asked = Object.fromEntries(new FormData(this.form));
    this.show({ ...FIELDS, unfold: this.query.unfold, ...asked });
    writeQuery(this.query);
  }

  show(query) {
    this.query = query;
    for (const field of this.form.elements) if (field.name) field.value = query[field.name];
    this.found = this.search.find(query);
    const place = this.found.findIndex(({ id }) => id === query.id);
    if (place >= 0) this.query.page = pageOf(place);
    this.draw();
  }

  turn(pages) {
    this.query = { ...this.query, id: "", page: pageOf((this.page + pages) * PAGE) };
    writeQuery(this.query);
    this.draw();
    document.getElementById("conversations").scrollIntoView();
  }

  get page() {
    const last = Math.max(0, Math.ceil(this.found.length / PAGE) - 1);
    return Math.min(last, Math.max(0, (parseInt(this.query.page, 10) || 1) - 1));
  }

  draw() {
    const first = this.page * PAGE;
    const listed = this.found.slice(first, first + PAGE);
    this.list.replaceChildren(...listed.map((conversation) => this.article(conversation)));
    const all = this.report.conversations.length;
    const range = listed.length ? `${first + 1} to ${first + listed.length} of ` : "";
    const count = counted(this.found.length, "conversation");
    document.getElementById("count").textContent = range + count + (this.found.length < all ? `, ${all} in all` : "");
    document.getElementById("earlier").disabled = first === 0;
    document.getElementById("later").disabled = first + PAGE >= this.found.length;
    document.getElementById("unfold").textContent = this.query.unfold ? "Fold all texts" : "Show all texts";
  }

  article(conversation) {
    const isOpen = conversation.id === this.query.id;
    const isUnfolded = Boolean(this.query.unfold) !== this.exceptions.has(conversation.id);
    const column = this.search.column(this.query);
    const made = element("article", { class: isOpen ? "open" : "" });
    made.append(this.conversations.line(conversation, column, isOpen, isUnfolded));
    if (isOpen) made.append(this.conversations.body(conversation, isUnfolded));
    made.conversation = conversation;
    return made;
  }

  pressed(event) {
    const button = event.target.closest("button");
    if (!button) return;
    const article = button.closest("article");
    const { id } = article.conversation;
    if (button.classList.contains("unfold")) this.toggleTexts(id);
    else this.query = { ...this.query, id: this.query.id === id ? "" : id };
    writeQuery(this.query);
    for (const other of this.list.querySelectorAll("article.open")) if (other !== article) this.redraw(other);
    const fresh = this.redraw(article);
    fresh.querySelector("button").focus({ preventScroll: true });
    if (fresh.getBoundingClientRect().top < 0) fresh.scrollIntoView();
  }

  toggleTexts(id) {
    if (!this.exceptions.delete(id)) this.exceptions.add(id);
  }

  unfoldAll() {
    this.query = { ...this.query, unfold: this.query.unfold ? "" : "all" };
    this.exceptions.clear();
    writeQuery(this.query);
    this.draw();
  }

  redraw(article) {
    const fresh = this.article(article.conversation);
    article.replaceWith(fresh);
    return fresh;
  }
}

function pageOf(place) {
  const page = Math.floor(place / PAGE) + 1;
  return page > 1 ? String(page) : "";
}

new Viewer(JSON.parse(document.getElementById("report").textContent));
