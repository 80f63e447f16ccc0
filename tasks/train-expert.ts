/**
 * Trains experts, each on its own part alone.
 *
 *   deno task train-expert --run runs/docs --expert 2
 */
import { ensure } from "../kernels/errors.ts";
import { field } from "../pipeline/settings/mod.ts";
import { defineTask } from "./cli/command.ts";
import { expertsNamed, IN_A_RUN, parseBytes, PLANNED, take, TRAINING } from "./cli/options.ts";
import { planText, trainedText } from "./cli/text.ts";
import { words } from "./cli/wording.ts";

export const TASK = await defineTask({
  name: "train-expert",
  drains: true, // a step in hand ends, and is saved
  options: {
    ...IN_A_RUN,
    expert: field.text({ value: "N|all" }, "the expert to train, from 0, or all one after another"),
    together: field.flag(
      "train them at once in one process, to the same bits; those beyond --memory follow",
    ),
    ...PLANNED,
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
    const wanted = expertsNamed(expert, await readExpertCount(run), "train");
    const { part = { index: 1, of: 1 }, ...training } = options;
    ensure(
      !options.part || expert === "all",
      `Cannot train a part of the experts as --expert must be all: it is ${expert}`,
    );
    const share = wanted.filter((_, i) => i % part.of === part.index - 1);
    if (options.dryRun) {
      const plan = await planExperts(share, { ...options, sources, device: options, words });
      return print(plan, planText(plan));
    }
    const { adoptedExperts } = await import("../pipeline/training/mod.ts");
    const adopted = expert === "all" && !options.force
      ? await adoptedExperts(run, options.check)
      : [];
    for (const { expert, from } of adopted) {
      onWarning(`expert ${expert} was adopted from "${from}": it stays`);
    }
    const toTrain = share.filter((id) => !adopted.some(({ expert }) => expert === id));
    const models = await trainExperts(toTrain, { ...training, sources }, { signal, onEvent });
    print({ run, models }, trainedText(run, models));
  },
}, import.meta);
