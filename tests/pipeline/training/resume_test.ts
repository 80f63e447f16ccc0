import { assertEquals, assertMatch } from "@std/assert";
import { wordText } from "../../../kernels/errors.ts";
import { initialWeights } from "../../../pipeline/model/parameters.ts";
import type { ModelConfig } from "../../../pipeline/model/shape.ts";
import { saveTrainerState } from "../../../pipeline/model/checkpoints/trainer_state.ts";
import type { TrainingState } from "../../../pipeline/training/loop.ts";
import {
  checkpointPath,
  listCheckpoints,
  loadCheckpointState,
  removeLaterCheckpoints,
  removeOldCheckpoints,
  saveCheckpointState,
} from "../../../pipeline/training/resume.ts";
import { inFolder } from "../../tasks/support.ts";

const MODEL: ModelConfig = { vocabulary: 5, hidden: 4, layers: 1, heads: 1, context: 8 };

/** A state after so many steps; its numbers tell the step. */
function stateAt(step: number): TrainingState {
  const [weights, moments, squares] = [1, 2, 3].map((
    list,
  ) => [initialWeights(MODEL, 10 * step + list)]);
  return { trainer: { step, weights, moments, squares }, tokens: 100 * step, losses: [step, 0.5] };
}

type CheckpointContext = Parameters<typeof saveCheckpointState>[3];
const CONTEXT: CheckpointContext = {
  key: "k1",
  metricsBytes: 77,
  metricsSha256: "ab",
  settings: { rate: 0.1, model: { hidden: 4 } },
  loss: null,
  validationLoss: 2.5,
  interrupted: true,
  resumed: [{ step: 3, key: "k0" }],
};

/** Saves states of these steps. */
async function save(folder: string, steps: number[], context = CONTEXT): Promise<void> {
  await Deno.mkdir(folder, { recursive: true });
  for (const step of steps) await saveCheckpointState(folder, MODEL, stateAt(step), context);
}

const any = () => true;

Deno.test("loadCheckpointState() gives back the state and context of the latest checkpoint that is accepted", () =>
  inFolder(async (folder) => {
    assertEquals(await loadCheckpointState(`${folder}/none`, MODEL, any), undefined);
    await save(folder, [9, 10, 123456789]);
    assertEquals(await loadCheckpointState(folder, MODEL, any), {
      state: stateAt(123456789),
      context: CONTEXT,
    });
    const asked: number[] = [];
    const found = await loadCheckpointState(folder, MODEL, ({ key }, step) => {
      assertEquals(key, "k1");
      asked.push(step);
      return step < 10;
    });
    assertEquals([found?.state.trainer.step, asked], [9, [123456789, 10, 9]]);
    assertEquals(await loadCheckpointState(folder, { ...MODEL, hidden: 8 }, any), undefined);
  }));

Deno.test("loadCheckpointState() passes over what is damaged or says nothing of a training, and tells", () =>
  inFolder(async (folder) => {
    await save(folder, [2, 3]);
    const bytes = await Deno.readFile(checkpointPath(folder, 3));
    bytes[bytes.length - 1] ^= 1;
    await Deno.writeFile(checkpointPath(folder, 3), bytes);
    await saveTrainerState(checkpointPath(folder, 5), MODEL, stateAt(5).trainer, {
      ...CONTEXT,
      tokens: -1,
      losses: [],
    });
    const damaged: string[] = [];
    const found = await loadCheckpointState(
      folder,
      MODEL,
      any,
      (what) => damaged.push(wordText(what)),
    );
    assertEquals(found?.state, stateAt(2));
    assertEquals(damaged.length, 2);
    assertMatch(
      damaged[0],
      /step-00000005\.safetensors" as it must say how far its training had come: tokens: /,
    );
    assertMatch(
      damaged[1],
      /step-00000003\.safetensors" as its checksum must be that of its content/,
    );
  }));

Deno.test("checkpoints are listed by their steps, and removed without anything else in their folder", () =>
  inFolder(async (folder) => {
    await save(folder, [100, 20, 3]);
    const unfinished = `${checkpointPath(folder, 4)}.8.partial`;
    const others = ["notes.txt", "step-1.safetensors"].map((name) => `${folder}/${name}`);
    for (const path of [unfinished, ...others]) await Deno.writeTextFile(path, "mine");
    const pathsOf = (...steps: number[]) => steps.map((step) => checkpointPath(folder, step));
    assertEquals(await listCheckpoints(folder), pathsOf(100, 20, 3));
    await removeOldCheckpoints(folder, 2);
    assertEquals(await listCheckpoints(folder), pathsOf(100, 20));
    await removeLaterCheckpoints(folder, 100);
    assertEquals(await listCheckpoints(folder), pathsOf(100, 20));
    await removeLaterCheckpoints(folder, 20);
    assertEquals(await listCheckpoints(folder), pathsOf(20));
    const names = Array.from(Deno.readDirSync(folder), ({ name }) => `${folder}/${name}`).sort();
    assertEquals(names, [...pathsOf(20), unfinished, ...others].sort());
  }));
