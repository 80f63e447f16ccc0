import { assert, assertAlmostEquals, assertEquals, assertStringIncludes } from "@std/assert";
import { ASSUMED_GPU, computeCost, PLAIN_DEVICE } from "../../../pipeline/cost/cost.ts";
import { writeKnown } from "../../../pipeline/reproduction/folder.ts";
import { planStudies } from "../../../pipeline/reproduction/plan.ts";
import { STUDIES } from "../../../pipeline/reproduction/grid.ts";
import { resolveConfiguration } from "../../../pipeline/settings/resolution.ts";
import { inFolder } from "../../tasks/support.ts";
import { gridOf, listRecipes, SMALL } from "./support.ts";

Deno.test("planStudies() counts every piece once, and no piece of the small preset takes longer than 45 minutes", () =>
  inFolder(async (root) => {
    const { pieces, seconds } = await planStudies({
      run: root,
      studies: ["all"],
      sources: SMALL,
      seeds: 3,
    });
    const names = pieces.map(({ run, piece }) => `${run} ${piece}`);
    assertEquals(new Set(names).size, names.length);
    assertEquals(pieces.filter(({ done }) => done), []);
    for (const one of pieces) {
      assert(one.seconds <= 45 * 60, `${one.run}, ${one.piece}: ${one.seconds}`);
    }
    assertEquals(
      Math.round(pieces.reduce((sum, piece) => sum + piece.seconds, 0)),
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
    const { pieces } = await plan("dense");
    const seconds = (piece: string) =>
      pieces.find((one) => one.run === "em-4-experts-seed-0" && one.piece === piece)!.seconds;
    const cost = computeCost(resolveConfiguration(SMALL), PLAIN_DEVICE);
    const speed = PLAIN_DEVICE.flops * PLAIN_DEVICE.utilisation;
    assertAlmostEquals(seconds("dense-compute"), cost.equalCompute.training / speed);
    assertAlmostEquals(seconds("switch"), cost.switch.training / speed);
    assertAlmostEquals(seconds("dense"), cost.flops.dense / speed);

    const searches = async () =>
      (await plan("partitioners")).pieces.filter(({ piece }) => piece.endsWith("of routers"));
    const found = await searches();
    assertEquals(
      found.map(({ piece }) => piece),
      Array(2).fill(["rate of routers", "rounds of routers"]).flat(),
    );
    assertEquals(found.map(({ done }) => done), [false, false, false, false]);
    const [recipe] = listRecipes(gridOf(["partitioners"]));
    await writeKnown(root, {
      routers: { [recipe]: { routerRate: 0.006, rounds: 12, trials: [] } },
    });
    assertEquals((await searches()).map(({ done }) => done), [true, true, false, false]);
    const runs = new Set((await plan("partitioners")).pieces.map(({ run }) => run));
    assert(runs.has("em-from-random-parts-4-experts-router-rate-0.006-rounds-12-seed-0"));
  }));

Deno.test("planStudies() reports what every study takes by itself, on one device and on as many as it has pieces", () =>
  inFolder(async (root) => {
    const plan = (studies: string[]) =>
      planStudies({ run: root, studies, sources: SMALL, seeds: 2 });
    const all = await plan(["all"]);
    assertEquals(all.studies.map(({ study }) => study), [...STUDIES.keys()]);
    assert(
      all.studies.reduce((sum, { seconds }) => sum + seconds, 0) > all.seconds,
      "studies share runs",
    );
    for (const one of all.studies) {
      const alone = await plan([one.study]);
      assertAlmostEquals(alone.seconds, one.seconds);
      assertEquals(alone.pieces.length, one.pieces);
      assert(one.longest < one.shortest && one.shortest < one.seconds, one.study);
    }
    // A partition, the search for the rate of the longest training, and that training follow one
    // another.
    const { pieces, studies: [{ shortest }] } = await plan(["segments"]);
    const seconds = (piece: string) => pieces.find((one) => one.piece === piece)!.seconds;
    assertAlmostEquals(
      shortest,
      seconds("partition") + seconds("learning rate of dense") + seconds("dense"),
    );
  }));

Deno.test("planStudies() tells FLOPs, the devices that can work at once, and the memory of each", () =>
  inFolder(async (root) => {
    const plan = await planStudies({ run: root, studies: ["segments"], sources: SMALL });
    const speed = PLAIN_DEVICE.flops * PLAIN_DEVICE.utilisation;
    for (const { piece, flops, seconds } of plan.pieces) {
      if (piece === "partition") assert(seconds > flops / speed, "routers are narrow");
      else assertAlmostEquals(flops / speed, seconds);
    }
    assertAlmostEquals(plan.pieces.reduce((sum, { flops }) => sum + flops, 0) / plan.flops, 1);
    // Two parts of two experts, and two dense models, once the text is split.
    assertEquals([plan.devices, plan.studies[0].devices], [4, 4]);
    assertEquals(plan.shortest, plan.studies[0].shortest);
    const { microBatch, microBatchSet, memoryBytes, memoryBytesSet } = plan.largest!;
    assertEquals([microBatch, memoryBytes], [microBatchSet, memoryBytesSet]);
    assertEquals(memoryBytes, Math.max(...plan.pieces.map(({ memoryBytes }) => memoryBytes)));
    assertEquals([plan.tooLarge, plan.device], [[], PLAIN_DEVICE]);
    const recomputed = await planStudies({
      run: root,
      studies: ["segments"],
      sources: SMALL,
      recompute: true,
    });
    assert(recomputed.flops > plan.flops);
    assert(recomputed.pieces.at(-1)!.memoryBytes < plan.pieces.at(-1)!.memoryBytes);
  }));

Deno.test("planStudies() assumes the memory of a GPU, finds what fits it, and names what does not", () =>
  inFolder(async (root) => {
    const plan = (device: object, preset = "paper-1.3b") =>
      planStudies({ run: root, studies: ["dense"], sources: { preset }, device });
    const { largest, tooLarge, device, assumptions } = await plan({ flops: 60e12 });
    assertEquals(device, { ...PLAIN_DEVICE, flops: 60e12, memoryBytes: ASSUMED_GPU.memoryBytes });
    assertStringIncludes(
      assumptions[1],
      "80 GB (74.5 GiB) of memory on one device, as an NVIDIA H100 has",
    );
    assert(largest!.memoryBytes <= 80e9 && largest!.memoryBytesSet > 80e9);
    assert(tooLarge.some(({ run, piece }) => run === "em-8-experts-seed-0" && piece === "switch"));
    assert(tooLarge.every(({ memoryBytes }) => memoryBytes > 80e9));
    const roomy = await plan({ flops: 60e12, memoryBytes: 1e13 });
    assertEquals([roomy.tooLarge, roomy.largest!.microBatch], [[], 128]);
    const named = await plan(ASSUMED_GPU, "paper-335m");
    assertStringIncludes(named.assumptions[0], "30% of the 6.00e+13 of an NVIDIA H100");
  }));
