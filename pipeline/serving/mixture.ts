/**
 * A mixture is opened once and answers many requests. Its partitioner is read on first need and stays open.
 * Models are loaded on demand within a budget and are leased. Everything that runs on the device waits in one
 * queue. A device of its own that fails ends the texts that are on it; for what is asked next another one is
 * opened.
 */

import { InputError, say, setting } from "../../kernels/errors.ts";
import { type Gpu, openGpu, type OpenGpuOptions } from "../../kernels/device/gpu.ts";
import type { Checkpoint } from "../checkpoints/hugging_face_config.ts";
import type { ModelConfig } from "../model/shape.ts";
import type { Partitioner, TokenRows } from "../partition/partitioner.ts";
import { costOf, PARTITIONERS } from "../partition/partitioners.ts";
import type { Vouched } from "../run/vouched.ts";
import type { Tokenizer } from "../text/tokenizer.ts";
import { decoding, type DecodingModel, type DecodingOptions, type Form } from "./forms.ts";
import { type Budget, createLeases, type Held, type Lease, type LeaseCounts, type Loader } from "./leases.ts";
import {
  checkTokenizer,
  FOLDER_NAME,
  type MixtureSource,
  type ModelName,
  modelSource,
  runSource,
  type RunSourceOptions,
} from "./models.ts";
import { createQueue } from "./queue.ts";
import { type Route, routeOf } from "./route.ts";

/** How a mixture runs. */
export interface MixtureSettings extends Budget, DecodingOptions, OpenGpuOptions {
  /** An open device to use instead of a new one. */
  gpu?: Gpu;
}

/** What {@link openMixture} takes. */
export interface MixtureOptions
  extends MixtureSettings, Pick<RunSourceOptions, "partitioner" | "doing" | "onWarning"> {
  /** Run folder with `tokenizer.json`, a partitioner and `experts/`. */
  run?: string;
  /** A checkpoint folder to use instead: a mixture of one, without a partitioner. */
  model?: string;
  /**
   * Records of the files, against which they are checked as they are read. Default: what the manifests of
   * their run say.
   */
  vouched?: Vouched;
}

/** What a mixture has done so far. */
export interface MixtureCounts extends LeaseCounts {
  /** Times that a partitioner was opened. */
  partitioners: number;
}

/** An opened mixture. */
export interface Mixture {
  /** Whether a partitioner chooses; a model alone is expert 0. */
  readonly routes: boolean;
  /** Shape of the run's experts, as far as its configuration says. */
  readonly shape: Partial<ModelConfig>;
  /** What happened so far. */
  readonly counts: MixtureCounts;
  /** Throws an `InputError` where the tokenizer or the partitioner is missing; reads neither. */
  check(): Promise<void>;
  /** Gives the number of experts. */
  experts(): Promise<number>;
  /** Gives the tokenizer, which is opened once. */
  tokenizer(): Promise<Tokenizer>;
  /** Gives the partitioner, which is opened once. */
  partitioner(): Promise<Partitioner>;
  /** Gives the tokens of the routing prefix, M. */
  prefix(): Promise<number>;
  /** Asks the partitioner for costs; the call waits in the queue of the device. */
  costs(rows: TokenRows, prefixes: readonly number[], signal?: AbortSignal): Promise<Float32Array>;
  /** Frees the partitioner. It is opened again when it is needed. */
  closePartitioner(): void;
  /**
   * Routes tokens by their first min(`prefix`, length); default: M. Experts in `exclude` are not chosen.
   * Throws an `InputError` where there is no token, or no expert left.
   */
  route(tokens: Uint32Array, prefix?: number, exclude?: readonly number[]): Promise<Route>;
  /** Routes many texts, each as {@linkcode route} does it, to the bit; those whose prefixes are as long go together. `signal` may end it early. */
  routeAll(
    texts: readonly Uint32Array[],
    prefix?: number,
    exclude?: readonly number[],
    signal?: AbortSignal,
  ): Promise<Route[]>;
  /** Lists the models besides experts that are there; loads none. */
  dense(): Promise<string[]>;
  /** Lists the experts that can be loaded; loads none. */
  present(): Promise<number[]>;
  /** Reads a model's shape and notes; does not load it. */
  describe(model: ModelName): Promise<Pick<Checkpoint, "config" | "notes">>;
  /** Says whether a model is held in any form, or being loaded. */
  holds(model: ModelName): boolean;
  /**
   * Leases a model in a form, as {@linkcode Leases.lease} does: one that writes texts unless said. An expert is one of 0 to E − 1.
   */
  lease(model: ModelName, form?: Form<DecodingModel>, signal?: AbortSignal): Promise<Lease<DecodingModel>>;
  /** Leases a model in a form of one's own. */
  lease<Value extends Held>(model: ModelName, form: Form<Value>, signal?: AbortSignal): Promise<Lease<Value>>;
  /**
   * Leases several different models at once, as {@linkcode Leases.leaseAll} does: a caller that waits for
   * them holds none.
   */
  leaseAll(
    models: readonly ModelName[],
    form?: Form<DecodingModel>,
    signal?: AbortSignal,
  ): Promise<Lease<DecodingModel[]>>;
  /** Leases several different models at once in a form of one's own. */
  leaseAll<Value extends Held>(
    models: readonly ModelName[],
    form: Form<Value>,
    signal?: AbortSignal,
  ): Promise<Lease<Value[]>>;
  /** Frees the models that nobody has used for so many milliseconds. */
  freeIdle(milliseconds: number): void;
  /** Frees everything, and the device unless it was given. */
  close(): void;
}

/**
 * Opens a run, or a model alone. Files are read when they are first needed.
 *
 * Its methods throw an `InputError` where something is missing or damaged, or a model has another shape or tokenizer than the run;
 * what is wrong with one model concerns that one alone.
 */
export async function openMixture(
  { run, model, partitioner, vouched, doing, onWarning, ...settings }: MixtureOptions,
): Promise<Mixture> {
  if (model === undefined && run === undefined) {
    throw new TypeError("Cannot open a mixture as a run or a model must be named: neither is");
  }
  return createMixture(
    await (model === undefined
      ? runSource(run!, { partitioner, vouched, doing, onWarning })
      : modelSource(model, { vouched, onWarning })),
    settings,
  );
}

/** Makes a mixture of what a source gives. */
export function createMixture(
  source: MixtureSource,
  { memory, models, gpu, adapter, variants, ...decoder }: MixtureSettings = {},
): Mixture {
  const queue = createQueue();
  const leases = createLeases({ memory, models });
  const sizes = new Map<string, number>(); // of models that were loaded, by form and shape
  const writing = decoding(decoder);
  let partitioners = 0;
  let experts = source.experts;
  let identity: string | undefined;
  let own: Gpu | undefined;
  const device = once(async () => gpu ?? (own = await openGpu({ adapter, variants })));
  const tokenizer = once(source.tokenizer);
  const partitioner = once(async () => {
    partitioners++;
    const opened = await source.partitioner!(device.get);
    try {
      await checkIdentity("the partitioner", opened.tokenizer);
      if (opened.experts !== (experts ??= opened.experts)) {
        throw new InputError(
          `Cannot route as the partitioner must know each of the run's ${experts} experts: it knows ${opened.experts}`,
          { remedy: "copy the run's own there" },
        );
      }
    } catch (error) {
      opened.close();
      throw error;
    }
    return opened;
  });
  const costs: Mixture["costs"] = (rows, prefixes, signal) =>
    queue(async () => {
      renew();
      return await (await partitioner.get()).costs(rows, prefixes, signal);
    });

  /** Lets go of a device that failed, with all that is on it; another one is opened when it is needed. */
  function renew(): void {
    if (!own?.failed) return;
    own = undefined;
    leases.forget();
    partitioner.forget((opened) => opened.close());
    device.forget((opened) => opened.close());
  }

  /** Says how a model comes in a form. */
  function loaderOf<Value extends Held>(model: ModelName, form: Form<Value>): Loader<Value> {
    return {
      key: `${source.name(model)} as ${form.name}`,
      name: source.name(model),
      async size() {
        const { config } = await source.describe(model);
        return sizes.get(form.name + JSON.stringify(config)) ?? form.size(config);
      },
      async load() {
        const checkpoint = await source.load(model);
        await checkIdentity(source.name(model), checkpoint.notes.tokenizer);
        const value = form.open(checkpoint, await device.get(), queue);
        sizes.set(form.name + JSON.stringify(checkpoint.config), value.bytes);
        return value;
      },
    };
  }

  /** Checks the tokenizer of something; where the source does not know which is right, the first one decides. */
  async function checkIdentity(name: string, tokenizer: string | undefined): Promise<void> {
    identity ??= await source.identity?.() ?? tokenizer;
    checkTokenizer(name, tokenizer, identity);
  }

  async function checkExpert(model: ModelName): Promise<void> {
    if (typeof model === "string") {
      if (FOLDER_NAME.test(model)) return;
      throw new InputError(
        `Cannot use a model as its name must be that of a folder in the run: it is "${model}"`,
      );
    }
    const count = await expertCount();
    if (Number.isSafeInteger(model) && model >= 0 && model < count) return;
    throw new InputError(
      say`Cannot use an expert as ${setting("expert")} must be one of 0 to ${
        count - 1
      }, the experts of the run: it is ${model}`,
    );
  }

  const routeAll: Mixture["routeAll"] = async (texts, prefix, exclude, signal) => {
    if (texts.some(({ length }) => length === 0)) {
      throw new InputError("Cannot route a text as it must have a token: it is empty");
    }
    if (!source.partitioner) return texts.map(() => routeOf([0], 1, exclude));
    const opened = await partitioner.get();
    const { kind, experts, prefix: own } = opened;
    if (PARTITIONERS.get(kind)?.routes === false) {
      throw new InputError(
        `Cannot route a text by ${kind} as its parts must be told by what a text says: they go by labels that it does not have`,
        { remedy: say`choose with ${setting("expert")}` },
      );
    }
    const most = prefix ?? source.prefix ?? own;
    const cost = costOf(opened);
    const routed = new Array<Route>(texts.length);
    for (const [length, rows] of Map.groupBy(texts.keys(), (i) => Math.min(most, texts[i].length))) {
      const tokens = new Uint32Array(rows.length * length);
      rows.forEach((i, row) => tokens.set(texts[i].subarray(0, length), row * length));
      const together = { tokens, sequenceLength: length, length: new Uint32Array(rows.length).fill(length) };
      const isNoEvidence = length === 1 && !opened.perSequence; // a likelihood of nothing that is predicted
      const all = isNoEvidence
        ? new Float32Array(rows.length * experts)
        : await costs(together, [length], signal);
      rows.forEach((i, row) => {
        const route = routeOf(all.subarray(row * experts, (row + 1) * experts), length, exclude);
        routed[i] = { ...route, ...cost === undefined ? {} : { cost } };
      });
    }
    return routed;
  };

  function lease(
    model: ModelName,
    form?: Form<DecodingModel>,
    signal?: AbortSignal,
  ): Promise<Lease<DecodingModel>>;
  function lease<Value extends Held>(
    model: ModelName,
    form: Form<Value>,
    signal?: AbortSignal,
  ): Promise<Lease<Value>>;
  async function lease(model: ModelName, form: Form<Held> = writing, signal?: AbortSignal) {
    await checkExpert(model);
    renew();
    return await leases.lease(loaderOf(model, form), signal);
  }

  function leaseAll(
    models: readonly ModelName[],
    form?: Form<DecodingModel>,
    signal?: AbortSignal,
  ): Promise<Lease<DecodingModel[]>>;
  function leaseAll<Value extends Held>(
    models: readonly ModelName[],
    form: Form<Value>,
    signal?: AbortSignal,
  ): Promise<Lease<Value[]>>;
  async function leaseAll(
    models: readonly ModelName[],
    form: Form<Held> = writing,
    signal?: AbortSignal,
  ) {
    for (const model of models) await checkExpert(model);
    renew();
    return await leases.leaseAll(models.map((model) => loaderOf(model, form)), signal);
  }

  async function expertCount(): Promise<number> {
    return experts ??= (await partitioner.get()).experts;
  }

  return {
    routes: source.partitioner !== undefined,
    shape: source.shape ?? {},
    get counts() {
      return { partitioners, ...leases.counts };
    },
    check: async () => await source.check?.(),
    experts: expertCount,
    tokenizer: tokenizer.get,
    partitioner: partitioner.get,
    prefix: async () => source.prefix ?? (await partitioner.get()).prefix,
    costs,
    closePartitioner: () => partitioner.forget((opened) => opened.close()),
    dense: async () => await source.dense?.() ?? [],
    async present() {
      const count = await expertCount();
      return await source.present?.(count) ?? [...Array(count).keys()];
    },
    async describe(model) {
      await checkExpert(model);
      return await source.describe(model);
    },
    holds: (model) => leases.counts.held.some((name) => name.startsWith(`${source.name(model)} as `)),
    freeIdle: leases.freeIdle,
    route: async (tokens, prefix, exclude) => (await routeAll([tokens], prefix, exclude))[0],
    routeAll,
    lease,
    leaseAll,
    close() {
      leases.close();
      partitioner.forget((opened) => opened.close());
      if (!gpu) device.forget((opened) => opened.close());
    },
  };
}

/** Makes something when it is first asked for; a failure is forgotten. */
function once<Value>(make: () => Promise<Value>) {
  let made: Promise<Value> | undefined;
  return {
    get(): Promise<Value> {
      const making = made ??= make();
      making.catch(() => made === making && (made = undefined));
      return making;
    },
    /** Forgets it, and hands it over to be freed. */
    forget(free: (value: Value) => void): void {
      made?.then(free, () => {});
      made = undefined;
    },
  };
}
