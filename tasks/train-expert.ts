/**
 * Trains experts, each on its own part alone.
 *
 *   deno task train-expert --run runs/docs --expert 2
 */
import { InputError } from "../kernels/mod.ts";
import { field } from "../pipeline/settings/mod.ts";
import { expertsOf, planExperts, trainExpert, trainExperts } from "../pipeline/stages/mod.ts";
import { defineTask } from "./command.ts";
import { IN_A_RUN, parseBytes, SPEED, TRAINING } from "./options.ts";
import { planText, speedOf, trainedText } from "./text.ts";
import { words } from "./wording.ts";

export const TASK = await defineTask({
  name: "train-expert",
  about:
    "Trains one expert, or all one after another, each on its own part of a partitioned run and nothing else.",
  options: {
    ...IN_A_RUN,
    expert: field.text({ value: "N|all", help: "the expert to train, from 0, or all one after another" }),
    together: field.flag({
      help:
        "train them side by side in one process, to the same bits; experts that do not fit --memory follow",
    }),
    dryRun: field.flag({ help: "print what would run, with estimates of time, disk and memory" }),
    ...SPEED,
    memory: field.custom(parseBytes, {
      value: "SIZE",
      help:
        "device memory, like 8GiB: with --dry-run to suggest a micro-batch for, with --together the most that experts may take",
    }),
    ...TRAINING,
  },
  run: async ({ sources, options, signal, onEvent, print }) => {
    const { run, expert } = options;
    const experts = await expertsOf(run);
    const wanted = expert === "all" ? [...Array(experts).keys()] : [parseExpert(expert, experts)];
    if (options.dryRun) {
      const plan = await planExperts(wanted, { ...options, sources, device: speedOf(options), words });
      return print(plan, planText(plan));
    }
    const how = [{ ...options, sources }, { signal, onEvent }] as const;
    const models = options.together
      ? await trainExperts(wanted, ...how)
      : await Array.fromAsync(wanted, (expert) => trainExpert(expert, ...how)); // one after another
    print({ run, models }, trainedText(run, models));
  },
}, import.meta);

function parseExpert(text: string | undefined, experts: number): number {
  if (text !== undefined && /^\d+$/.test(text)) return Number(text);
  const given = text ? `"${text}"` : "not given";
  throw new InputError(`Cannot train as --expert must be one of 0 to ${experts - 1}, or all: it is ${given}`);
}
