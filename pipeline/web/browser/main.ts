/**
 * The page of a site: it routes the prompt while one types, downloads the expert that the routers
 * choose, and shows the text as that expert writes it.
 *
 * @module
 */

/// <reference lib="dom" />

import { ExplainedError, RunError, type Text, wordText } from "../../../kernels/errors.ts";
import { answer } from "../../serving/generate.ts";
import type { Route } from "../../serving/mixing.ts";
import { type Mixture, openMixture } from "../../serving/mixture.ts";
import { createDeno, RUN } from "./deno.ts";
import { type Progress, SiteFiles } from "./files.ts";
import { keepOffline } from "./offline.ts";

/** Milliseconds without a key before the routers are asked. */
const PAUSE = 120;
/** Characters of an example on its button. */
const SHORT = 40;

/** Finds an element of the page by its id. */
function element<Type extends HTMLElement>(id: string): Type {
  return document.getElementById(id) as Type;
}

const fields = {
  prompt: element<HTMLTextAreaElement>("prompt"),
  temperature: element<HTMLInputElement>("temperature"),
  topK: element<HTMLInputElement>("top-k"),
  seed: element<HTMLInputElement>("seed"),
  length: element<HTMLInputElement>("length"),
  by: element<HTMLSelectElement>("by"),
};

/** Makes an element with a class and a text. */
function create(tag: string, className: string, text = ""): HTMLElement {
  return Object.assign(document.createElement(tag), { className, textContent: text });
}

/** A colour for an expert; all are as light, so that each reads as well as the others. */
function colour(expert: number): string {
  const hue = (expert * 137 + 255) % 360;
  return `light-dark(oklch(.48 .15 ${hue}), oklch(.8 .12 ${hue}))`;
}

const megabytes = (bytes: number) => `${(bytes / 1e6).toFixed(1)} MB`;

/** Tells an error in one line: what is wrong, and what to do. */
function errorText(error: unknown): string {
  if (!(error instanceof ExplainedError)) {
    return `This is a fault of the page: ${error}. Load it again, or report it.`;
  }
  const plain = (text: Text) => wordText(text);
  return error.remedy === undefined
    ? plain(error.what)
    : `${plain(error.what)}; ${plain(error.remedy)}`;
}

function showError(error: unknown): void {
  element("error").textContent = error === undefined ? "" : errorText(error);
}

/** Tells why this browser cannot run the page; undefined where it can. */
async function findObstacle(): Promise<string | undefined> {
  if (!isSecureContext) {
    return "A browser computes only on pages that come over https, or from this machine: open " +
      "this page so.";
  }
  const adapter = await navigator.gpu?.requestAdapter();
  if (adapter) return undefined;
  return "This browser offers no WebGPU: open the page in a recent Chrome, Edge, Firefox or " +
    "Safari, and look whether graphics acceleration is switched on.";
}

/** A page with an open mixture. */
class Page {
  #writing: AbortController | undefined;
  #routing = 0;

  constructor(private readonly files: SiteFiles, private readonly mixture: Mixture) {}

  /** Shows the experts, and answers to what the reader does. */
  async start(): Promise<void> {
    const { experts, title } = this.files.site;
    element("title").textContent = title;
    for (const [expert, { example }] of experts.entries()) {
      fields.by.append(new Option(`expert ${expert}`, String(expert)));
      if (example !== null) element("examples").append(this.#exampleButton(expert, example));
    }
    this.#showScores();
    this.files.onProgress = (progress) => this.#showProgress(progress);
    fields.prompt.addEventListener("input", () => this.#routeSoon());
    fields.prompt.addEventListener("keydown", (event) => {
      if (event.key !== "Enter" || !(event.ctrlKey || event.metaKey)) return;
      event.preventDefault();
      this.#write();
    });
    element("form").addEventListener("submit", (event) => {
      event.preventDefault();
      this.#write();
    });
    element("all").addEventListener("click", () => this.#writeAll());
    element("stop").addEventListener("click", () => this.#writing?.abort());
    element("main").hidden = false;
    fields.prompt.focus();
    await this.#showShare();
    await this.#warmUp();
  }

  /** Downloads the routers and has the device compile, while the reader begins to type. */
  async #warmUp(): Promise<void> {
    try {
      await this.mixture.routeAll([Uint32Array.of(0, 0)]);
      await this.#showShare();
    } catch (error) {
      showError(error);
    }
  }

  #exampleButton(expert: number, example: string): HTMLElement {
    const text = example.replace(/\s+/g, " ").trim();
    const short = text.length > SHORT ? `${text.slice(0, SHORT)}…` : text;
    const button = create("button", "", short) as HTMLButtonElement;
    button.type = "button";
    button.title = `begins a text like those of expert ${expert}`;
    button.style.color = colour(expert);
    button.addEventListener("click", () => {
      fields.prompt.value = example;
      fields.prompt.focus();
      this.#routeSoon();
    });
    return button;
  }

  /** Lists the experts with a bar for each: the probability that its router wrote the prefix. */
  #showScores(route?: Route): void {
    const scores = route?.scores ?? [];
    const most = Math.max(...scores);
    const weights = scores.map((score) => Math.exp(score - most));
    const total = weights.reduce((sum, weight) => sum + weight, 0);
    const lines = this.files.site.experts.map(({ words }, expert) => {
      const line = create("li", route?.expert === expert ? "chosen" : "");
      const share = route && weights[expert] / total;
      const track = create("div", "track");
      const bar = create("div", "bar");
      line.style.color = colour(expert);
      if (route) line.dataset.score = String(scores[expert]);
      bar.style.width = `${100 * (share ?? 0)}%`;
      track.append(bar);
      const figure = share === undefined ? "" : `${(100 * share).toFixed(0)}%`;
      line.append(
        create("span", "name", `expert ${expert}`),
        create("span", "figure", figure),
        track,
        create("span", "words", words.join(", ")),
      );
      return line;
    });
    element("scores").replaceChildren(...lines);
    element("why").textContent = this.#reason(route);
  }

  #reason(route?: Route): string {
    if (!route) return "Type, and the routers compare.";
    const { expert, runnerUp, margin, prefixTokens } = route;
    if (runnerUp === null) return "There is one expert.";
    if (prefixTokens < 2) return "One token alone is no evidence.";
    return `Expert ${expert} would write: its router finds the first ${prefixTokens} tokens ` +
      `${margin.toFixed(1)} nats likelier than that of expert ${runnerUp}.`;
  }

  #routeSoon(): void {
    const turn = ++this.#routing;
    setTimeout(() => turn === this.#routing && this.#route(), PAUSE);
  }

  async #route(): Promise<void> {
    const turn = ++this.#routing;
    try {
      const tokenizer = await this.mixture.tokenizer();
      const [tokens] = await tokenizer.encode([fields.prompt.value]);
      const [route] = tokens.length === 0 ? [] : await this.mixture.routeAll([tokens]);
      if (turn === this.#routing) this.#showScores(route);
      showError(undefined);
    } catch (error) {
      showError(error);
    }
    await this.#showShare();
  }

  /** Tells how much of the whole was downloaded. */
  async #showShare(): Promise<void> {
    const { experts, files } = this.files.site;
    const here = await Promise.all(experts.map(({ weights }) => this.files.isHere(weights)));
    const count = here.filter(Boolean).length;
    const all = Object.values(files).reduce((sum, { bytes }) => sum + bytes, 0);
    element("share").textContent = `Downloaded: ${count} of ${experts.length} experts, ` +
      `${megabytes(await this.files.here())} of ${megabytes(all)}.`;
  }

  #showProgress({ path, bytes, total }: Progress): void {
    const progress = element<HTMLProgressElement>("progress");
    progress.hidden = bytes >= total;
    progress.value = bytes / total;
    if (bytes >= total) return;
    const part = `${megabytes(bytes)} of ${megabytes(total)}`;
    element("state").textContent = `downloading ${path}: ${part}`;
  }

  #write(): void {
    const expert = fields.by.value === "" ? undefined : Number(fields.by.value);
    this.#writeBy([expert]);
  }

  #writeAll(): void {
    this.#writeBy([...this.files.site.experts.keys()]);
  }

  /** Has experts continue the prompt, one after another; undefined is the one that it chooses. */
  async #writeBy(experts: readonly (number | undefined)[]): Promise<void> {
    this.#writing?.abort();
    const own = this.#writing = new AbortController();
    const stop = element<HTMLButtonElement>("stop");
    showError(undefined);
    stop.disabled = false;
    element("texts").replaceChildren();
    try {
      for (const expert of experts) {
        await this.#continue(expert, own.signal).catch((error) => {
          // A device that was lost is opened anew; the same seed gives the same text again.
          if (own.signal.aborted || !(error instanceof RunError)) throw error;
          element("texts").lastElementChild?.remove();
          return this.#continue(expert, own.signal);
        });
      }
    } catch (error) {
      if (!own.signal.aborted) showError(error);
      else if (this.#writing === own) element("state").textContent = "stopped";
    } finally {
      if (this.#writing === own) stop.disabled = true;
      await this.#showShare();
    }
  }

  async #continue(expert: number | undefined, signal: AbortSignal): Promise<void> {
    const prompt = fields.prompt.value;
    const number = ({ valueAsNumber: value }: HTMLInputElement, otherwise: number) =>
      Number.isFinite(value) ? value : otherwise;
    const settings = {
      maxNewTokens: number(fields.length, 100),
      temperature: number(fields.temperature, 0.8),
      topK: number(fields.topK, 0),
      seed: number(fields.seed, 0),
    };
    element("state").textContent = "waiting …";
    const article = create("article", "");
    element("texts").append(article);
    const generation = await answer(this.mixture, { prompt, expert, signal, ...settings });
    const writer = generation.expert!;
    if (generation.route) this.#showScores(generation.route);
    await this.#showShare();
    const text = create("p", "");
    const words = this.files.site.experts[writer].words.join(", ");
    article.style.color = colour(writer);
    text.append(create("span", "prompt", prompt));
    article.append(create("h3", "", `Expert ${writer}: ${words}`), text);
    const began = performance.now();
    for await (const piece of generation) {
      text.append(piece);
      const rate = generation.tokens.length / (performance.now() - began) * 1000;
      element("state").textContent = `${generation.tokens.length} tokens, ${
        rate.toFixed(1)
      } per second`;
    }
  }
}

/** Opens the site that this page belongs to. */
async function open(): Promise<void> {
  const obstacle = await findObstacle();
  if (obstacle !== undefined) {
    element("error").textContent = obstacle;
    return;
  }
  const files = await SiteFiles.open(document.baseURI);
  Object.assign(globalThis, { Deno: createDeno(files) });
  await keepOffline();
  await files.dropOthers();
  const mixture = await openMixture({ run: RUN });
  await new Page(files, mixture).start();
}

/** Starts the page. */
export function start(): void {
  open().catch(showError);
}
