import { assert, assertEquals, assertMatch } from "@std/assert";
import { paperTable, PRINTED_COMMUNICATION } from "../../pipeline/cost/paper.ts";
import { costOf, PLAIN_DEVICE } from "../../pipeline/cost/cost.ts";
import { resolveConfiguration } from "../../pipeline/settings/resolution.ts";
import { communicationText, costText, tableText } from "../../tasks/cost_text.ts";

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

Deno.test("communicationText() tells bytes in powers of ten, printed beside counted", () => {
  const counted = { ...PRINTED_COMMUNICATION, exchanges: 1234 };
  const text = communicationText({ printed: PRINTED_COMMUNICATION, counted });
  assertMatch(text, /^exchanges of scores +\S+ +1,234$/m);
  assertMatch(text, /^data-parallel dense, per node and step +[\d.,]+ [kMG]B +[\d.,]+ [kMG]B$/m);
});

Deno.test("costText() says that the training of routers from elsewhere is not counted, and where their shape is a guess", () => {
  const text = (routers: string, known: object = {}) =>
    costText(
      costOf(resolveConfiguration({ flags: { routers } }), { flops: 1e12, utilisation: 0.5, ...known }),
    );
  assertMatch(text("other", { routers: {} }), /^routers of "other": their training is not counted$/m);
  assertMatch(
    text("away"),
    /^routers of "away": .* not counted; they are not there, so they count as models of/m,
  );
  assert(!/their training/.test(text("")));
});

Deno.test("costText() tells a ratio of bytes that is small, too", () => {
  const times = (experts: number) => {
    const cost = costOf(resolveConfiguration({ flags: { experts } }), { flops: 1e12, utilisation: 0.5 });
    return /(\S+) times the mixture's/.exec(costText(cost))?.[1];
  };
  assertMatch(times(65_535)!, /^0\.\d*[1-9]/);
  assertMatch(times(4)!, /^[\d,]{2,}$/);
});

Deno.test("costText() says of every width what it reaches where it is narrow, the larger dense model's too", () => {
  const widths = (flops: number, partitioner = "em") => {
    const flags = { routerHidden: 16, expertHidden: 24, denseHidden: 48, partitioner };
    const text = costText(costOf(resolveConfiguration({ flags }), { flops, utilisation: 0.5 }));
    return [...text.matchAll(/^a model of width (\d+) reaches \d+% of the FLOP\/s of one of width 64$/mg)]
      .map(([, width]) => Number(width));
  };
  assertEquals([widths(1e12), widths(1e12, "source"), widths(1e13)], [[16, 24, 48], [24, 48], []]);
});

Deno.test("costText() tells nothing of routers where text is split without models", () => {
  const text = (partitioner: string) =>
    costText(
      costOf(resolveConfiguration({ preset: "small", flags: { partitioner } }), {
        ...{ flops: 1e12, utilisation: 0.5, corpus: { train: 1000, test: 100 } },
      }),
    );
  const [em, source] = [text("em"), text("source")];
  assertMatch(
    em,
    /^mixture, scores of the rounds .* 2 bytes a score, as the paper counts; files here have 4$/m,
  );
  for (const told of [/router/, /scores of the/, /all scored once/]) {
    assertMatch(em, told);
    assert(!told.test(source), source);
  }
  const { memory: { inference, routing } } = costOf(resolveConfiguration({ preset: "small" }), PLAIN_DEVICE);
  const together = `${((inference.total + routing.total) / 2 ** 20).toPrecision(3)} MiB`;
  assertMatch(em, new RegExp(`^answering, routers and one expert .* ${together}$`, "m"));
  assertMatch(source, /^a prompt, mixture .*one expert; what chooses it is not counted$/m);
  assertMatch(source, /^all experts /m);
  assert(!/NaN|Infinity|∞/.test(source), source);
});
