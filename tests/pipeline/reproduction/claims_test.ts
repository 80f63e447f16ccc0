import { assertEquals, assertStringIncludes } from "@std/assert";
import { judgeRun } from "../../../pipeline/reproduction/claims.ts";
import type { Outcome } from "../../../pipeline/reproduction/study.ts";
import { outcome, type Reported, setupsFor } from "./support.ts";

const [SETUP] = setupsFor("segments");

/** Finds the claim of a run of four experts that has this text. */
function find(text: string, reported: Reported = {}, change: (one: Outcome) => void = () => {}) {
  const one = outcome(SETUP, reported);
  change(one);
  return judgeRun(one).find(({ claim }) => claim.includes(text))!;
}

Deno.test("judgeRun() reports yes where a run bears a claim out, and no where it does not", () => {
  const [batch, steps, own] = [
    "beats dense, 4× batch",
    "beats dense, 4× steps",
    "every expert beats",
  ];
  assertEquals(find(batch).here, "40.00 → 30.00: 25.0% lower [24.0%, 26.0%]");
  assertStringIncludes(find(batch).paper, "11.78 → 10.78: 8.5% lower");
  assertEquals(find(own).here, "all 4, the least by 25.0%");
  assertStringIncludes(find("Loads are").here, "equal in sequences; the largest expert has ");
  for (const text of [batch, own, "substantial share", "Loads are"]) {
    assertEquals(find(text).holds, true, text);
  }
  const worse = find(batch, { mixture: 40.2, gains: [[-0.6, -1.6, 0.4]] });
  assertEquals([worse.here, worse.holds], ["40.00 → 40.20: 0.6% higher [-0.4%, 1.6%]", false]);
  const segments: Reported = {
    segments: [[42, 40, 1, 0.25], [30, 40, 1, 0.25], [30, 40, 1, 0.5], [30, 40, 1, 0]],
  };
  const { here, holds } = find(own, segments, (one) => {
    one.evaluation.segments[3].perplexity = { mixture: null };
    one.setup = { ...SETUP, label: "" };
    one.partition.experts[3].sources = {};
  });
  assertEquals(
    here,
    "expert 0 (trained on kind 0 90%, other 10%) is 5.0% behind; expert 3 gets no text",
  );
  assertEquals(holds, false);
  assertEquals(find(steps), undefined); // of which nothing is reported
  const exchanges = find("Training hardly", {}, (one) => {
    Object.assign(one.cost.communication, {
      bytesPerNode: 2e6,
      exchanges: 12,
      bytesPerExchange: 99.6e6,
    });
  });
  assertStringIncludes(
    exchanges.here,
    "12 exchanges of 100 MB per router, 2.0 MB in all; data-parallel ",
  );
});

Deno.test("judgeRun() asks whether an eighth of the prefix is enough, or 4 tokens", () => {
  const short = (...perplexities: [number, number][]) =>
    find("short prefix", { prefixes: Object.fromEntries(perplexities) });
  assertEquals(short([8, 35], [64, 30]).holds, true);
  const long = short([8, 39.5], [64, 30]);
  assertEquals(long.holds, false); // 64 tokens do, 8 do not beyond the interval
  assertStringIncludes(long.here, "64 tokens, for routers trained with 64");
  const brief = find(
    "short prefix",
    { prefixes: { 4: 35, 16: 30 } },
    ({ evaluation }) => evaluation.prefix = 16,
  );
  assertEquals(brief.holds, true);
  // Where a label routes, all prefixes lead to the same.
  assertEquals(short([8, 30], [64, 30]), undefined);
});
