import { assertEquals, assertRejects } from "@std/assert";
import type { Mixture } from "../../../../pipeline/serving/mixture.ts";
import { ApiError } from "../../../../pipeline/serving/server/errors.ts";
import { findModel, listModels, nameOf } from "../../../../pipeline/serving/server/names.ts";

/** A mixture of three experts and one dense model, of which expert 1 is held. */
const MIXTURE = {
  experts: () => Promise.resolve(3),
  present: () => Promise.resolve([0, 1, 2]),
  dense: () => Promise.resolve(["dense-steps"]),
  holds: (model) => model === 1,
} as Pick<Mixture, "experts" | "present" | "dense" | "holds"> as Mixture;

Deno.test("findModel() finds by its name every model that is listed, and what the mixture routes by", async () => {
  const listed = await listModels(MIXTURE, [["sea"], ["law", "court"], []]);
  assertEquals(listed.map(({ id, loaded, words }) => [id, loaded, words]), [
    ["mixture", null, null],
    ["mixture@32", null, null],
    ["expert-00", false, ["sea"]],
    ["expert-01", true, ["law", "court"]],
    ["expert-02", false, []],
    ["dense-steps", false, null],
  ]);
  const found = await Promise.all(listed.map(({ id }) => findModel(MIXTURE, id)));
  assertEquals(found.map((named) => named.model ?? named.prefix), [undefined, 32, 0, 1, 2, "dense-steps"]);
  for (const { model } of found) {
    if (model !== undefined) assertEquals((await findModel(MIXTURE, nameOf(model))).model, model);
  }
});

Deno.test("listModels() lists the experts that can answer: trained and served here, or on another server", async () => {
  const mixture = { ...MIXTURE, present: () => Promise.resolve([0, 2]) };
  const words = [["sea"], ["law"], ["wind"]];
  const upstreams = { addresses: new Map([[1, "http://10.0.0.1"]]), timeout: 1000 };
  const cases: [Parameters<typeof listModels>[2], string[]][] = [
    [{}, ["sea", "wind"]],
    [{ serveExperts: [1, 2] }, ["wind"]],
    [{ serveExperts: [2], upstreams }, ["law", "wind"]],
  ];
  for (const [holders, expected] of cases) {
    const listed = await listModels(mixture, words, holders);
    assertEquals(listed.flatMap(({ words }) => words ?? []), expected);
  }
});

Deno.test("findModel() says 404 to a name that stands for nothing", async () => {
  for (
    const name of [
      "",
      "expert-03",
      "expert-",
      "expert-1x",
      "dense",
      "mixture@0",
      "mixture@",
      "../dense-steps",
    ]
  ) {
    const error = await assertRejects(() => findModel(MIXTURE, name), ApiError);
    assertEquals([error.status, error.code], [404, "model_not_found"], name);
  }
});
