/**
 * Chooses who continues a text: one model that is named, or the experts that the partitioner chooses, which
 * may change on the way. Leases their models and takes a slot of each.
 */

import { InputError, say, setting } from "../../kernels/errors.ts";
import type { CheckpointNotes } from "../checkpoints/hugging_face_config.ts";
import type { ModelConfig } from "../model/shape.ts";
import { routingTemperatureOf, routingWindow } from "../partition/mixing.ts";
import type { Values } from "../settings/field.ts";
import type { Reader } from "./engine.ts";
import type { DecodingModel, Form } from "./forms.ts";
import {
  type Answering,
  answeringOf,
  checkMix,
  checkTemperature,
  type MIXING,
  mixingOf,
  mixReaders,
} from "./mixing.ts";
import type { Mixture } from "./mixture.ts";
import { checkShape, type ModelName } from "./models.ts";
import type { Route } from "./route.ts";

/** A change of the experts that continue a text. */
export interface Change {
  /** New tokens before the change. */
  tokens: number;
  /** The experts that continue from here, the one of the largest weight first. */
  answering: readonly Answering[];
  /** What the partitioner said of the last tokens. */
  route: Route;
}

/** How who continues a text is chosen: the settings in {@link MIXING}, and: */
export interface ChoosingOptions extends Partial<Values<typeof MIXING>> {
  /** A model that is named instead. */
  expert?: ModelName;
  /** Tokens of the routing prefix, M; the run's own unless said. */
  prefix?: number;
  /** Experts that may not answer. */
  exclude?: readonly number[];
  /** What the partitioner says of the prompt, if that is known. */
  route?: Route;
  /** Called when other experts continue the text, or the same ones in another order of weights. */
  onChange?: (change: Change) => void;
}

/** What is needed to begin a text. */
export interface BeginOptions {
  /** Form of the models; that of the mixture unless said. */
  form?: Form<DecodingModel>;
  /** May refuse their shape. */
  check?: (config: ModelConfig) => void;
  /** Ends the waiting for models, now and when other experts take over. */
  signal?: AbortSignal;
}

/** What is known of a text before its models are loaded. */
export interface Choice {
  /** What the partitioner said; null where a model is named. */
  route: Route | null;
  /** Experts that begin the text, the largest weight first; none where a model is named by its name. */
  answering: readonly Answering[];
  /** Loads the models and takes a slot of each. May be called for several texts. */
  begin(options?: BeginOptions): Promise<Chosen>;
}

/** The models of a text. Disposing of them gives them back. */
export interface Chosen extends Disposable {
  /** Shape of the models. */
  config: ModelConfig;
  /** Notes of the first. */
  notes: CheckpointNotes;
  /** Experts that continue the text now, the largest weight first; none where a model was named by its name. */
  readonly answering: readonly Answering[];
  /** What the partitioner said last; null where a model was named. */
  readonly route: Route | null;
  /** Changes so far. */
  readonly changes: readonly Change[];
  /** Reads the text from its beginning. */
  reader: Reader;
  /**
   * Chooses experts anew where the text has come to a place where that is due, and returns the reader that
   * goes on.
   */
  readerFor(tokens: readonly number[]): Promise<Reader | undefined>;
}

/** Models that are leased, with a slot of each. */
interface Hold extends Disposable {
  /** The first of them. */
  first: DecodingModel;
  /** Reads with all of them, weighted so. */
  readerOf(weights: ReadonlyMap<ModelName, number>): Reader;
}

/** Chooses who continues a prompt; throws an `InputError` where that cannot be. */
export async function choose(
  mixture: Mixture,
  prompt: Uint32Array,
  { expert: named, onChange, prefix: tokens, exclude = [], route: known, ...options }: ChoosingOptions,
): Promise<Choice> {
  const { mix, reroute, routingTemperature } = mixingOf(options);
  if (!mixture.routes || named !== undefined) {
    checkNoMixing(options);
    const model = named ?? 0;
    const answering = typeof model === "number" ? [{ expert: model, weight: 1 }] : [];
    return {
      ...{ route: null, answering },
      async begin(options) {
        const hold = await holdModels(mixture, [model], options);
        return {
          ...{ config: hold.first.config, notes: hold.first.notes, answering, route: null, changes: [] },
          reader: hold.readerOf(new Map([[model, 1]])),
          readerFor: () => Promise.resolve(undefined),
          [Symbol.dispose]: () => hold[Symbol.dispose](),
        };
      },
    };
  }
  checkTemperature([mix], routingTemperature);
  if (mix > 1) checkMix(mix, await mixture.experts());
  const prefix = tokens ?? await mixture.prefix();
  const temperature = routingTemperature ?? routingTemperatureOf(await mixture.partitioner());
  const routeOf = (text: ArrayLike<number>) => {
    const { begin, end } = routingWindow(text.length, prefix, reroute);
    return mixture.route(Uint32Array.from(text).slice(begin, end), prefix, exclude);
  };
  const first = known ?? await routeOf(prompt);
  const firstAnswering = answeringOf(first, mix, temperature, exclude);
  const isDue = (length: number) =>
    reroute !== undefined && length > prompt.length && length >= prefix && (length - prefix) % reroute === 0;
  return {
    ...{ route: first, answering: firstAnswering },
    async begin(options) {
      const changes: Change[] = [];
      let [route, answering] = [first, firstAnswering];
      const take = () => holdModels(mixture, answering.map(({ expert }) => expert), options);
      const read = ({ readerOf }: Hold) =>
        readerOf(new Map(answering.map(({ expert, weight }) => [expert, weight])));
      let hold: Hold | undefined = await take();
      const { config, notes } = hold.first;
      return {
        ...{ config, notes, changes, reader: read(hold) },
        get answering() {
          return answering;
        },
        get route() {
          return route;
        },
        async readerFor(tokens) {
          if (!isDue(tokens.length)) return undefined;
          route = await routeOf(tokens);
          const before = answering.map(({ expert }) => expert);
          answering = answeringOf(route, mix, temperature, exclude);
          const after = answering.map(({ expert }) => expert);
          if (String(after.toSorted()) !== String(before.toSorted())) {
            hold?.[Symbol.dispose](); // given back before others are asked for: a text that waits for models holds none
            hold = undefined;
            hold = await take();
          }
          if (String(after) !== String(before)) {
            const change = { tokens: tokens.length - prompt.length, answering, route };
            changes.push(change);
            onChange?.(change);
          }
          return read(hold!);
        },
        [Symbol.dispose]: () => hold?.[Symbol.dispose](),
      };
    },
  };
}

/**
 * Leases models, all at once, and takes a slot of each in the order of their ids. So two texts never wait for
 * slots that the other one holds.
 */
async function holdModels(
  mixture: Mixture,
  models: readonly ModelName[],
  { form, check, signal }: BeginOptions = {},
): Promise<Hold> {
  using stack = new DisposableStack();
  const inOrder = models.toSorted((a, b) => Number(a) - Number(b));
  const { vocabulary } = await mixture.tokenizer();
  const loaded = stack.use(await mixture.leaseAll(inOrder, form, signal)).value;
  loaded.forEach((one, i) => {
    const { config } = one;
    const model = inOrder[i];
    if (typeof model === "number") {
      checkShape(one, mixture.shape, `expert ${model}`, { whose: "the run's experts" });
    }
    const [first] = loaded;
    if (i > 0 && first.notes.adopted === undefined) {
      checkShape(one, first.config, `expert ${model}`, { whose: `expert ${inOrder[0]}` });
    }
    check?.(config);
  });
  const readers = new Map<ModelName, Reader>();
  for (const [i, model] of inOrder.entries()) {
    readers.set(model, stack.use(await loaded[i].engine.join(signal)));
  }
  const held = stack.move();
  return {
    first: loaded[0],
    readerOf(weights) {
      const own = [...weights.keys()].map((model) => readers.get(model)!);
      return mixReaders(own, [...weights.values()], vocabulary);
    },
    [Symbol.dispose]: () => held.dispose(),
  };
}

/** Throws an `InputError` where experts are to be mixed or changed although one model is named. */
function checkNoMixing(options: Partial<Values<typeof MIXING>>): void {
  for (const name of ["mix", "routingTemperature", "reroute"] as const) {
    const value = options[name];
    if (value === undefined || name === "mix" && value === 1) continue;
    throw new InputError(
      say`Cannot continue a prompt as ${
        setting(name)
      } is for experts that a prompt chooses: it is ${value}, and one model is named`,
      { remedy: say`leave out ${setting(name)}, or ${setting("expert")} and ${setting("model")}` },
    );
  }
}
