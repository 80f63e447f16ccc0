import { assert, assertEquals, assertNotEquals, assertRejects } from "@std/assert";
import { InputError } from "../../../kernels/errors.ts";
import { writeSamples } from "../../../pipeline/report/sections/experts.ts";
import { answer } from "../../../pipeline/serving/generate.ts";
import { openMixture } from "../../../pipeline/serving/mixture.ts";
import { gpu } from "../../kernels/support.ts";
import { byteTokenizer, EXPERT, inServingRun, servingRun } from "../serving/support.ts";
import { inFolder } from "../../tasks/support.ts";

Deno.test("writeSamples() lets every expert begin a document, with the text that answer() gives it", () =>
  inServingRun(3, async (run) => {
    const { texts, tokens, reason } = await writeSamples(run, [0, 2], { tokens: 20 });
    assertEquals([[...texts.keys()], tokens, reason], [[0, 2], 20, undefined]);
    const mixture = await openMixture({ run });
    const { eos } = await byteTokenizer();
    for (const [expert, text] of texts) {
      const options = {
        prompt: Uint32Array.of(eos),
        expert,
        maxNewTokens: 20,
        seed: 0,
        cache: false,
      };
      assertEquals(text, (await Array.fromAsync(await answer(mixture, options))).join(""));
    }
    mixture.close();
    assertNotEquals(texts.get(0), texts.get(2));
    for (let time = 0; time < 2; time++) { // a device that is given stays open
      const options = { tokens, gpu: gpu!, adapter: "a name that no adapter has" };
      assertEquals(await writeSamples(run, [0, 2], options), { texts, tokens });
    }
    // It ends with the context.
    const long = await writeSamples(run, [0], { tokens: 3 * EXPERT.context });
    assert(long.texts.get(0)!.startsWith(texts.get(0)!.replace(/\uFFFD+$/, "")));
  }));

Deno.test("writeSamples() opens nothing for no tokens or no experts, and refuses an expert that is damaged or not there", () =>
  inFolder(async (run) => {
    assertEquals(await writeSamples(`${run}/none`, [0], { tokens: 0 }), {
      texts: new Map(),
      tokens: 0,
    });
    assertEquals(await writeSamples(`${run}/none`, [], { tokens: 9 }), {
      texts: new Map(),
      tokens: 9,
    });
    await servingRun(run);
    await assertRejects(() => writeSamples(run, [0, 7], { tokens: 2 }), InputError);
    await Deno.truncate(`${run}/experts/expert-01/model.safetensors`, 100);
    await assertRejects(() => writeSamples(run, [0, 1], { tokens: 2 }), InputError, "expert-01");
  }));

Deno.test("writeSamples() reports which file is not there, and keeps what was written before", () =>
  inServingRun(3, async (run) => {
    const { texts } = await writeSamples(run, [0], { tokens: 2 });
    const experts = [0, 1, 2];
    for (const file of ["model.safetensors", "config.json"]) {
      await Deno.remove(`${run}/experts/expert-01/${file}`);
      const reason = `experts/expert-01/${file} is not there`;
      assertEquals(await writeSamples(run, experts, { tokens: 2 }), { tokens: 2, texts, reason });
    }
    await Deno.remove(`${run}/tokenizer.json`);
    const none = { tokens: 2, texts: new Map(), reason: "tokenizer.json is not there" };
    assertEquals(await writeSamples(run, experts, { tokens: 2 }), none);
  }));
