/**
 * Reproduces the paper's comparison of the mixture with dense models at a small size, from text to a table of its claims.
 *
 *   deno task reproduce --preset small --study experts --seeds 3 --run runs/studies
 */
import { planStudies, reproduce, runStudies } from "../pipeline/reproduction/mod.ts";
import { defineTask } from "./command.ts";
import { CHECKPOINTS, DEVICE, IN_A_RUN, take } from "./options.ts";
import { checkStudyFlags, claimsText, studiesText } from "./reproduce_text.ts";
import { planAlone, planDevice, studiesPlanText, STUDY } from "./study_plan.ts";
import { words } from "./wording.ts";

export const TASK = await defineTask({
  name: "reproduce",
  options: {
    ...IN_A_RUN,
    ...STUDY,
    ...take("trialShare", "flops", "utilisation"),
    ...CHECKPOINTS,
    ...take("recompute"),
    ...DEVICE,
    ...take("requireGpu"),
  },
  run: async ({ sources, options, given, denied, signal, onEvent, print }) => {
    const { run, study: studies, dryRun } = options;
    checkStudyFlags(given.union(new Set(Object.keys(sources.flags ?? {}))), studies.length > 0);
    const note = planAlone(sources, given.union(denied));
    if (studies.length > 0 && (dryRun || note)) {
      const device = await planDevice(options, sources);
      const plan = await planStudies({ ...options, studies, sources, device, words });
      return print({ ...plan, ...note && { note } }, studiesPlanText(plan, note));
    }
    if (studies.length > 0) {
      const results = await runStudies({ ...options, studies, sources, words }, { signal, onEvent });
      return print(results, studiesText(run, results, options.only));
    }
    const reproduction = await reproduce({ ...options, sources, words }, { signal, onEvent });
    print({ run, ...reproduction }, claimsText(run, reproduction.claims));
  },
}, import.meta);
