import { assert, assertEquals, assertNotEquals, assertRejects } from "@std/assert";
import { InputError } from "../../../kernels/errors.ts";
import type { Gpu } from "../../../kernels/device/gpu.ts";
import { saveCheckpoint } from "../../../pipeline/model/checkpoints/checkpoint.ts";
import { expertFolder } from "../../../pipeline/graph/node.ts";
import {
  readRunConfiguration,
  writeRunConfiguration,
} from "../../../pipeline/graph/configuration.ts";
import { generate, type GenerateOptions } from "../../../pipeline/serving/generate.ts";
import { gpu } from "../../kernels/support.ts";
import { sequenceNll } from "../model/reference.ts";
import { anyWeights } from "../model/support.ts";
import { inFolder } from "../../tasks/support.ts";
import {
  byteTokenizer,
  EXPERT,
  inServingRun,
  PREFIX,
  ROUTER,
  servingRun,
  textOf,
} from "./support.ts";

const tokenizer = await byteTokenizer();
const PROMPT = "the ship and the sea, 日本";

async function failure(options: GenerateOptions): Promise<Error> {
  return await assertRejects(async () => await textOf(await generate({ gpu, ...options })), Error);
}

Deno.test("generate() answers with the expert that the f64 routers choose, and streams what its tokens spell", () =>
  inServingRun(3, async (run) => {
    const [prompt] = await tokenizer.encode([PROMPT]);
    const prefix = [...prompt.slice(0, PREFIX)];
    const nll = [0, 1, 2].map((i) =>
      sequenceNll(ROUTER, anyWeights(ROUTER, `router ${i}`), prefix)
    );
    const best = nll.indexOf(Math.min(...nll));
    const routed = await generate({ gpu, run, prompt: PROMPT, maxNewTokens: 30, seed: 3 });
    assertEquals([routed.expert, routed.experts, routed.route?.prefixTokens], [
      best,
      3,
      prefix.length,
    ]);
    const text = await textOf(routed);
    assertEquals([...routed.promptTokens], [...prompt]);
    assertEquals([routed.tokens.length, routed.finish], [30, "length"]);
    const whole = await tokenizer.decode([...prompt, ...routed.tokens]);
    assertEquals(PROMPT + text, whole);

    const named = await generate({
      gpu,
      run,
      prompt: PROMPT,
      maxNewTokens: 30,
      seed: 3,
      expert: best,
    });
    assertEquals([named.route, named.expert], [null, best]);
    assertEquals(await textOf(named), text);
    const other = await generate({
      gpu,
      run,
      prompt: PROMPT,
      maxNewTokens: 30,
      seed: 3,
      expert: (best + 1) % 3,
    });
    assertNotEquals(await textOf(other), text);
    const model = `${run}/experts/${expertFolder(best, 1)}`;
    const alone = await generate({ gpu, model, prompt: PROMPT, maxNewTokens: 30, seed: 3 });
    assertEquals([alone.route, alone.expert, alone.experts], [null, null, null]);
    assertEquals(await textOf(alone), text);
  }));

Deno.test("generate() routes by as many tokens as the run's partition, whatever its routers were trained with", () =>
  inServingRun(3, async (run) => {
    const { configuration } = (await readRunConfiguration(run))!;
    await writeRunConfiguration(run, { ...configuration, prefix: 3 });
    const { route } = await generate({ gpu, run, prompt: PROMPT, maxNewTokens: 1 });
    assertEquals(route?.prefixTokens, 3);
  }));

Deno.test("generate() gives the same text for the same seed, with and without the cache, and another for another", () =>
  inServingRun(3, async (run) => {
    const text = async (options: Partial<GenerateOptions>) =>
      await textOf(await generate({ gpu, run, prompt: PROMPT, maxNewTokens: 25, ...options }));
    const first = await text({ seed: 1 });
    assertEquals(await text({ seed: 1 }), first);
    assertEquals(await text({ seed: 1, cache: false }), first);
    assertNotEquals(await text({ seed: 2 }), first);
    const greedy = await text({ seed: 1, temperature: 0 });
    assertEquals(await text({ seed: 2, temperature: 0 }), greedy);
    assertEquals(await text({ seed: 2, topK: 1 }), greedy);
  }));

Deno.test("generate() stops before a stop text, and at the context unless the window slides", () =>
  inServingRun(3, async (run) => {
    const options = { gpu, run, prompt: PROMPT, maxNewTokens: 60, seed: 5 };
    const full = await generate(options);
    const text = await textOf(full);
    const room = EXPERT.context + 1 - full.promptTokens.length;
    assertEquals([full.finish, full.tokens.length, full.context], [
      "context",
      room,
      EXPERT.context,
    ]);
    const slid = await generate({ ...options, window: true });
    assert((await textOf(slid)).startsWith(text.replace(/\uFFFD+$/, "")));
    assertEquals([slid.finish, slid.tokens.length], ["length", 60]);
    const stop = text.slice(9, 12);
    const stopped = await generate({ ...options, stop: ["never in it", stop] });
    assertEquals(await textOf(stopped), text.slice(0, text.indexOf(stop)));
    assertEquals(stopped.finish, "stop");
    const never = [`${[...text].at(-1)} and no more`]; // its beginning is held back until the end
    assertEquals(await textOf(await generate({ ...options, stop: never })), text);
  }));

/** Counts the arenas of a device that hold memory, now and at most. */
function metered(gpu: Gpu) {
  const open = new Map<ReturnType<Gpu["arena"]>, () => number>();
  let most = 0;
  const metered: Gpu = {
    ...gpu,
    arena() {
      const arena = gpu.arena();
      const own = Object.assign(Object.create(arena), {
        destroy() {
          open.delete(own);
          arena.destroy();
        },
      });
      open.set(own, () => arena.bytes);
      most = Math.max(most, open.size);
      return own;
    },
  };
  return {
    gpu: metered,
    held: () => open.values().reduce((sum, bytes) => sum + bytes(), 0),
    atOnce: () => most,
  };
}

Deno.test("generate() holds one expert, not E, and frees it at the end, however it ends", async () => {
  const held: number[] = [];
  for (const experts of [2, 6]) {
    await inServingRun(experts, async (run) => {
      const meter = metered(gpu);
      const open = () => generate({ gpu: meter.gpu, run, prompt: PROMPT, maxNewTokens: 4 });
      const generation = await open();
      assertEquals(meter.atOnce(), 1); // the routers were freed before the expert came
      held.push(meter.held());
      await textOf(generation);
      assertEquals(meter.held(), 0);
      for await (const _ of await open()) break;
      assertEquals(meter.held(), 0);
      (await open()).close();
      assertEquals(meter.held(), 0);
    });
  }
  assert(held[0] > 0);
  assertEquals(held[0], held[1]);
});

Deno.test("generate() reads the folder of one expert alone: others may be damaged or away", () =>
  inServingRun(4, async (run) => {
    const options = { gpu, run, prompt: PROMPT, maxNewTokens: 10 };
    const whole = await generate(options);
    const text = await textOf(whole);
    const [damaged, away, changed] = [0, 1, 2, 3].filter((i) => i !== whole.expert).map((i) =>
      `${run}/experts/${expertFolder(i, 1)}`
    );
    await Deno.writeTextFile(`${damaged}/model.safetensors`, "no tensors");
    await Deno.remove(away, { recursive: true });
    await Deno.writeTextFile(`${changed}/config.json`, "{");
    assertEquals(await textOf(await generate(options)), text);

    for (const other of [damaged, away, changed]) {
      const expert = Number(other.slice(-2));
      assert(
        /safetensors|must be there|JSON/.test((await failure({ ...options, expert })).message),
      );
    }
  }));

Deno.test("generate() needs no config.json, and no routers for an expert that is named", () =>
  inServingRun(3, async (run) => {
    const options = { gpu, run, prompt: PROMPT, maxNewTokens: 5 };
    const whole = await generate(options);
    const text = await textOf(whole);
    await Deno.rename(`${run}/config.json`, `${run}/kept.json`);
    assertEquals(await textOf(await generate(options)), text);
    await Deno.rename(`${run}/kept.json`, `${run}/config.json`);
    await Deno.remove(`${run}/partitioner`, { recursive: true });
    assertEquals(await textOf(await generate({ ...options, expert: whole.expert! })), text);
    assertEquals(
      (await failure(options)).message,
      `Cannot generate as "${run}/partitioner" must be there: it is not`,
    );
  }));

Deno.test("generate() reports what is wrong, with both values", () =>
  inFolder(async (folder) => {
    const run = `${folder}/run`;
    await servingRun(run);
    const says = async (wrong: Partial<GenerateOptions>, ...texts: string[]) => {
      const error = await failure({ run, prompt: PROMPT, ...wrong });
      assert(error instanceof InputError && /^Cannot [^\n]+$/.test(error.message), `${error}`);
      for (const text of texts) assert(error.message.includes(text), error.message);
    };
    await says({ prompt: "" }, "it must have a token: it has none");
    await says(
      { prompt: "x".repeat(EXPERT.context + 1) },
      "of 64 tokens: it has 65",
      "let the window slide",
    );
    await says({ expert: 3 }, "one of 0 to 2", "it is 3");
    await says(
      { run: `${folder}/none` },
      `"${folder}/none/tokenizer.json" must be there: it is not`,
    );

    const expert = `${run}/experts/expert-01`;
    const only = { expert: 1 };
    const weights = await Deno.readFile(`${expert}/model.safetensors`);
    await Deno.writeFile(`${expert}/model.safetensors`, weights.subarray(0, -5));
    await says(only, "whole safetensors file");
    await Deno.remove(`${expert}/model.safetensors`);
    await says(only, `"${expert}/model.safetensors" must be there: it is not`);
    const notes = { tokenizer: tokenizer.sha256, eos: 0 };
    const save = (
      config: typeof EXPERT,
      own: { tokenizer?: string },
      weights = anyWeights(config, 1),
    ) => saveCheckpoint(expert, config, weights, own);
    await save({ ...EXPERT, hidden: 16 }, notes);
    await says(only, "hidden is 16", "is 12");
    await save(EXPERT, { ...notes, tokenizer: "ab12" });
    await says(only, "ab12", tokenizer.sha256.slice(0, 12) + "…; copy its own tokenizer there");
    await save({ ...EXPERT, vocabulary: 269 }, {});
    await says(only, "it has 269, the tokenizer has 270");
    for (
      const [value, text] of [[NaN, "weights must be numbers"], [
        3e38,
        "weights are damaged",
      ]] as const
    ) {
      const damaged = anyWeights(EXPERT, 1);
      damaged.get("gpt_neox.final_layer_norm.weight")!.fill(value);
      await save(EXPERT, notes, damaged);
      await says(only, text);
    }
    await Deno.remove(`${run}/partitioner/router-02`, { recursive: true });
    await says({}, "the run's 3 experts: it knows 2; copy the run's own");
    await saveCheckpoint(`${run}/partitioner/router-02`, ROUTER, anyWeights(ROUTER, 2), {
      ...notes,
      prefix: 5,
    });
    await says({}, "one shape and tokenizer");
  }));
