import { resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { assertEquals } from "@std/assert";
import { fillValues } from "../../pipeline/settings/mod.ts";
import type { JobPlan } from "../../pipeline/run/mod.ts";
import { PLANNING, readPlan } from "../../tasks/submit.ts";

// A folder that is there.
const DATA = fileURLToPath(new URL(".", import.meta.url)).replace(/\/$/, "");

/** Plans by these flags, with others said to be false. */
function planned(
  flags: Record<string, unknown> = {},
  before: JobPlan | null = null,
  denied: string[] = [],
): Partial<JobPlan> {
  const said = { given: new Set(Object.keys(flags)), denied: new Set(denied) };
  const plan = readPlan(fillValues(PLANNING, flags), said, before);
  return Object.fromEntries(Object.entries(plan).filter(([, value]) => value !== undefined));
}

Deno.test("readPlan() takes what flags say, and what was planned before otherwise", () => {
  assertEquals(planned(), { parts: 1, dense: ["batch"] });
  const flags = {
    parts: 4,
    routerGroups: 2,
    dense: "compute,switch,batch",
    zeroShot: "own,arc_easy",
    zeroShotData: DATA,
    checkpointEvery: 50,
    keep: 3,
    recompute: true,
    slurmPartition: "gpu",
    gres: "gpu:1",
    time: "04:00:00",
    expertsAtOnce: 8,
    container: "an image.sif",
  };
  const plan = planned(flags) as JobPlan;
  assertEquals(plan, {
    parts: 4,
    dense: ["batch", "compute", "switch"],
    routerGroups: 2,
    training: { checkpointEvery: 50, keep: 3, recompute: true },
    zeroShot: { tasks: ["last_word", "shuffled_words", "next_sentence", "arc_easy"], data: DATA },
    slurm: {
      slurmPartition: "gpu",
      gres: "gpu:1",
      time: "04:00:00",
      expertsAtOnce: 8,
      container: resolve("an image.sif"), // jobs start in another folder
    },
  });
  assertEquals(planned({}, plan), plan);
  assertEquals(planned({ keep: 1, dense: "none", zeroShot: "none", parts: 2 }, plan), {
    parts: 2,
    dense: [],
    routerGroups: 2,
    training: { checkpointEvery: 50, keep: 1, recompute: true },
    slurm: plan.slurm,
  });
  assertEquals(planned({}, plan, ["recompute", "requireGpu"]).training, {
    checkpointEvery: 50,
    keep: 3,
  });
  const once = planned({ requireGpu: true }) as JobPlan;
  assertEquals([once.training, planned({}, once, ["requireGpu"]).training], [
    { requireGpu: true },
    undefined,
  ]);
  const none = {
    slurmPartition: "none",
    gres: "none",
    time: "none",
    expertsAtOnce: 0,
    container: "none",
  };
  assertEquals(planned({ gres: "gpu:a100:1" }, plan).slurm, { ...plan.slurm, gres: "gpu:a100:1" });
  assertEquals(planned({ ...none, container: "docker://an/image" }, plan).slurm, {
    container: "docker://an/image",
  });
  assertEquals(planned(none, plan).slurm, undefined);
  assertEquals(planned({ dense: "both" }).dense, ["batch", "steps"]);
  assertEquals(planned({ dense: "all" }).dense, ["batch", "steps", "compute", "switch"]);
});
