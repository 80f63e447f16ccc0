/**
 * Tunes the experts of a run, and its dense models, on pairs of prompt and response, in a run of
 * its own.
 *
 *   deno task tune --from runs/a --run runs/tuned --input pairs.jsonl
 */
import { InputError } from "../kernels/errors.ts";
import { field } from "../pipeline/settings/mod.ts";
import { defineTask } from "./cli/command.ts";
import { runDerive } from "./derive.ts";
import { DEVICE, take } from "./cli/options.ts";

export const TASK = await defineTask({
  name: "tune",
  options: {
    ...take("run", "check"),
    from: field.path({ value: "RUN" }, "the run whose models are tuned, which stays as it is"),
    input: field.paths(
      {},
      'JSON lines with "prompt" and "response", or with "messages"; the response ' +
        "alone counts; repeatable",
    ),
    epochs: field.number({ min: 0.01, max: 1000, default: 2 }, "passes over the pairs"),
    router: field.choice(
      ["experts", "fresh"],
      { default: "experts" },
      "what routes prompts: the routers of the run, or fresh ones that go on from " +
        "these with the prompts",
    ),
    noTrain: field.flag("leave the training to train-expert and train-dense"),
    dryRun: field.flag("print which models would be tuned, and make nothing"),
    ...take("workers", "requireGpu"),
    ...DEVICE,
  },
  run: async ({ options, print, ...watch }) => {
    const { from, input: tune = [], ...tuning } = options;
    if (from === undefined || tune.length === 0) {
      const missing = from === undefined ? "from" : "input";
      throw new InputError(`Cannot tune as --${missing} must be given: it is not`);
    }
    await runDerive({ ...tuning, from, tune }, watch, print);
  },
}, import.meta);
