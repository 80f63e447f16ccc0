/**
 * Reproduces the paper's comparison of the mixture with dense models at a small size, from text to a table of its claims.
 *
 *   deno task reproduce --preset small --study experts --seeds 3 --run runs/studies
 */
import { planStudies, reproduce, runStudies, STUDIES } from "../pipeline/reproduction/mod.ts";
import { field } from "../pipeline/settings/mod.ts";
import { defineTask } from "./command.ts";
import { CHECKPOINTS, DEVICE, IN_A_RUN, RECOMPUTE, REQUIRE_GPU, SPEED, TRIALS } from "./options.ts";
import { checkStudyFlags, claimsText, studiesPlanText, studiesText } from "./reproduce_text.ts";
import { speedOf } from "./text.ts";
import { words } from "./wording.ts";

export const TASK = await defineTask({
  name: "reproduce",
  about:
    "Runs everything: partition, a search for learning rates, experts, two dense baselines, evaluation, report; and puts the " +
    "paper's claims beside this run's figures. With --study it answers one question with as many runs as that takes. Stopped at any " +
    "moment, it goes on where it was; of a study, several processes may work on one folder at once.",
  options: {
    ...IN_A_RUN,
    study: field.texts({
      default: [],
      value: "NAME",
      help: `a study instead: ${[...STUDIES.keys()].join(", ")}, or all; repeatable`,
    }),
    seeds: field.integer({ default: 1, min: 1, max: 100, help: "seeds of a study, where it repeats them" }),
    from: field.paths({
      value: "FOLDER",
      help: "studies elsewhere, or their results: what is noted there is not made again; repeatable",
    }),
    only: field.texts({
      default: [],
      value: "RUN",
      help: "a run of a study to make alone, by its name in --dry-run: so machines share a study; repeatable",
    }),
    dryRun: field.flag({ help: "print what a study would run, and how long that takes" }),
    ...TRIALS,
    ...SPEED,
    ...CHECKPOINTS,
    ...RECOMPUTE,
    ...DEVICE,
    ...REQUIRE_GPU,
  },
  run: async ({ sources, options, given, signal, onEvent, print }) => {
    const { run, study: studies, dryRun } = options;
    checkStudyFlags(given.union(new Set(Object.keys(sources.flags ?? {}))), studies.length > 0);
    if (studies.length > 0 && dryRun) {
      const plan = await planStudies({ ...options, studies, sources, device: speedOf(options), words });
      return print(plan, studiesPlanText(plan));
    }
    if (studies.length > 0) {
      const results = await runStudies({ ...options, studies, sources, words }, { signal, onEvent });
      return print(results, studiesText(run, results, options.only));
    }
    const reproduction = await reproduce({ ...options, sources, words }, { signal, onEvent });
    print({ run, ...reproduction }, claimsText(run, reproduction.claims));
  },
}, import.meta);
