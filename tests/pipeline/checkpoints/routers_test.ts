import { assertEquals, assertNotEquals, assertRejects } from "@std/assert";
import { InputError } from "../../../kernels/errors.ts";
import { saveCheckpoint } from "../../../pipeline/checkpoints/checkpoint.ts";
import { loadRouters, routerFolder, routersHash } from "../../../pipeline/checkpoints/routers.ts";
import { initialWeights, type Weights } from "../../../pipeline/model/parameters.ts";
import { inFolder } from "../../tasks/support.ts";
import { CONFIG, NOTES, WEIGHTS } from "./support.ts";

Deno.test("loadRouters() gives back every router in order, and names the set by all weights", async () => {
  await inFolder(async (folder) => {
    const models = [5, 6, 7].map((seed) => initialWeights(CONFIG, seed));
    const hashes = await saveRouters(folder, models);
    await Deno.writeTextFile(`${folder}/notes.txt`, "other files may lie there");
    await Deno.mkdir(`${folder}/router-state`);
    const routers = await loadRouters(folder);
    assertEquals(routers, { config: CONFIG, models, notes: NOTES, sha256: routersHash(hashes) });
    assertNotEquals(routersHash([...hashes].reverse()), routers.sha256);
    assertNotEquals(routersHash(hashes.slice(0, 2)), routers.sha256);
  });
});

Deno.test("loadRouters() reads more than a hundred routers in the order of their numbers", async () => {
  await inFolder(async (folder) => {
    const config = { ...CONFIG, vocabulary: 2, hidden: 2, layers: 1, heads: 1 };
    const first = initialWeights(config, 1);
    const embedding = "gpt_neox.embed_in.weight";
    for (let i = 0; i < 102; i++) {
      const weights = new Map([...first, [embedding, new Float32Array(4).fill(i)]]);
      await saveCheckpoint(`${folder}/${routerFolder(i)}`, config, weights);
    }
    const { models } = await loadRouters(folder);
    assertEquals(
      models.map((weights) => weights.get(embedding)![0]),
      Array.from({ length: 102 }, (_, i) => i),
    );
  });
});

Deno.test("loadRouters() refuses missing folders, gaps and routers that differ", async () => {
  await inFolder(async (folder) => {
    const refused = (fact: string, where = folder) =>
      assertRejects(() => loadRouters(where), InputError, fact);
    await refused(`Cannot load routers as "${folder}/nowhere" must be a folder`, `${folder}/nowhere`);
    await Deno.writeTextFile(`${folder}/file`, "");
    await refused("must be a folder", `${folder}/file`);
    await refused("must hold router-00, router-01, …: it holds none; name the partitioner/ of a run");
    await saveRouters(folder, [WEIGHTS, WEIGHTS]);
    await Deno.rename(`${folder}/router-01`, `${folder}/router-02`);
    await refused("must hold router-01: the next folder is router-02");
    await Deno.rename(`${folder}/router-02`, `${folder}/router-01`);
    await saveCheckpoint(`${folder}/router-01`, CONFIG, WEIGHTS, { ...NOTES, tokenizer: "other" });
    await refused(`"${folder}/router-01" differs from router-00`);
    const wider = { ...CONFIG, vocabulary: 12 };
    await saveCheckpoint(`${folder}/router-01`, wider, initialWeights(wider, 1), NOTES);
    await refused("differs from router-00");
    await Deno.remove(`${folder}/router-01/model.safetensors`);
    await refused(`${folder}/router-01/model.safetensors`);
  });
});

async function saveRouters(folder: string, models: Weights[]) {
  const hashes: string[] = [];
  for (const [i, weights] of models.entries()) {
    const records = await saveCheckpoint(`${folder}/${routerFolder(i)}`, CONFIG, weights, NOTES);
    hashes.push(records["model.safetensors"].sha256);
  }
  return hashes;
}
