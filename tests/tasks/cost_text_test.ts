import { assert, assertEquals, assertMatch } from "@std/assert";
import { costOf, PLAIN_DEVICE } from "../../pipeline/cost/cost.ts";
import { paperTable } from "../../pipeline/cost/paper.ts";
import { resolveConfiguration } from "../../pipeline/settings/resolution.ts";
import { costText, tableText } from "../../tasks/cost_text.ts";

const DEVICE = { flops: 1e12, utilisation: 0.5 };
const textOf = (flags: object, more: object = {}) =>
  costText(costOf(resolveConfiguration({ preset: "small", flags }), { ...DEVICE, ...more }));

Deno.test("tableText() puts every printed figure of the paper's Table 3 beside the counted one", () => {
  const rows = paperTable();
  const lines = tableText(rows).split("\n").slice(3);
  assertEquals(lines.length, rows.length);
  rows.forEach(({ model, experts, printed, counted }, i) => {
    assert(lines[i].startsWith(`${model}, E=${experts} `), lines[i]);
    const pairs = [...lines[i].matchAll(/([\d.]+) \/ ([\d.]+)/g)].map(([, a, b]) => [Number(a), Number(b)]);
    assertEquals(pairs.length, 4);
    assertEquals(pairs[0], [printed.training, Number(counted.training.toFixed(2))]);
  });
});

Deno.test("costText() says of every width what it reaches where it is narrow, the larger dense model's too", () => {
  const widths = (flops: number, partitioner = "em") => {
    const text = textOf({ routerHidden: 16, expertHidden: 24, denseHidden: 48, partitioner }, { flops });
    return [...text.matchAll(/^a model of width (\d+) reaches/mg)].map(([, width]) => Number(width));
  };
  assertEquals([widths(1e12), widths(1e12, "source"), widths(1e13)], [[16, 24, 48], [24, 48], []]);
});

Deno.test("costText() tells nothing of routers where text is split without models, and guesses of routers elsewhere", () => {
  const corpus = { train: 1000, test: 100 };
  const [em, source] = ["em", "source"].map((partitioner) => textOf({ partitioner }, { corpus }));
  for (const told of [/router/, /scores of the/, /all scored once/]) {
    assertMatch(em, told);
    assert(!told.test(source), source);
  }
  const { memory: { inference, routing } } = costOf(resolveConfiguration({ preset: "small" }), PLAIN_DEVICE);
  const together = `${((inference.total + routing.total) / 2 ** 20).toPrecision(3)} MiB`;
  assertMatch(em, new RegExp(`^answering, routers and one expert .* ${together}$`, "m"));
  assert(!/NaN|Infinity|∞/.test(source), source);
  assertMatch(textOf({ routers: "other" }, { routers: {} }), /^routers of "other": .* is not counted$/m);
  assertMatch(textOf({ routers: "away" }), /^routers of "away": .* they count as models of/m);
});
