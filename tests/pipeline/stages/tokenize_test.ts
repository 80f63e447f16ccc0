import { assertEquals, assertStringIncludes, assertThrows } from "@std/assert";
import { InputError } from "../../../kernels/errors.ts";
import { tokenizeResult } from "../../../pipeline/stages/tokenize.ts";
import { worded } from "../../../tasks/wording.ts";

const RESULT = {
  ...{ documents: 1, tokens: 20, trainSequences: 3, testSequences: 1, droppedTails: 0 },
  ...{ vocabulary: 99, eos: 0, tokenizer: "ab12" },
};
const manifestOf = (result: Record<string, unknown>) => ({
  ...{ format: 3, stage: "tokenize", revision: 1, key: "", configuration: {}, inputs: {}, outputs: {} },
  result,
});

Deno.test("tokenizeResult() gives what the manifest says, or names the manifest and the field that is wrong", () => {
  assertEquals(tokenizeResult(manifestOf(RESULT), "runs/a"), RESULT);
  const { eos: _, ...without } = RESULT;
  for (const [result, field] of [[without, "eos"], [{ ...RESULT, tokens: "many" }, "tokens"]] as const) {
    const { what, where, remedy } = assertThrows(
      () => tokenizeResult(manifestOf(result), "runs/a"),
      InputError,
    );
    assertStringIncludes(worded(what), `: ${field}: `);
    assertEquals(where, "runs/a/manifests/tokenize.json");
    assertEquals(worded(remedy!), "run deno task tokenize --run runs/a --force, or copy the file again");
  }
});
