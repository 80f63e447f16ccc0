/**
 * A mixture is opened once and answers many requests. Its partitioner is read on first need and
 * stays open. Models are loaded on demand within a budget and are leased. Everything that runs on
 * the device waits in one queue. A device of its own that fails ends the texts that are on it; for
 * what is asked next another one is opened.
 */

import { ensure, InputError, RunError, say, setting } from "../../kernels/errors.ts";
import { type Gpu, openGpu, type OpenGpuOptions } from "../../kernels/device/gpu.ts";
import type { Checkpoint } from "../model/checkpoints/hugging_face_config.ts";
import type { ModelConfig } from "../model/shape.ts";
import { prefixSpan } from "../model/span.ts";
import type { Partitioner } from "../partition/partitioner.ts";
import { nameCost, PARTITIONERS } from "../partition/partitioners.ts";
import { shortHash } from "../graph/files.ts";
import type { Tokenizer } from "../text/tokenizer.ts";
import {
  decoding,
  type DecodingModel,
  type DecodingOptions,
  type Form,
  type LoadedModel,
} from "./forms.ts";
import { type Budget, type Lease, type LeaseCounts, Leases, type Loader } from "./leases.ts";
import {
  FOLDER_NAME,
  type MixtureSource,
  type ModelName,
  modelSource,
  runSource,
  type RunSourceOptions,
} from "./models.ts";
import { createQueue } from "./engine.ts";
import { chooseRoute, RequestError, type Route } from "./mixing.ts";
import { TokenTexts } from "./text_stream.ts";

/** How a mixture runs. */
export interface MixtureSettings extends Budget, DecodingOptions, OpenGpuOptions {
  /** An open device to use instead of a new one. */
  gpu?: Gpu;
}

/** What {@link openMixture} takes. */
export interface MixtureOptions
  extends MixtureSettings, Pick<RunSourceOptions, "partitioner" | "beam" | "doing"> {
  /** Run folder with `tokenizer.json`, a partitioner and `experts/`. */
  run?: string;
  /** A checkpoint folder to use instead: a mixture of one, without a partitioner. */
  model?: string;
}

/**
 * Opens a run, or a model alone. Files are read when they are first needed.
 *
 * Its methods throw an `InputError` where something is missing or damaged, or a model has another
 * shape or tokenizer than the run; what is wrong with one model concerns that one alone.
 */
export async function openMixture(
  { run, model, partitioner, beam, doing, ...settings }: MixtureOptions,
): Promise<Mixture> {
  if (model !== undefined) return new Mixture(await modelSource(model), settings);
  if (run !== undefined) {
    return new Mixture(await runSource(run, { partitioner, beam, doing }), settings);
  }
  throw new TypeError("Cannot open a mixture as a run or a model must be named: neither is");
}

/** An opened mixture. */
export class Mixture {
  /** Whether a partitioner chooses; a model alone is expert 0. */
  readonly routes: boolean;
  /** Shape of the run's experts, as far as its configuration says. */
  readonly shape: Partial<ModelConfig>;
  readonly #queue = createQueue();
  readonly #leases: Leases;
  readonly #decoding: Form<DecodingModel>;
  readonly #device: Once<Gpu>;
  readonly #tokenizer = new Once(() => this.source.tokenizer());
  readonly #texts = new Once(async () => new TokenTexts(await this.tokenizer()));
  readonly #partitioner = new Once(() => this.#openPartitioner());
  #experts: number | undefined;
  #identity: string | undefined; // of the tokenizer
  #ownGpu: Gpu | undefined;
  #isClosed = false;

  /** @ignore Makes a mixture of what a source gives; nothing is read yet. */
  constructor(
    private readonly source: MixtureSource,
    private readonly settings: MixtureSettings = {},
  ) {
    const { memory, models, gpu, adapter, variants, ...decoder } = settings;
    this.routes = source.partitioner !== undefined;
    this.shape = source.shape ?? {};
    this.#experts = source.experts;
    this.#leases = new Leases({ memory, models });
    this.#decoding = decoding(decoder);
    this.#device = new Once(async () =>
      gpu ?? (this.#ownGpu = await openGpu({ adapter, variants }))
    );
  }

  /** What happened so far. */
  get counts(): LeaseCounts {
    return this.#leases.counts;
  }

  /** Throws an `InputError` where the tokenizer or the partitioner is missing; reads neither. */
  async check(): Promise<void> {
    await this.source.check?.();
  }

  /** Gives the number of experts. */
  async experts(): Promise<number> {
    return this.#experts ??= (await this.partitioner()).experts;
  }

  /** Gives the tokenizer, which is opened once. */
  tokenizer(): Promise<Tokenizer> {
    return this.#tokenizer.get();
  }

  /** @ignore Gives the texts of its tokens, which all that is written shares. */
  texts(): Promise<TokenTexts> {
    return this.#texts.get();
  }

  /** Gives the partitioner, which is opened once. */
  partitioner(): Promise<Partitioner> {
    return this.#partitioner.get();
  }

  /** Gives the tokens of the routing prefix, M. */
  async prefix(): Promise<number> {
    return this.source.prefix ?? (await this.partitioner()).prefix;
  }

  /** Asks the partitioner for costs; the call waits in the queue of the device. */
  costs(...asked: Parameters<Partitioner["costs"]>): Promise<Float32Array> {
    return this.#queue(async () => {
      this.#renew();
      return await (await this.partitioner()).costs(...asked);
    });
  }

  /** Frees the partitioner. It is opened again when it is needed. */
  closePartitioner(): void {
    this.#partitioner.forget((opened) => opened.close());
  }

  /**
   * Routes texts, each by its first min(`prefix`, length) tokens; default: M. Those whose prefixes
   * are as long go together, and each gets the bits that it gets alone. Experts in `exclude` are
   * not chosen. Throws an `InputError` where a text has no token, or no expert is left. `signal`
   * may end it early.
   */
  async routeAll(
    texts: readonly Uint32Array[],
    prefix?: number,
    exclude: readonly number[] = [],
    signal?: AbortSignal,
  ): Promise<Route[]> {
    const areTexts = texts.every(({ length }) => length > 0);
    ensure(areTexts, "Cannot route a text as it must have a token: it is empty");
    if (!this.routes) return texts.map(() => chooseRoute([0], 1, exclude));
    const opened = await this.partitioner();
    const { kind, experts } = opened;
    if (PARTITIONERS.get(kind)?.routes === false) {
      const rule =
        "its parts must follow from what a text says: they go by labels that it does not have";
      throw new RequestError(`Cannot route a text by ${kind} as ${rule}`, {
        remedy: say`choose with ${setting("expert")}`,
      });
    }
    const most = prefix ?? await this.prefix();
    const cost = nameCost(opened);
    const routed = new Array<Route>(texts.length);
    const prefixLength = (i: number) => prefixSpan(texts[i].length, most).end;
    for (const [length, rows] of Map.groupBy(texts.keys(), prefixLength)) {
      const tokens = new Uint32Array(rows.length * length);
      rows.forEach((i, row) => tokens.set(texts[i].subarray(0, length), row * length));
      const together = {
        tokens,
        sequenceLength: length,
        length: new Uint32Array(rows.length).fill(length),
      };
      // A likelihood of nothing that is predicted.
      const isNoEvidence = length === 1 && !opened.perSequence;
      const costs = isNoEvidence
        ? new Float32Array(rows.length * experts)
        : await this.costs(together, [length], signal, exclude.length > 0);
      rows.forEach((i, row) => {
        const route = chooseRoute(
          costs.subarray(row * experts, (row + 1) * experts),
          length,
          exclude,
        );
        routed[i] = cost === undefined ? route : { ...route, cost };
      });
    }
    return routed;
  }

  /** Lists the models apart from experts that are there; loads none. */
  async dense(): Promise<string[]> {
    return await this.source.dense?.() ?? [];
  }

  /** Lists the experts that can be loaded; loads none. */
  async present(): Promise<number[]> {
    const count = await this.experts();
    return await this.source.present?.(count) ?? [...Array(count).keys()];
  }

  /** Reads a model's shape and notes; does not load it. */
  async describe(model: ModelName): Promise<Pick<Checkpoint, "config" | "notes">> {
    await this.#checkName(model);
    return await this.source.describe(model);
  }

  /** Returns whether a model is held in any form, or being loaded. */
  holds(model: ModelName): boolean {
    return this.counts.held.some((key) => key.startsWith(`${this.source.name(model)} as `));
  }

  /**
   * @ignore Leases a model in a form, one that writes texts unless said, as {@linkcode
   * Leases.lease} does. An expert is one of 0 to E − 1. Whoever leases a model that writes texts
   * has one of its slots.
   */
  async lease<Value extends LoadedModel = DecodingModel>(
    model: ModelName,
    form?: Form<Value>,
    signal?: AbortSignal,
  ): Promise<Lease<Value>> {
    const { value: [value], [Symbol.dispose]: dispose } = await this.leaseAll(
      [model],
      form,
      signal,
    );
    return { value, [Symbol.dispose]: dispose };
  }

  /** @ignore Leases several different models at once: a caller that waits for them holds none. */
  async leaseAll<Value extends LoadedModel = DecodingModel>(
    models: readonly ModelName[],
    form?: Form<Value>,
    signal?: AbortSignal,
  ): Promise<Lease<Value[]>> {
    const loaders = await Promise.all(models.map((model) => this.#loaderOf(model, form)));
    if (this.#isClosed) throw closed();
    this.#renew();
    return await this.#leases.lease(loaders, signal);
  }

  /**
   * Throws an `InputError` where the limit of memory leaves no room for any of some models. Those
   * that cannot be read count for nothing.
   */
  async checkRoom(models: readonly ModelName[]): Promise<void> {
    const { memory } = this.settings;
    if (memory === undefined) return;
    const read = await Promise.allSettled(models.map((model) => this.#loaderOf(model)));
    const loaders = read.flatMap((loader) => loader.status === "fulfilled" ? [loader.value] : []);
    const [smallest] = loaders.sort((a, b) => a.estimate - b.estimate);
    if (smallest === undefined || smallest.estimate <= memory) return;
    const rule = say`${setting("memory")} must hold the smallest model`;
    const fact = `it is ${memory} bytes, ${smallest.name} takes ${smallest.estimate}`;
    throw new InputError(say`Cannot use models as ${rule}: ${fact}`, {
      remedy: "allow more memory",
    });
  }

  /** Frees the models that nobody has used for so many milliseconds. */
  freeIdle(milliseconds: number): void {
    this.#leases.freeIdle(milliseconds);
  }

  /** Frees everything, also what is in use, and the device unless it was given. */
  close(): void {
    this.#isClosed = true;
    this.#free(closed());
  }

  /**
   * Frees what is on the device, and the device unless it was given; who uses something gets the
   * reason.
   */
  #free(reason: Error): void {
    this.#leases.clear(reason);
    this.closePartitioner();
    if (!this.settings.gpu) this.#device.forget((opened) => opened.close());
  }

  /**
   * Lets go of a device that failed, with all that is on it; another one is opened when it is
   * needed.
   */
  #renew(): void {
    if (!this.#ownGpu?.failed) return;
    this.#ownGpu = undefined;
    this.#free(new RunError("Cannot go on with a text as its device must work: it failed"));
  }

  async #openPartitioner(): Promise<Partitioner> {
    const opened = await this.source.partitioner!(() => this.#device.get());
    try {
      await this.#checkIdentity("the partitioner", opened.tokenizer);
      const experts = this.#experts ??= opened.experts;
      if (opened.experts === experts) return opened;
      const rule = `the partitioner must know each of the run's ${experts} experts`;
      throw new InputError(`Cannot route as ${rule}: it knows ${opened.experts}`, {
        remedy: "copy the run's own there",
      });
    } catch (error) {
      opened.close();
      throw error;
    }
  }

  /** Reports how a model comes in a form. */
  async #loaderOf<Value extends LoadedModel>(
    model: ModelName,
    asked?: Form<Value>,
  ): Promise<Loader<Value>> {
    await this.#checkName(model);
    const form = asked ?? this.#decoding as Form<LoadedModel> as Form<Value>;
    const name = this.source.name(model);
    // Only a limit needs sizes: without one a model's folder is first read as it is loaded.
    const config = this.settings.memory === undefined
      ? undefined
      : (await this.describe(model)).config;
    return {
      key: `${name} as ${form.name}`,
      name,
      slots: form.slots ?? Infinity,
      size: form.name + JSON.stringify(config),
      estimate: config ? form.size(config) : 0,
      load: async () => {
        const checkpoint = await this.source.load(model);
        await this.#checkIdentity(name, checkpoint.notes.tokenizer);
        return form.open(checkpoint, await this.#device.get(), this.#queue);
      },
    };
  }

  /**
   * Checks the tokenizer of something; where the source does not know which is right, the first one
   * decides.
   */
  async #checkIdentity(name: string, tokenizer: string | undefined): Promise<void> {
    const expected = this.#identity ??= await this.source.identity?.() ?? tokenizer;
    if (tokenizer === undefined || expected === undefined || tokenizer === expected) return;
    const fact = `it is ${shortHash(tokenizer)}, that of the run is ${shortHash(expected)}`;
    throw new InputError(`Cannot use ${name} as it must have the tokenizer of the run: ${fact}`, {
      remedy: "copy its own tokenizer there, or train it again",
    });
  }

  async #checkName(model: ModelName): Promise<void> {
    if (typeof model === "string") {
      if (FOLDER_NAME.test(model)) return;
      const rule = "its name must be that of a folder in the run";
      throw new RequestError(`Cannot use a model as ${rule}: it is "${model}"`);
    }
    const count = await this.experts();
    if (Number.isSafeInteger(model) && model >= 0 && model < count) return;
    const rule = say`${setting("expert")} must be one of 0 to ${count - 1}, the experts of the run`;
    throw new RequestError(say`Cannot use an expert as ${rule}: it is ${model}`);
  }
}

const closed = () => new Error("Cannot use a model as the mixture must be open: it was closed");

/** Makes something when it is first asked for; a failure is forgotten. */
class Once<Value> {
  #made: Promise<Value> | undefined;

  constructor(private readonly make: () => Promise<Value>) {}

  get(): Promise<Value> {
    const making = this.#made ??= this.make();
    making.catch(() => this.#made === making && (this.#made = undefined));
    return making;
  }

  /** Forgets it, and hands it over to be freed. */
  forget(free: (value: Value) => void): void {
    this.#made?.then(free, () => {});
    this.#made = undefined;
  }
}
