import { assert, assertEquals } from "@std/assert";
import {
  type Dispatch,
  splitWork,
  SUBMIT_MULTIPLICATIONS,
} from "../../../kernels/device/dispatch.ts";
import { createHostBatch } from "../../../pipeline/model/batch.ts";
import { DEVICES, planTrainer, presetUses, recordingGpu } from "../../texts.ts";

/** Of one dispatch, at most: no dispatch is split. A bank's loss without logits takes most. */
const DISPATCH_MULTIPLICATIONS = { chunks: 2 * SUBMIT_MULTIPLICATIONS.gpu, workgroup: 2e12 };
const work = (dispatches: readonly Dispatch[]) =>
  dispatches.reduce((sum, { multiplications }) => sum + multiplications, 0);

Deno.test("splitWork() keeps all dispatches in order, in parts of bounded work or of one dispatch", () => {
  const most = SUBMIT_MULTIPLICATIONS.gpu;
  const shares = [0, 0.5, 0.5, 0, 0.1, 2, 0, 1, 0.2];
  const all = shares.map((share) => ({ multiplications: share * most } as Dispatch));
  const parts = splitWork(all, "gpu");
  assertEquals(parts.flat(), all);
  assertEquals(parts.map(({ length }) => length), [4, 1, 1, 2, 1]);
  assertEquals(splitWork([], "gpu"), []);
});

Deno.test("no submit of a training step of any preset has more work than a driver waits for", () => {
  for (const device of DEVICES.filter(({ kind }) => kind === "gpu")) {
    for (const use of presetUses()) {
      const sums: number[] = [];
      const dispatches: number[] = [];
      const gpu = recordingGpu(device, () => {}, (submitted) => {
        for (const part of splitWork(submitted, "gpu")) {
          dispatches.push(...part.map(({ multiplications }) => multiplications));
          if (part.length > 1) sums.push(work(part));
        }
      });
      const { batch, models, length } = use;
      planTrainer(gpu, use, "f32").step(createHostBatch(models * batch, length), 1e-3);
      const [longest, submit] = [Math.max(...dispatches), Math.max(...sums)];
      const facts = `${use.name}: ${longest.toExponential(1)} in a dispatch, ${
        submit.toExponential(1)
      } in a submit`;
      assert(longest > 1e5, facts); // products are counted
      assert(longest <= DISPATCH_MULTIPLICATIONS[device.variants.loss], facts);
      assert(submit <= SUBMIT_MULTIPLICATIONS.gpu, facts);
    }
  }
});
