/**
 * Trains experts, each on its own part alone.
 *
 *   deno task train-expert --run runs/docs --expert 2
 */
import { ensure } from "../kernels/errors.ts";
import { field } from "../pipeline/settings/mod.ts";
import { defineTask } from "./command.ts";
import { expertsNamed, IN_A_RUN, parseBytes, take, TRAINING } from "./options.ts";
import { planText, trainedText } from "./text.ts";
import { words } from "./wording.ts";

export const TASK = await defineTask({
  name: "train-expert",
  drains: true, // a step in hand ends, and is saved
  options: {
    ...IN_A_RUN,
    expert: field.text({ value: "N|all" }, "the expert to train, from 0, or all one after another"),
    together: field.flag(
      "train them at once in one process, to the same bits; those beyond --memory follow",
    ),
    dryRun: field.flag("print what would run, with estimates of time, disk and memory"),
    ...take("flops", "utilisation"),
    memory: field.custom(
      parseBytes,
      { value: "SIZE" },
      "most device memory that training may take, like 8GiB; with --dry-run a " +
        "micro-batch is suggested for it",
    ),
    ...TRAINING,
    ...take("part"),
  },
  run: async ({ sources, options, signal, onEvent, onWarning, print }) => {
    const { run, expert } = options;
    const { planExperts, readExpertCount, trainExperts } = await import("../pipeline/run/mod.ts");
    const also = expert === "all" ? options.also : []; // what "all" means must be the same in each
    const experts = await readExpertCount(run, also);
    const wanted = expertsNamed(expert, experts, "train");
    const { part = { index: 1, of: 1 }, ...how } = options;
    ensure(
      !options.part || expert === "all",
      `Cannot train a part of the experts as --expert must be all: it is ${expert}`,
    );
    const mine = wanted.filter((_, i) => i % part.of === part.index - 1);
    if (options.dryRun) {
      const plan = await planExperts(mine, { ...options, sources, device: options, words });
      return print(plan, planText(plan));
    }
    const { adoptedExperts } = await import("../pipeline/training/mod.ts");
    const runs = [run, ...options.also];
    const stay = new Set<string>();
    for (const where of expert === "all" && !options.force ? runs : []) {
      for (const { expert, from } of await adoptedExperts(where)) {
        stay.add(`${where} ${expert}`);
        const of = where === run ? "" : ` of "${where}"`;
        onWarning(`expert ${expert}${of} was adopted from "${from}": it stays`);
      }
    }
    const toTrain = (where: string) => mine.filter((id) => !stay.has(`${where} ${id}`));
    const models = await trainExperts(toTrain, { ...how, sources }, { signal, onEvent });
    print(
      { run, models },
      trainedText(run, models, runs.flatMap((run) => toTrain(run).map(() => run))),
    );
  },
}, import.meta);
