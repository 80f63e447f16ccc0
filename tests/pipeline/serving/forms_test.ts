import { assert, assertEquals } from "@std/assert";
import { branching, decoding, scoring } from "../../../pipeline/serving/forms.ts";
import { createQueue } from "../../../pipeline/serving/queue.ts";
import { gpu } from "../../kernels/support.ts";
import { anyWeights } from "../model/support.ts";
import { EXPERT } from "./support.ts";

const checkpoint = { config: EXPERT, weights: anyWeights(EXPERT, "expert"), notes: {}, sha256: "" };

Deno.test("size() of a form is near what a larger model takes, and grows with slots and capacity", () => {
  const config = { vocabulary: 1000, hidden: 64, layers: 4, heads: 4, context: 128 };
  const large = { ...checkpoint, config, weights: anyWeights(config, "large") };
  for (const form of [decoding({ slots: 1 }), decoding({ slots: 6, capacity: 100 })]) {
    const model = form.open(large, gpu, createQueue());
    const share = form.size(config) / model.bytes;
    assert(share > 0.5 && share < 1.1, `${form.name}: ${share}`);
    model.close(new Error("closed"));
  }
  const bytesWith = (rows: { batch?: number; most?: number }) => {
    const { bytes, close } = branching(rows).open(checkpoint, gpu, createQueue());
    close(new Error("closed"));
    return bytes;
  };
  assertEquals(bytesWith({ most: 2 }), bytesWith({ batch: 2 }));
  assert(bytesWith({ most: 2 }) < bytesWith({}), "more are quick");
  const [few, many] = [decoding({ slots: 1 }), decoding({ slots: 2 })];
  assertEquals(many.size(config) - few.size(config), 2 * 4 * 128 * 64 * 4); // keys and values, 4 layers, 4 bytes each
  assert(few.name !== many.name && scoring({ length: 3 }).name !== scoring({ length: 4 }).name);
});
