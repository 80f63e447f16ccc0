import { assert, assertEquals } from "@std/assert";
import {
  CHOICE_VALUES,
  packChoices,
  sampleTokens,
  type TokenChoice,
} from "../../../kernels/sample_token/sample_token.ts";
import { uniform } from "../../../pipeline/random.ts";
import { sampleToken } from "../../../pipeline/serving/sampling.ts";
import { edges, randomShapes } from "../random_shapes.ts";
import { gpu, integers, random } from "../support.ts";
import { padded } from "../../../kernels/device/matrix.ts";

/** How far a sum of weights in f32 may be from that in f64, as a share of the whole. */
const SUMS = 2e-5;

const SHAPES = [1, 2, 255, 256, 257, 1003].map((vocabulary) => ({ rows: 60, vocabulary }));

const RANDOM_SHAPES = randomShapes("sample_token", ({ upTo }) => ({
  rows: 20 + upTo(100),
  vocabulary: upTo(4000),
}));

/** Draws a choice for each row: some rows have none, some only a part of the vocabulary. */
function drawChoices(rows: number, vocabulary: number): (TokenChoice | undefined)[] {
  return Array.from({ length: rows }, (_, row) => {
    const draw = (what: string) => uniform(vocabulary, what, row);
    const among = (what: string, values: readonly number[]) =>
      values[Math.floor(draw(what) * values.length)];
    if (row % 10 === 7) return undefined;
    return {
      temperature: among("temperature", [0, 0.3, 1, 1, 4]),
      topK: among("top-k", [0, 0, 1, 7, 100]),
      topP: among("top-p", [1, 1, 0.95, 0.5]),
      draw: draw("draw"),
      vocabulary: among("vocabulary", [vocabulary, vocabulary, Math.ceil(vocabulary / 3)]),
    };
  });
}

for (const { rows, vocabulary } of [...edges(SHAPES), ...RANDOM_SHAPES]) {
  Deno.test(`sampleTokens() takes the token of the f64 sampler, or one next to it within rounding, ${rows} rows of ${vocabulary}`, async () => {
    const stride = padded(vocabulary);
    const first = 3;
    const values = random((first + rows) * stride, `logits ${vocabulary}`, 3);
    const choices = drawChoices(rows, vocabulary);
    const around = new Array(first).fill(undefined);
    const untouched = 4_000_000_000;
    const blank = new Uint32Array(first + rows).fill(untouched);
    const logits = integers("logits", new Uint32Array(values.buffer));
    const tokens = integers("tokens", blank.slice(0, rows));
    const sampled = integers("sampled", blank);
    const packed = integers("choices", packChoices([...around, ...choices]));
    assertEquals(packed.bytes, Math.ceil(4 * CHOICE_VALUES * (first + rows) / 16) * 16);
    gpu.submit([
      sampleTokens(gpu, { choices: packed, logits, stride, tokens, sampled, first, rows }),
    ]);
    const [forPass, forHost] = (await gpu.read([
      { buffer: tokens, bytes: 4 * rows },
      { buffer: sampled, bytes: 4 * (first + rows) },
    ])).map((bytes) => [...new Uint32Array(bytes)]);
    assertEquals(forHost, [...blank.slice(0, first), ...forPass]);
    let exact = 0;
    choices.forEach((choice, row) => {
      if (!choice) return assertEquals(forPass[row], untouched);
      const start = (first + row) * stride;
      const own = values.subarray(start, start + choice.vocabulary);
      const [middle, ...neighbours] = [0, -SUMS, SUMS].map((shift) => {
        const draw = Math.min(1 - SUMS, Math.max(0, choice.draw + shift));
        return sampleToken(own, choice, draw);
      });
      const what = `row ${row}: ${forPass[row]}, not ${middle}, by ${JSON.stringify(choice)}`;
      assert([middle, ...neighbours].includes(forPass[row]), what);
      exact += Number(forPass[row] === middle);
    });
    assert(exact >= 0.98 * choices.filter(Boolean).length, `${exact} of ${rows} are the same`);
  });
}

Deno.test("sampleTokens() stays below the vocabulary where logits are no numbers", async () => {
  const choice = { temperature: 1, topK: 0, topP: 1, draw: 0.5, vocabulary: 5 };
  const logits = integers(
    "logits",
    new Uint32Array(Float32Array.of(1, NaN, 2, 3, 4, 0, 0, 0).buffer),
  );
  const tokens = integers("tokens", Uint32Array.of(9));
  const sampled = integers("sampled", Uint32Array.of(9));
  const rows = 1;
  const choices = [choice, { ...choice, topK: 2 }, { ...choice, temperature: 0 }];
  for (const one of choices) {
    const packed = integers("choices", packChoices([one]));
    gpu.submit([
      sampleTokens(gpu, { choices: packed, logits, stride: 8, tokens, sampled, first: 0, rows }),
    ]);
    const [bytes] = await gpu.read([{ buffer: tokens, bytes: 4 }]);
    assert(new Uint32Array(bytes)[0] < 5);
  }
});
