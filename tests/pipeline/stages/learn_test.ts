import { assertEquals, assertRejects } from "@std/assert";
import { InputError } from "../../../kernels/errors.ts";
import { forwardFlops, trainingFlops } from "../../../pipeline/cost/flops.ts";
import { modelShapes } from "../../../pipeline/model/shapes.ts";
import { PARTITIONERS } from "../../../pipeline/partition/partitioners.ts";
import { type Configuration, defaultConfiguration } from "../../../pipeline/settings/configuration.ts";
import { LEARN, learn, roundFlops, splitPrefix } from "../../../pipeline/stages/learn.ts";
import { isMadeBy } from "../../../pipeline/stages/stage.ts";
import { inFolder } from "../../tasks/support.ts";

const settings = (more: Partial<Configuration> = {}) => ({ ...defaultConfiguration(), ...more });

Deno.test("a run learns nothing where it uses routers that exist, and else depends on its kind and seed", () => {
  assertEquals(learn.of(settings({ routers: "runs/other/partitioner" })), []);
  const [stage] = learn.of(settings({ partitioner: "ctbm" }));
  assertEquals([stage.name, stage.revision], [LEARN, PARTITIONERS.get("ctbm")!.revision]);
  const valuesOf = (partitioner: string) => {
    const configuration = settings({ partitioner });
    return learn.of(configuration)[0].values!({ run: "", configuration }) as Record<string, unknown>;
  };
  assertEquals(valuesOf("ctbm").partitioner, "ctbm");
  assertEquals("partitioner" in valuesOf("em"), false, "manifests of before there were others do not say it");
});

Deno.test("the stage knows the files of every kind, and takes none of a user's", () => {
  const [stage] = learn.of(settings());
  const own = ["partitioner.json", "state.safetensors", "ctbm.safetensors", "router-03/model.safetensors"];
  for (const path of own) assertEquals(isMadeBy(stage, `partitioner/${path}`), true, path);
  for (const path of ["notes.txt", "router-03/notes.txt"]) {
    assertEquals(isMadeBy(stage, `partitioner/${path}`), false, path);
  }
});

Deno.test("splitPrefix() is M where prefixes are scored, and the whole sequence where a kind goes by all of it", () =>
  inFolder(async (folder) => {
    assertEquals(await splitPrefix(settings({ prefix: 9, sequenceLength: 40 })), 9);
    for (const [partitioner, { splits, whole }] of PARTITIONERS) {
      if (!splits) continue;
      assertEquals(
        await splitPrefix(settings({ partitioner, prefix: 9, sequenceLength: 40 })),
        whole ? 40 : 9,
      );
    }
    await assertRejects(() => splitPrefix(settings({ routers: `${folder}/none` })), InputError, "none");
  }));

Deno.test("roundFlops() counts every router's steps, and every router on the sequences of all", () => {
  const c = settings({ experts: 3, roundSequences: 40, routerBatch: 16, prefix: 8 });
  const { router } = modelShapes(c);
  const [step, one] = [trainingFlops(router, 16, 8), forwardFlops(router, 1, 8)];
  assertEquals(roundFlops(c), 3 * 2 * step + 3 * (3 * 40) * one);
});
