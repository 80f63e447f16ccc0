import { assert, assertAlmostEquals, assertEquals, assertStringIncludes } from "@std/assert";
import { ASSUMED_GPU, computeCost, PLAIN_DEVICE } from "../../../pipeline/cost/cost.ts";
import { writeKnown } from "../../../pipeline/reproduction/folder.ts";
import { planStudies } from "../../../pipeline/reproduction/plan.ts";
import { STUDIES } from "../../../pipeline/reproduction/grid.ts";
import { resolveConfiguration } from "../../../pipeline/settings/resolution.ts";
import { inFolder } from "../../tasks/support.ts";
import { gridOf, listRecipes, SMALL } from "./support.ts";

Deno.test("planStudies() counts every job once, and no job of the small preset takes longer than 45 minutes", () =>
  inFolder(async (root) => {
    const { jobs, seconds } = await planStudies({
      run: root,
      studies: ["all"],
      sources: SMALL,
      seeds: 3,
    });
    const names = jobs.map(({ run, job }) => `${run} ${job}`);
    assertEquals(new Set(names).size, names.length);
    assertEquals(jobs.filter(({ done }) => done), []);
    for (const { run, job, seconds } of jobs) {
      assert(seconds <= 45 * 60, `${run}, ${job}: ${seconds}`);
    }
    assertEquals(
      Math.round(jobs.reduce((sum, job) => sum + job.seconds, 0)),
      Math.round(seconds),
    );
    const twice = await planStudies({
      run: root,
      studies: ["all"],
      sources: SMALL,
      seeds: 3,
      device: { flops: 2 * PLAIN_DEVICE.flops },
    });
    assert(Math.abs(twice.seconds / seconds - 1 / 2) < 1e-9);
  }));

Deno.test("planStudies() counts the FLOPs of every model as they are, and searches for routers until they are made", () =>
  inFolder(async (root) => {
    const plan = (name: string) => planStudies({ run: root, studies: [name], sources: SMALL });
    const { jobs } = await plan("dense");
    const seconds = (name: string) =>
      jobs.find(({ run, job }) => run === "em-4-experts-seed-0" && job === name)!.seconds;
    const cost = computeCost(resolveConfiguration(SMALL), PLAIN_DEVICE);
    const speed = PLAIN_DEVICE.flops * PLAIN_DEVICE.utilisation;
    assertAlmostEquals(seconds("dense-compute"), cost.equalCompute.training / speed);
    assertAlmostEquals(seconds("switch"), cost.switch.training / speed);
    assertAlmostEquals(seconds("dense"), cost.flops.dense / speed);

    const searches = async () =>
      (await plan("partitioners")).jobs.filter(({ job }) => job.endsWith("of routers"));
    const found = await searches();
    assertEquals(
      found.map(({ job }) => job),
      Array(2).fill(["rate of routers", "rounds of routers"]).flat(),
    );
    assertEquals(found.map(({ done }) => done), [false, false, false, false]);
    const [recipe] = listRecipes(gridOf(["partitioners"]));
    await writeKnown(root, {
      routers: { [recipe]: { routerRate: 0.006, rounds: 12, trials: [] } },
    });
    assertEquals((await searches()).map(({ done }) => done), [true, true, false, false]);
    const runs = new Set((await plan("partitioners")).jobs.map(({ run }) => run));
    assert(runs.has("em-from-random-parts-4-experts-router-rate-0.006-rounds-12-seed-0"));
  }));

Deno.test("planStudies() tells what every study takes by itself: together they take less, as they share runs", () =>
  inFolder(async (root) => {
    const plan = (studies: string[]) =>
      planStudies({ run: root, studies, sources: SMALL, seeds: 2 });
    const all = await plan(["all"]);
    assertEquals(all.studies.map(({ study }) => study), [...STUDIES.keys()]);
    assert(all.studies.reduce((sum, { seconds }) => sum + seconds, 0) > all.seconds);
    for (const { study, ...alone } of all.studies) {
      const { jobs, flops, seconds } = await plan([study]);
      assertEquals(alone.jobs, jobs.length);
      assertAlmostEquals(alone.flops / flops, 1);
      assertAlmostEquals(alone.seconds / seconds, 1);
    }
  }));

Deno.test("planStudies() tells FLOPs, and the job that takes most memory", () =>
  inFolder(async (root) => {
    const plan = await planStudies({ run: root, studies: ["segments"], sources: SMALL });
    const speed = PLAIN_DEVICE.flops * PLAIN_DEVICE.utilisation;
    for (const { job, flops, seconds } of plan.jobs) {
      if (job === "partition") assert(seconds > flops / speed, "routers are narrow");
      else assertAlmostEquals(flops / speed, seconds);
    }
    assertAlmostEquals(plan.jobs.reduce((sum, { flops }) => sum + flops, 0) / plan.flops, 1);
    const most = Math.max(...plan.jobs.map(({ memoryBytes }) => memoryBytes));
    assertEquals([plan.largest!.memoryBytes, plan.device], [most, PLAIN_DEVICE]);
    const recomputed = await planStudies({
      run: root,
      studies: ["segments"],
      sources: SMALL,
      recompute: true,
    });
    assert(recomputed.flops > plan.flops);
    assert(recomputed.jobs.at(-1)!.memoryBytes < plan.jobs.at(-1)!.memoryBytes);
    const one = await planStudies({
      run: root,
      studies: ["segments"],
      sources: { ...SMALL, flags: { microBatch: 1 } },
    });
    assert(one.jobs.at(-1)!.memoryBytes < plan.jobs.at(-1)!.memoryBytes);
  }));

Deno.test("planStudies() assumes the memory of a GPU of which none is known", () =>
  inFolder(async (root) => {
    const plan = (device: object, preset: string) =>
      planStudies({ run: root, studies: ["dense"], sources: { preset }, device });
    const { largest, device, assumptions } = await plan({ flops: 60e12 }, "paper-1.3b");
    assertEquals(device, { ...PLAIN_DEVICE, flops: 60e12, memoryBytes: ASSUMED_GPU.memoryBytes });
    assertStringIncludes(
      assumptions[1],
      "80 GB (74.5 GiB) of memory on one device, as an NVIDIA H100 has",
    );
    assert(largest!.memoryBytes > 80e9);
    const roomy = await plan({ flops: 60e12, memoryBytes: 1e13 }, "paper-1.3b");
    assertEquals(roomy.device.memoryBytes, 1e13);
    const named = await plan(ASSUMED_GPU, "paper-335m");
    assertStringIncludes(named.assumptions[0], "30% of the 6.00e+13 of an NVIDIA H100");
  }));
