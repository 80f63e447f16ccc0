import { assertEquals, assertRejects } from "@std/assert";
import type { Mixture } from "../../../../pipeline/serving/mixture.ts";
import { ApiError } from "../../../../pipeline/serving/server/errors.ts";
import { findModel, listModels } from "../../../../pipeline/serving/server/names.ts";

/** A mixture of three experts, of which 0 and 2 are trained, and one dense model; expert 2 is held. */
const MIXTURE = {
  experts: () => Promise.resolve(3),
  present: () => Promise.resolve([0, 2]),
  dense: () => Promise.resolve(["dense-steps"]),
  holds: (model) => model === 2,
} as Pick<Mixture, "experts" | "present" | "dense" | "holds"> as Mixture;
const words = () => Promise.resolve([["sea"], ["law", "court"], ["wind"]]);

Deno.test("listModels() lists what can answer, trained and served here or on another server; findModel() finds each", async () => {
  const upstreams = { addresses: new Map([[1, "http://10.0.0.1"]]), timeout: 1000 };
  const cases: [Partial<Parameters<typeof listModels>[0]>, unknown[]][] = [
    [{}, [["expert-00", false, ["sea"]], ["expert-02", true, ["wind"]]]],
    [{ serveExperts: [1, 2] }, [["expert-02", true, ["wind"]]]],
    [{ serveExperts: [0], upstreams }, [["expert-00", false, ["sea"]], ["expert-01", false, [
      "law",
      "court",
    ]]]],
  ];
  const ids = new Set<string>();
  for (const [holders, experts] of cases) {
    const listed = await listModels({ mixture: MIXTURE, words, ...holders });
    assertEquals(listed.map(({ id, loaded, words }) => [id, loaded, words]), [
      ...[["mixture", null, null], ["mixture@32", null, null], ...experts, ["dense-steps", false, null]],
    ]);
    for (const { id } of listed) ids.add(id);
  }
  const found = await Promise.all([...ids].map((id) => findModel(MIXTURE, id)));
  assertEquals(found.map(({ model, prefix }) => model ?? prefix), [undefined, 32, 0, 2, "dense-steps", 1]);
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
