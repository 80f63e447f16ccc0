import { assert, assertEquals, assertRejects } from "@std/assert";
import { makeAll, type MakeOptions, type Node, readManifest } from "../../../pipeline/graph/mod.ts";
import { partitionGraph } from "../../../pipeline/stages/plan.ts";
import { expertTarget } from "../../../pipeline/stages/targets.ts";
import { type TrainingOptions, trainNodes } from "../../../pipeline/stages/train.ts";
import type { Configuration } from "../../../pipeline/settings/configuration.ts";
import { closeGpu, makeSmall, smallSettings, smallWork, writeTexts } from "./support.ts";

const STEPS = {
  ...{ expertHidden: 8, expertLayers: 1, expertHeads: 2, expertBatch: 4, expertSteps: 12, expertWarmup: 4 },
  ...{ logEvery: 3, validateEvery: 6, validationSequences: 8, holdout: 0.3 },
};

let made: Promise<string> | undefined;
/** Makes a partition once, with two experts. */
const partition = () =>
  made ??= (async () => {
    const folder = await Deno.makeTempDir();
    await writeTexts(`${folder}/text`);
    await makeSmall(`${folder}/run`, smallSettings(`${folder}/text`, STEPS));
    return folder;
  })();

/** Trains experts in a run that has nothing but tokenizer and parts of the others. */
async function train(
  run: string,
  more: Partial<Configuration> = {},
  { train = {}, ...options }: Partial<MakeOptions> & { train?: TrainingOptions; signal?: AbortSignal } = {},
  events: unknown[] = [],
) {
  const folder = await partition();
  const configuration = smallSettings(`${folder}/text`, { ...STEPS, ...more });
  const { nodes } = await partitionGraph(`${folder}/run`, configuration);
  const given = nodes.filter(({ name }) => /^(partition\/|tokenizer)/.test(name)).map((node): Node => ({
    ...node,
    given: true,
    needs: [],
  }));
  for (const { name } of given) {
    if (await Deno.stat(`${run}/${name}`).catch(() => null)) continue;
    await Deno.mkdir(`${run}/${name}`, { recursive: true });
    for await (const { name: file } of Deno.readDir(`${folder}/run/${name}`)) {
      await Deno.link(`${folder}/run/${name}/${file}`, `${run}/${name}/${file}`);
    }
  }
  const graph = [
    ...given,
    ...await trainNodes(
      configuration,
      [0, 1].map((expert) => expertTarget(expert, { experts: 2 })),
      [],
      train,
    ),
  ];
  return await makeAll({ ...smallWork(run, events), signal: options.signal }, graph, {
    task: "test",
    ...options,
  });
}

async function inFolder(body: (folder: string) => Promise<void>): Promise<void> {
  const folder = await Deno.makeTempDir();
  try {
    await body(folder);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

/** Gives the hashes of what was trained. */
const hashes = (run: string) =>
  Promise.all(["00", "01"].map(async (e) => (await readManifest(`${run}/experts/expert-${e}`))!.files));

Deno.test("an expert that is stopped and goes on has the bytes of one that was not, alone and in a bank", () =>
  inFolder(async (folder) => {
    await train(`${folder}/one`);
    const whole = await hashes(`${folder}/one`);
    assert(
      Object.keys(whole[0]).includes("model.safetensors") && Object.keys(whole[0]).includes("metrics.jsonl"),
    );
    assert(whole[0]["model.safetensors"].sha256 !== whole[1]["model.safetensors"].sha256);
    for (const together of [false, true]) {
      const run = `${folder}/stopped-${together}`;
      const options = { together, checkpointEvery: 5 };
      for (let stops = 0; stops < 2; stops++) {
        const ending = new AbortController();
        const events = {
          push: (event: { type: string; done?: number }) =>
            event.type === "progress" && event.done! > 2 + 4 * stops && ending.abort(),
        };
        await assertRejects(() =>
          train(run, {}, { train: options, signal: ending.signal }, events as unknown as unknown[])
        );
      }
      await train(run, {}, { train: options });
      assertEquals(await hashes(run), whole);
      assertEquals([...Deno.readDirSync(`${run}/scratch`)], []);
    }
    await closeGpu();
  }));
