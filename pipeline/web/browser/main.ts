/**
 * The page with answers of the browser's own: it routes the prompt, downloads the expert that the
 * routers choose, and has it write.
 *
 * @module
 */

/// <reference lib="dom" />

import { ExplainedError, RunError, type Text, wordText } from "../../../kernels/errors.ts";
import { choose } from "../../serving/answering.ts";
import { answer, type Finish } from "../../serving/generate.ts";
import { type Mixture, openMixture } from "../../serving/mixture.ts";
import {
  type Ask,
  Page,
  showError,
  type Source,
  type Writer,
  type WrittenPiece,
} from "../../serving/page/page.ts";
import { createDeno, RUN } from "./deno.ts";
import { SiteFiles } from "./files.ts";
import { keepOffline } from "./offline.ts";

const MIXTURE = "mixture";
const ENDS: Record<Finish, WrittenPiece["finish"]> = {
  eos: "stop",
  stop: "stop",
  length: "length",
  context: "length",
};

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

/** Answers with the mixture of a site, on this browser's device. */
class SiteSource implements Source {
  readonly title: string;
  readonly about = "Routers read the beginning of your prompt and choose one expert. Only that " +
    "expert is downloaded, and it writes here, on your own machine.";
  readonly privacy = "Nothing that you type leaves this page.";
  readonly explain = errorText;

  constructor(private readonly files: SiteFiles, private readonly mixture: Mixture) {
    this.title = files.site.title;
  }

  models() {
    const experts = this.files.site.experts.map(({ name, words, example }, expert) => ({
      id: name,
      title: `expert ${expert}`,
      expert,
      words,
      example,
    }));
    const mixture = { title: "the chosen expert", expert: null, words: [], example: null };
    return Promise.resolve([{ id: MIXTURE, ...mixture }, ...experts]);
  }

  share(): string {
    const { experts, files } = this.files.site;
    const count = experts.filter(({ weights }) => this.files.isHere(weights)).length;
    const all = Object.values(files).reduce((sum, { bytes }) => sum + bytes, 0);
    return `Downloaded: ${count} of ${experts.length} experts, ` +
      `${megabytes(this.files.here)} of ${megabytes(all)}.`;
  }

  async route(prompt: string, exclude: readonly number[]): Promise<Writer | null> {
    const tokenizer = await this.mixture.tokenizer();
    const tokens = await tokenizer.encode([prompt]);
    if (tokens[0].length === 0) return null;
    const [{ model, route }] = await choose(this.mixture, tokens, { exclude });
    return this.#describe(Number(model), route, []);
  }

  /**
   * Writes a text. A device that was lost is opened anew: the same seed gives the same text again,
   * and what was shown of it is passed over.
   */
  async *write(ask: Ask, signal: AbortSignal): AsyncGenerator<WrittenPiece> {
    let shown = 0; // code units
    for (let isFirst = true;; isFirst = false) {
      let written = 0;
      try {
        for await (const piece of this.#continue(ask, signal)) {
          const text = piece.text.slice(Math.max(0, shown - written));
          written += piece.text.length;
          if (written < shown) continue;
          shown = written;
          yield { ...piece, text };
        }
        return;
      } catch (error) {
        if (!isFirst || signal.aborted || !(error instanceof RunError)) throw error;
      }
    }
  }

  async *#continue(ask: Ask, signal: AbortSignal): AsyncGenerator<WrittenPiece> {
    const { model, ...settings } = ask;
    const named = this.files.site.experts.findIndex(({ name }) => name === model);
    using generation = await answer(this.mixture, {
      ...settings,
      expert: named < 0 ? undefined : named,
      signal,
    });
    const piece = (text: string): WrittenPiece => {
      const { answering, lastRoute, tokens, finish } = generation;
      return {
        ...this.#describe(answering[0].expert, lastRoute, answering),
        text,
        tokens: tokens.length,
        finish: finish === null ? undefined : ENDS[finish],
      };
    };
    yield piece("");
    for await (const text of generation) yield piece(text);
    yield piece("");
  }

  #describe(expert: number, route: Writer["route"], answering: Writer["answering"]): Writer {
    return { model: `expert ${expert}`, expert, route, answering };
  }
}

/** Tells why this browser cannot run the page; undefined where it can. */
async function findObstacle(): Promise<string | undefined> {
  if (!isSecureContext) {
    return "A browser computes only on pages that come over https, or from this machine: open " +
      "this page so.";
  }
  const adapter = await navigator.gpu?.requestAdapter();
  if (!adapter) {
    return "This browser offers no WebGPU: open the page in a recent Chrome, Edge or Firefox, " +
      "and look whether graphics acceleration is switched on.";
  }
  const isRecent = "DisposableStack" in globalThis && "try" in Promise &&
    "toHex" in Uint8Array.prototype;
  return isRecent
    ? undefined
    : "This browser is too old: open the page in a recent Chrome, Edge or Firefox.";
}

/** Opens the site that this page belongs to. */
async function open(): Promise<void> {
  const obstacle = await findObstacle();
  if (obstacle !== undefined) {
    showError(obstacle);
    return;
  }
  const files = await SiteFiles.open(document.baseURI);
  Object.assign(globalThis, { Deno: createDeno(files) });
  await keepOffline();
  await files.openKept();
  const mixture = await openMixture({ run: RUN });
  const page = new Page(new SiteSource(files, mixture));
  files.onProgress = ({ path, bytes, total }) =>
    page.showProgress(path, bytes / total, `${megabytes(bytes)} of ${megabytes(total)}`);
  await page.start();
  // Downloads the routers and has the device compile, while the reader begins to type.
  await mixture.routeAll([Uint32Array.of(0, 0)]);
  page.showShare();
}

/** Starts the page. */
export function start(): void {
  open().catch((error) => showError(errorText(error)));
}
