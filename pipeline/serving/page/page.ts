/**
 * The page that tries a mixture: a prompt, what the routers make of it, and texts as they come.
 * Answers come from a {@link Source}: the browser itself, or a server. The server hands out this
 * file without its types, so it imports only types and only syntax that can be erased.
 *
 * @module
 */

/// <reference lib="dom" />

import type { Answering, Route } from "../mixing.ts";

/** A model that the reader may choose. */
export interface Model {
  id: string;
  title: string;
  /** Its number among the experts; null of the mixture and of other models. */
  expert: number | null;
  /** Words that set it apart from other experts. */
  words: readonly string[];
  /** The beginning of a text like those that it read. */
  example: string | null;
}

/** What the reader asks for. */
export interface Ask {
  model: string;
  prompt: string;
  maxNewTokens: number;
  temperature: number;
  topK: number;
  topP: number;
  seed: number;
  stop: readonly string[];
  mix: number;
  reroute?: number;
  exclude: readonly number[];
}

/** Who writes, and why. */
export interface Writer {
  model: string;
  expert: number | null;
  /** What the routers said; null where a model was named. */
  route: Route | null;
  /** The experts that write together, where there are several. */
  answering: readonly Answering[];
}

/** A piece of a text, and who wrote it. */
export interface WrittenPiece extends Writer {
  text: string;
  /** New tokens so far, where they are counted. */
  tokens?: number;
  /** Why the text ends with this piece. */
  finish?: "stop" | "length";
}

/** Where answers come from. */
export interface Source {
  title: string;
  about: string;
  privacy: string;
  /** Lists the models; the first one is the mixture. */
  models(): Promise<readonly Model[]>;
  /** Tells how much of the mixture is downloaded or loaded. */
  share(): string;
  /** Asks the routers who would continue a prompt; null where it is empty. */
  route(prompt: string, exclude: readonly number[]): Promise<Writer | null>;
  write(ask: Ask, signal: AbortSignal): AsyncIterable<WrittenPiece>;
  /** Tells an error in one line. */
  explain(error: unknown): string;
}

/** Milliseconds without a key before the routers are asked. */
const PAUSE = 120;
/** Characters of an example on its button. */
const SHORT = 40;
const NOT_ASKED = "Type, and the routers compare.";
const ENDS = { stop: "it ended by itself", length: "as long as asked, or as fits" };

/** Finds an element of the page by its id. */
export function element<Type extends HTMLElement>(id: string): Type {
  return document.getElementById(id) as Type;
}

const prompt = element<HTMLTextAreaElement>("prompt");
const model = element<HTMLSelectElement>("model");

/** Makes an element with a class and a text. */
function create(tag: string, className = "", text = ""): HTMLElement {
  return Object.assign(document.createElement(tag), { className, textContent: text });
}

/** A colour for an expert; all are as light, so that each reads as well as the others. */
function colour(expert: number): string {
  const hue = (expert * 137 + 255) % 360;
  return `light-dark(oklch(.48 .15 ${hue}), oklch(.8 .12 ${hue}))`;
}

/** Reads a field of a number; an empty one means what it began with. */
function readNumber(id: string): number | undefined {
  const { valueAsNumber, defaultValue } = element<HTMLInputElement>(id);
  if (Number.isFinite(valueAsNumber)) return valueAsNumber;
  return defaultValue === "" ? undefined : Number(defaultValue);
}

const readText = (id: string) => element<HTMLInputElement>(id).value;
const readExcluded = () => readText("exclude").match(/\d+/g)?.map(Number) ?? [];

/** Shows in one line what is wrong; an empty line hides it. */
export function showError(line: string): void {
  element("error").textContent = line;
}

/** Describes by how much an expert is ahead of the second best. */
function describeLead({ expert, scores, margin, runnerUp, prefixTokens, cost }: Route): string {
  const beginning = prefixTokens === 1 ? "the first token" : `the first ${prefixTokens} tokens`;
  if (runnerUp === null) return "it is the only one";
  if (cost === undefined) {
    if (prefixTokens === 1) return "one token alone is no evidence";
    const nats = margin.toFixed(1);
    return `its router finds ${beginning} ${nats} nats likelier than that of expert ${runnerUp}`;
  }
  const [itsCost, less] = [-scores[expert], margin].map((value) => Number(value.toPrecision(3)));
  return `the ${cost} of ${beginning} is ${itsCost}, ${less} less than that of expert ${runnerUp}`;
}

/** Describes who writes, or would, and why. */
function describeWriter({ model, expert, route, answering }: Writer, writes: string): string {
  const name = expert === null ? model : `Expert ${expert}`;
  if (!route) return `${name} ${writes}, as asked.`;
  if (expert === null) return `${name} ${writes}, as the routers are unsure.`;
  const reason = `${name} ${writes}: ${describeLead(route)}.`;
  if (answering.length < 2) return reason;
  const shares = answering.map(({ expert, weight }) =>
    `${(100 * weight).toFixed(0)}% expert ${expert}`
  );
  return `${reason} Mixed: ${shares.join(", ")}.`;
}

/** The page, once it is open. */
export class Page {
  readonly #source: Source;
  #models: readonly Model[] = [];
  #writing: AbortController | undefined;
  #asked = 0; // questions to the routers

  /** Shows a source's words; nothing is asked of it yet. */
  constructor(source: Source) {
    this.#source = source;
    element("title").textContent = source.title;
    element("about").textContent = source.about;
    element("privacy").textContent = source.privacy;
  }

  /** Shows the models, and answers to what the reader does. */
  async start(): Promise<void> {
    const change = () => this.#routeSoon();
    prompt.addEventListener("input", change);
    element("exclude").addEventListener("input", change);
    prompt.addEventListener("keydown", (event) => {
      if (event.key !== "Enter" || !(event.ctrlKey || event.metaKey)) return;
      event.preventDefault();
      this.#write([this.#ask()]);
    });
    element("form").addEventListener("submit", (event) => {
      event.preventDefault();
      this.#write([this.#ask()]);
    });
    element("all").addEventListener("click", () => {
      const alone = { ...this.#ask(), mix: 1, reroute: undefined, exclude: [] };
      this.#write(this.#experts().map(({ id }) => ({ ...alone, model: id })));
    });
    element("stop").addEventListener("click", () => this.#writing?.abort());
    element("main").hidden = false;
    prompt.focus();
    await this.refresh();
  }

  /** Lists the models anew, and how much of them is here. */
  async refresh(): Promise<void> {
    try {
      const wasEmpty = this.#models.length === 0;
      this.#models = await this.#source.models();
      const chosen = model.value;
      model.replaceChildren(...this.#models.map(({ id, title }) => new Option(title, id)));
      if (this.#models.some(({ id }) => id === chosen)) model.value = chosen;
      if (wasEmpty) {
        element("examples").replaceChildren(...this.#exampleButtons());
        this.#showScores(null);
        element("why").textContent = NOT_ASKED;
        showError("");
      }
      this.showShare();
    } catch (error) {
      showError(this.#source.explain(error));
    }
  }

  /** Tells how much of the whole is here. */
  showShare(): void {
    const share = element("share");
    const line = this.#source.share();
    if (share.textContent !== line) share.textContent = line; // a reader of screens says it again
  }

  /** Shows how far a download is. */
  showProgress(name: string, part: number, line: string): void {
    const progress = element<HTMLProgressElement>("progress");
    progress.hidden = part >= 1;
    progress.value = part;
    if (part < 1) element("state").textContent = `downloading ${name}: ${line}`;
  }

  #experts(): (Model & { expert: number })[] {
    return this.#models.flatMap((model) =>
      model.expert === null ? [] : [{ ...model, expert: model.expert }]
    );
  }

  #words(expert: number): string {
    return this.#models.find((model) => model.expert === expert)?.words.join(", ") ?? "";
  }

  #exampleButtons(): HTMLElement[] {
    return this.#experts().flatMap(({ expert, example }) => {
      if (example === null) return [];
      const text = example.replace(/\s+/g, " ").trim();
      const short = text.length > SHORT ? `${text.slice(0, SHORT)}…` : text;
      const button = create("button", "", short) as HTMLButtonElement;
      button.type = "button";
      button.title = `begins a text like those of expert ${expert}`;
      button.style.color = colour(expert);
      button.addEventListener("click", () => {
        prompt.value = example;
        prompt.focus();
        this.#routeSoon();
      });
      return [button];
    });
  }

  /** Lists the experts with a bar for each: the probability that its router wrote the prefix. */
  #showScores(route: Route | null): void {
    const scores = route?.scores ?? [];
    const most = Math.max(...scores);
    const weights = scores.map((score) => Math.exp(score - most));
    const total = weights.reduce((sum, weight) => sum + weight, 0);
    const experts = route ? [...scores.keys()] : this.#experts().map(({ expert }) => expert);
    const list = element("scores");
    if (list.children.length !== experts.length) {
      list.replaceChildren(...experts.map((expert) => this.#scoreLine(expert)));
    }
    for (const [place, expert] of experts.entries()) {
      const line = list.children[place] as HTMLElement;
      const share = route ? 100 * weights[expert] / total : 0;
      line.className = route?.expert === expert ? "chosen" : "";
      if (route) line.dataset.score = String(scores[expert]);
      line.querySelector(".figure")!.textContent = route ? `${share.toFixed(0)}%` : "";
      line.querySelector<HTMLElement>(".bar")!.style.width = `${share}%`;
    }
  }

  #scoreLine(expert: number): HTMLElement {
    const line = create("li");
    const track = create("div", "track");
    track.append(create("div", "bar"));
    line.style.color = colour(expert);
    line.append(
      create("span", "name", `expert ${expert}`),
      create("span", "figure"),
      track,
      create("span", "words", this.#words(expert)),
    );
    return line;
  }

  #routeSoon(): void {
    const turn = ++this.#asked;
    setTimeout(() => turn === this.#asked && this.#route(), PAUSE);
  }

  async #route(): Promise<void> {
    const turn = ++this.#asked;
    const excluded = readExcluded();
    try {
      const writer = await this.#source.route(prompt.value, excluded);
      if (turn !== this.#asked) return;
      this.#showScores(writer?.route ?? null);
      element("why").textContent = writer ? describeWriter(writer, "would write") : NOT_ASKED;
      showError("");
    } catch (error) {
      if (turn === this.#asked) showError(this.#source.explain(error));
    }
    this.showShare();
  }

  /** Shows who writes, and why. */
  #showWriter(writer: Writer): void {
    this.#asked++; // an answer about the prompt alone comes too late now
    if (writer.route) this.#showScores(writer.route);
    element("why").textContent = describeWriter(writer, "writes");
  }

  /** Has models write, one after another. */
  async #write(asks: readonly Ask[]): Promise<void> {
    this.#writing?.abort();
    const writing = this.#writing = new AbortController();
    const stop = element<HTMLButtonElement>("stop");
    const state = element("state");
    showError("");
    stop.disabled = false;
    element("texts").replaceChildren();
    for (const busy of [state, element("texts")]) busy.setAttribute("aria-busy", "true");
    try {
      for (const ask of asks) await this.#continue(ask, writing.signal);
    } catch (error) {
      if (this.#writing !== writing) return; // another text is being written
      state.textContent = writing.signal.aborted ? "stopped" : "";
      if (!writing.signal.aborted) showError(this.#source.explain(error));
    } finally {
      if (this.#writing === writing) {
        stop.disabled = true;
        for (const busy of [state, element("texts")]) busy.setAttribute("aria-busy", "false");
        await this.refresh();
      }
    }
  }

  #ask(): Ask {
    const stop = readText("stop-text");
    return {
      model: model.value,
      prompt: prompt.value,
      maxNewTokens: readNumber("length")!,
      temperature: readNumber("temperature")!,
      topK: readNumber("top-k")!,
      topP: readNumber("top-p")!,
      seed: readNumber("seed") ?? Math.floor(Math.random() * 2 ** 32),
      stop: stop === "" ? [] : [stop],
      mix: readNumber("mix")!,
      reroute: readNumber("reroute"),
      exclude: readExcluded(),
    };
  }

  /** Shows a text while it comes. */
  async #continue(ask: Ask, signal: AbortSignal): Promise<void> {
    const state = element("state");
    const article = create("article");
    const heading = create("h3");
    const text = create("p");
    const legend = create("ul", "legend");
    text.append(create("span", "prompt", ask.prompt));
    article.append(heading, text, legend);
    element("texts").append(article);
    state.textContent = "waiting …";
    let began = performance.now();
    let shown = "";
    let writer: number | null = null;
    let turn: HTMLElement = text;
    for await (const piece of this.#source.write(ask, signal)) {
      signal.throwIfAborted();
      const { expert, route, answering, tokens, finish } = piece;
      const about = JSON.stringify([expert, route, answering]);
      if (about !== shown) this.#showWriter(piece);
      if (shown === "" && expert !== null) article.style.color = colour(expert);
      if (shown === "") heading.textContent = this.#describeText(piece, ask);
      shown = about;
      if (ask.reroute !== undefined && piece.text !== "" && expert !== writer && expert !== null) {
        writer = expert;
        turn = beginTurn(expert);
        text.append(turn);
        if (!legend.querySelector(`[data-expert="${expert}"]`)) {
          legend.append(this.#legendLine(expert));
        }
      }
      turn.append(piece.text);
      if (tokens === undefined) state.textContent = "writing …";
      else if (tokens === 0 && !finish) began = performance.now();
      else {
        const rate = tokens / (performance.now() - began) * 1000;
        const end = finish ? `; ${ENDS[finish]}` : "";
        state.textContent = `${tokens} tokens, ${rate.toFixed(0)} per second${end}`;
      }
    }
  }

  /** Gives the heading of a text: who writes it. */
  #describeText({ model, expert }: Writer, { reroute }: Ask): string {
    if (reroute !== undefined) return "Experts in turn";
    if (expert === null) return model;
    const words = this.#words(expert);
    return `Expert ${expert}${words === "" ? "" : `: ${words}`}`;
  }

  #legendLine(expert: number): HTMLElement {
    const line = create("li");
    const mark = create("b", "", String(expert));
    line.dataset.expert = mark.dataset.expert = String(expert);
    mark.style.color = colour(expert);
    line.append(mark, ` expert ${expert} `, create("span", "", this.#words(expert)));
    return line;
  }
}

/** Begins the part of a text that an expert writes, in its colour. */
function beginTurn(expert: number): HTMLElement {
  const turn = create("span", "turn");
  turn.dataset.expert = String(expert);
  turn.title = `expert ${expert}`;
  turn.setAttribute("role", "group");
  turn.setAttribute("aria-label", turn.title);
  turn.style.color = colour(expert);
  return turn;
}
