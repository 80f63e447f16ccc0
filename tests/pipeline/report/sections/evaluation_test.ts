import { assertEquals, assertFalse, assertStringIncludes } from "@std/assert";
import { readRun } from "../../../../pipeline/report/read.ts";
import { segmentPlot } from "../../../../pipeline/report/plots_evaluation.ts";
import { evaluationSection } from "../../../../pipeline/report/sections/evaluation.ts";
import { markup } from "../../../../pipeline/report/html.ts";
import { inFolder } from "../../../tasks/support.ts";
import { evaluationOf, SHAPE, writeRun } from "../support.ts";

Deno.test("evaluationSection() says where documents are too few for the intervals that it shows", () =>
  inFolder(async (run) => {
    await writeRun(run);
    const record = await readRun(run);
    const textOf = (documents: number) => {
      const evaluation = { ...evaluationOf(SHAPE), documents };
      const { lead } = evaluationSection({ ...record, evaluation }, () => markup``);
      return lead.map(({ text }) => text).join("");
    };
    assertStringIncludes(
      textOf(1),
      "of the documents: 1 document is too few for intervals of 95%: these are narrower than they should be.</p>",
    );
    assertStringIncludes(textOf(10), "of the documents.</p>");
    assertFalse(textOf(10).includes("too few"));
  }));

Deno.test("segmentPlot() promises shares below the experts where there is room for them alone", () => {
  const told = (experts: number, width: number) => {
    const { about, spec } = segmentPlot(evaluationWith(experts));
    const { encoding } = spec(width) as { encoding: { x: { axis: { title: string; labelExpr: string } } } };
    const { title, labelExpr } = encoding.x.axis;
    return [/Below each expert/.test(about), / share /.test(title), labelExpr.endsWith("'|')")];
  };
  const evaluationWith = (experts: number) => {
    const evaluation = evaluationOf(SHAPE);
    const segments = Array.from({ length: experts }, (_, expert) => ({ ...evaluation.segments[0], expert }));
    return { ...evaluation, experts, segments };
  };
  assertEquals(told(4, 720), [true, true, true]);
  assertEquals(told(16, 348), [true, false, false]); // the wide page has them
  assertEquals(told(64, 720), [false, false, false]);
});
