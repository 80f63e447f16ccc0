import { assert, assertEquals, assertMatch, assertRejects } from "@std/assert";
import { InputError } from "../../../../kernels/errors.ts";
import { inFolder } from "../../../tasks/support.ts";
import type { ModelConfig } from "../../../../pipeline/model/shape.ts";
import { initialWeights } from "../../../../pipeline/model/parameters.ts";
import { encodeSafetensors } from "../../../../pipeline/model/checkpoints/safetensors.ts";
import {
  loadTrainerState,
  saveTrainerState,
} from "../../../../pipeline/model/checkpoints/trainer_state.ts";

const CONFIG: ModelConfig = { vocabulary: 5, hidden: 4, layers: 1, heads: 1, context: 8 };
const STATE = {
  step: 12,
  weights: [1, 2].map((seed) => initialWeights(CONFIG, seed)),
  moments: [3, 4].map((seed) => initialWeights(CONFIG, seed)),
  squares: [5, 6].map((seed) => initialWeights(CONFIG, seed)),
};

const inPath = (body: (path: string) => Promise<void>) =>
  inFolder((folder) => body(`${folder}/state.safetensors`));

Deno.test("loadTrainerState() gives back what saveTrainerState() wrote, bit for bit", () =>
  inPath(async (path) => {
    assertEquals(await loadTrainerState(path, CONFIG), undefined);
    const notes = { round: 3, text: 'with "quotes"\nand lines' };
    await saveTrainerState(path, CONFIG, STATE, notes);
    assertEquals(await loadTrainerState(path, CONFIG), { state: STATE, notes });
    const first = await Deno.readFile(path);
    await saveTrainerState(path, CONFIG, STATE, notes);
    assertEquals(await Deno.readFile(path), first);
    await saveTrainerState(path, CONFIG, STATE);
    assertEquals((await loadTrainerState(path, CONFIG))!.notes, {});
  }));

Deno.test("loadTrainerState() refuses damaged files and states of another shape in one line with the path", () =>
  inPath(async (path) => {
    const refused = async (message: string, config = CONFIG) => {
      const error = await assertRejects(() => loadTrainerState(path, config), InputError, message);
      assertMatch(error.message, /^Cannot \P{Cc}+$/u);
      assert(error.message.includes(path), error.message);
    };
    await saveTrainerState(path, CONFIG, STATE);
    await refused('"weights/0/gpt_neox.embed_in.weight" of shape [6,4]: its shape is [5,4]', {
      ...CONFIG,
      vocabulary: 6,
    });
    await refused("of shape [4]: it is missing", { ...CONFIG, layers: 2 });
    await Deno.truncate(path, 1000);
    await refused("whole safetensors file");
    assertEquals(await loadTrainerState(path, CONFIG, () => {}), undefined);
    for (
      const [metadata, message] of [
        [{}, "must say its steps: step: "],
        [{ step: "1", models: "2", notes: "{}" }, "sha256: "],
        [
          { step: "1", models: "2", notes: "{}", sha256: "0" },
          "its checksum must be that of its content",
        ],
      ] as const
    ) {
      const parts = [...encodeSafetensors(new Map(), { metadata })];
      await Deno.writeFile(path, new Uint8Array(await new Blob(parts as BlobPart[]).arrayBuffer()));
      await refused(message);
    }
  }));
