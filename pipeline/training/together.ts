/**
 * Lets several trainings of one shape share a bank: their models take each step at once, in as many
 * dispatches as one model would. Each training otherwise runs as if it were alone (data, metrics,
 * checkpoints), to the same bits. Where it reads from the device, it waits until the others have come as far.
 * A batch that no model can take fails its own training alone; a step that fails all the same fails all.
 */

import { createHash } from "node:crypto";
import type { Gpu } from "../../kernels/device/gpu.ts";
import { checkBatch, emptyBatch, type HostBatch } from "../model/batch.ts";
import type { Weights } from "../model/parameters.ts";
import { createTrainer, type Trainer, type TrainerOptions } from "../model/trainer.ts";
import { joinStates, sliceState, type StepResult, type TrainerState } from "../model/trainer_group.ts";

/** The part of a trainer that a training uses. */
export type LoopTrainer = Pick<
  Trainer,
  "steps" | "step" | "evaluate" | "drain" | "weights" | "state" | "close"
>;

/**
 * Makes the trainer of one training; `rateAt` gives the learning rate of each step that it is to take, 1 to
 * `steps`.
 */
export type MakeTrainer = (
  gpu: Gpu,
  options: TrainerOptions,
  schedule: { steps: number; rateAt(step: number): number },
) => Promise<LoopTrainer>;

/** One of several trainings. */
export interface TogetherMember {
  /** Makes its trainer, of one model, once every other training has asked for its own or has left. */
  makeTrainer: MakeTrainer;
  /**
   * Leaves, so that nobody waits for it any more. Call it however the training ends; it is safe to call
   * again.
   */
  leave(): void;
}

/** Trainings that share banks. */
export interface Together {
  /** Adds a training. All must be added before the first asks for its trainer. */
  member(): TogetherMember;
}

/** A training that has asked for its trainer. */
interface Asked {
  gpu: Gpu;
  options: TrainerOptions;
  /** What others must have in common with it to share its bank. */
  kind: string;
  resolve(trainer: LoopTrainer): void;
  reject(error: unknown): void;
}

/** How trainings share banks. */
export interface TogetherOptions {
  /** Whether so many models of one shape may be trained at once on the device. Default: as many as ask. */
  fits?(options: TrainerOptions, models: number, gpu: Gpu): boolean;
  /**
   * Gives the devices that so many models are spread over, as evenly as they go, a bank on each. Default: that
   * of the trainings.
   */
  devices?(own: Gpu, models: number): Promise<readonly Gpu[]>;
}

/** Lets trainings share banks. Those that do not fit are trained after the others. */
export function createTogether(
  { fits = () => true, devices = (own) => Promise.resolve([own]) }: TogetherOptions = {},
): Together {
  const coming = new Set<TogetherMember>();
  let asked: Asked[] = [];
  let working = 0;

  /** Begins with those that train next, once all trainings have asked and no bank is at work. */
  function next(): void {
    if (coming.size > 0 || working > 0 || asked.length === 0) return;
    const alike = asked.filter(({ kind }) => kind === asked[0].kind);
    const take = (models: number) => {
      const chosen = alike.slice(0, models);
      asked = asked.filter((one) => !chosen.includes(one));
      working = models;
      return chosen;
    };
    const [{ options, gpu }] = alike;
    let models = alike.length;
    try {
      while (models > 1 && !fits(options, models, gpu)) models--;
    } catch (error) {
      return refuse(take(alike.length), error);
    }
    const chosen = take(models);
    devices(gpu, models).then((gpus) => makeBanks(chosen, gpus), (error) => refuse(chosen, error));
  }

  /** Makes a bank on each device. */
  function makeBanks(chosen: readonly Asked[], gpus: readonly Gpu[]): void {
    const share = Math.ceil(chosen.length / gpus.length);
    for (let first = 0; first < chosen.length; first += share) {
      const own = chosen.slice(first, first + share);
      try {
        const trainers = createShared(own, gpus[first / share], () => {
          working--;
          next();
        });
        own.forEach(({ resolve }, i) => resolve(trainers[i]));
      } catch (error) {
        refuse(own, error);
      }
    }
  }

  /** Tells trainings that their bank cannot be. */
  function refuse(chosen: readonly Asked[], error: unknown): void {
    for (const { reject } of chosen) reject(error);
    working -= chosen.length;
    next();
  }

  return {
    member() {
      const member: TogetherMember = {
        makeTrainer(gpu, options, schedule) {
          return new Promise((resolve, reject) => {
            asked.push({ gpu, options, kind: kindOf(options, schedule), resolve, reject });
            member.leave(); // it has asked
          });
        },
        leave() {
          if (coming.delete(member)) next();
        },
      };
      coming.add(member);
      return member;
    },
  };
}

/**
 * Describes what trainings must have in common to share a bank, among it the steps that they have taken and
 * the rates of all steps to come.
 */
function kindOf(
  { start, ...options }: TrainerOptions,
  { steps, rateAt }: Parameters<MakeTrainer>[2],
): string {
  const { beta1, beta2, epsilon, weightDecay, clip } = options.settings;
  const settings = { beta1, beta2, epsilon, weightDecay, clip };
  const step = "weights" in start ? start.step : 0;
  const rates = createHash("sha256");
  for (let next = step + 1; next <= steps; next++) rates.update(Float64Array.of(rateAt(next)));
  return JSON.stringify({ ...options, settings, step, rates: rates.digest("hex") });
}

/** A model of a bank, and what its training waits for. */
interface Model {
  /** Steps that it has asked for and that the bank has not taken. */
  queue: { batch: HostBatch; rate: number }[];
  results: StepResult[];
  /** Told when its queue is empty, or that it never will be. */
  drained: { resolve(): void; reject(error: unknown): void }[];
  evaluation?: {
    batch: HostBatch;
    resolve(result: { nll: Float64Array; predicted: Uint32Array }): void;
    reject(error: unknown): void;
  };
  closed: boolean;
}

/** Makes a bank, and a trainer of one model for each of those who asked. */
function createShared(asked: readonly Asked[], gpu: Gpu, onClose: () => void): LoopTrainer[] {
  const [{ options }] = asked;
  const { batch, length, config: { vocabulary } } = options;
  const bank = createTrainer(gpu, { ...options, start: joined(asked), asInBankOf: 1 });
  const models = asked.map((): Model => ({ queue: [], results: [], drained: [], closed: false }));
  const first = bank.steps;
  let evaluating = false;
  let failure: { error: unknown } | undefined; // of a step: no model can go on
  let reading: Promise<unknown> = Promise.resolve(); // one after another
  let snapshots = new Map<string, Promise<unknown>>();

  /** Joins the batches of all models. Models without a batch get empty sequences. */
  function sideBySide(of: (model: Model) => HostBatch | undefined): HostBatch {
    const all = emptyBatch(models.length * batch, length);
    const spans = models.flatMap((model, i) => {
      const own = of(model);
      if (own) {
        all.tokens.set(own.tokens, i * batch * length);
        all.lengths.set(own.lengths, i * batch);
      }
      return own?.spans ?? Array.from(own?.lengths ?? new Uint32Array(batch), (end) => ({ begin: 0, end }));
    });
    return { ...all, spans };
  }

  /** Takes a step of all models that are not closed. */
  function stepOf(active: readonly Model[]): void {
    const steps = new Map(active.map((model) => [model, model.queue.shift()!]));
    const rates = new Set([...steps.values()].map(({ rate }) => rate));
    if (rates.size > 1) {
      throw new RangeError(
        `Cannot train together as all must take a step at one rate: they are ${[...rates]}`,
      );
    }
    bank.step(sideBySide((model) => steps.get(model)?.batch), [...rates][0]);
    snapshots = new Map();
  }

  /** Tells all models that a step failed: each of them would miss it. */
  function fail(error: unknown): void {
    failure = { error };
    for (const model of models) {
      model.evaluation?.reject(error);
      model.evaluation = undefined;
      for (const { reject } of model.drained.splice(0)) reject(error);
    }
  }

  /** Takes the steps that every model has asked for, and evaluates once no model can go on. */
  function pump(): void {
    if (failure) return;
    const active = models.filter(({ closed }) => !closed);
    try {
      while (active.length > 0 && active.every(({ queue }) => queue.length > 0)) stepOf(active);
    } catch (error) {
      return fail(error);
    }
    for (const model of active) {
      if (model.queue.length > 0) continue;
      for (const { resolve } of model.drained.splice(0)) resolve();
    }
    const waits = ({ evaluation, drained }: Model) => evaluation !== undefined || drained.length > 0;
    if (!evaluating && active.some(({ evaluation }) => evaluation) && active.every(waits)) {
      void evaluate(active);
    }
  }

  async function evaluate(active: readonly Model[]): Promise<void> {
    evaluating = true;
    const due = active.flatMap((model) => model.evaluation ? [{ model, ...model.evaluation }] : []);
    for (const { model } of due) model.evaluation = undefined;
    try {
      const all = sideBySide((model) => due.find((one) => one.model === model)?.batch);
      const { nll, predicted } = await inTurn(() => bank.evaluate(all));
      for (const { model, resolve } of due) {
        const i = models.indexOf(model);
        resolve({ nll: nll.slice(i, i + 1), predicted: predicted.slice(i, i + 1) });
      }
    } catch (error) {
      for (const { reject } of due) reject(error);
    }
    evaluating = false;
    pump();
  }

  /** Reads from the device after the reads that were asked for before. */
  function inTurn<Value>(read: () => Promise<Value>): Promise<Value> {
    const value = reading.then(read);
    reading = value.catch(() => {});
    return value;
  }

  /** Waits until the bank has taken all steps that a training has asked for. */
  const settled = (model: Model) =>
    new Promise<void>((resolve, reject) => {
      if (failure) return reject(failure.error);
      model.drained.push({ resolve, reject });
      pump();
    });

  /** Reads something of all models once per step. */
  async function snapshot<Value>(model: Model, name: string, read: () => Promise<Value>): Promise<Value> {
    await settled(model);
    if (!snapshots.has(name)) snapshots.set(name, inTurn(read));
    return await snapshots.get(name) as Value;
  }

  return models.map((model, i): LoopTrainer => {
    let taken = 0;
    return {
      get steps() {
        return first + taken;
      },
      step(own, rate) {
        checkBatch(own, { sequences: batch, length, vocabulary });
        const { tokens, lengths, spans } = own;
        model.queue.push({ batch: { tokens: tokens.slice(), lengths: lengths.slice(), spans }, rate });
        taken++;
        pump();
        if (failure) throw failure.error;
      },
      async drain() {
        await settled(model);
        const results = await inTurn(() => bank.drain());
        for (const [i, model] of models.entries()) {
          model.results.push(...results.map((all) => ofModel(all, i)));
        }
        return model.results.splice(0);
      },
      evaluate: (own) =>
        new Promise((resolve, reject) => {
          checkBatch(own, { sequences: batch, length, vocabulary });
          if (failure) throw failure.error;
          const copy = { ...own, tokens: own.tokens.slice(), lengths: own.lengths.slice() };
          model.evaluation = { batch: copy, resolve, reject };
          pump();
        }),
      weights: async () => [(await snapshot<Weights[]>(model, "weights", bank.weights))[i]],
      async state() {
        return sliceState(await snapshot<TrainerState>(model, "state", bank.state), i, 1);
      },
      close() {
        if (model.closed) return;
        model.closed = true;
        model.queue.length = 0;
        if (models.every(({ closed }) => closed)) bank.close();
        else pump();
        onClose();
      },
    };
  });
}

/** Gives one model's part of the results of a step. */
function ofModel({ step, loss, nll, norm, reports }: StepResult, i: number): StepResult {
  return {
    step,
    loss: loss.slice(i, i + 1),
    nll: nll.slice(i, i + 1),
    norm: norm.slice(i, i + 1),
    reports: Object.fromEntries(
      Object.entries(reports).map(([name, values]) => [name, values.slice(i, i + 1)]),
    ),
  };
}

/** Joins the states that trainings start from. */
function joined(asked: readonly Asked[]): TrainerState {
  return joinStates(
    asked.map(({ options: { start } }) =>
      "weights" in start ? start : { step: 0, weights: [...start], moments: [], squares: [] }
    ),
  );
}
