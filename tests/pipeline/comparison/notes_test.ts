import { assertEquals } from "@std/assert";
import { untoldText } from "../../../pipeline/comparison/notes.ts";

Deno.test("untoldText() lists the runs that tell of no held-out text", () => {
  const text = (...untold: string[]) => untoldText({ sha256: "0", sequences: null, untold });
  assertEquals([text(), text("a"), text("a", "b"), text("a", "b", "c")], [
    "",
    "; a tells of none",
    "; a and b tell of none",
    "; a, b and c tell of none",
  ]);
});
