import { assertEquals, assertThrows } from "@std/assert";
import { InputError } from "../../kernels/mod.ts";
import { checkStudyFlags, claimsText, publishedText } from "../../tasks/reproduce_text.ts";

Deno.test("claimsText() puts yes, no or nothing before a claim, and reports where more is", () => {
  const claim = { claim: "It wins", paper: "it does", here: "3% lower" };
  const text = claimsText("runs/a", [{ ...claim, holds: true }, { ...claim, holds: false }, {
    ...claim,
    holds: null,
  }]);
  assertEquals(text.split("\n"), [
    ...["yes It wins", "      paper: it does", "      here:  3% lower"],
    ...["no  It wins", "      paper: it does", "      here:  3% lower"],
    ...["    It wins", "      paper: it does", "      here:  3% lower"],
    ...["", "table   runs/a/reproduction.md", "report  runs/a/report.html"],
  ]);
});

Deno.test("publishedText() counts what holds, study by study, and names the page", () => {
  const claim = { claim: "It wins", paper: "it does", here: "3% lower" };
  const claims = [true, true, false].map((holds) => ({ ...claim, holds }));
  const published = [{
    title: "Routers",
    study: "routers",
    mark: "",
    claims,
    table: "a/reproduction.md",
    pictures: [],
  }];
  const page = { page: "pipeline/SCIENCE.md", written: true, published };
  assertEquals(publishedText(page).split("\n"), [
    "from     no  yes  neither",
    "Routers   1    2  0",
    "",
    "wrote   pipeline/SCIENCE.md",
  ]);
  assertEquals(
    publishedText({ ...page, written: false }).split("\n").at(-1),
    "pipeline/SCIENCE.md said this before: it stays as it is",
  );
});

Deno.test("checkStudyFlags() refuses flags of studies without one, and those that no study goes by", () => {
  const refused = (flag: string, isStudy: boolean, wrong: string) =>
    assertThrows(() => checkStudyFlags(new Set([flag]), isStudy), InputError, wrong);
  refused("seeds", false, "Cannot use seeds as it must go with a study");
  refused("force", true, "Cannot use force with a study");
  refused("seed", true, "Cannot use seed with a study as its runs must have seeds of their own, from 0 on");
  checkStudyFlags(new Set(["seed", "force"]), false);
  checkStudyFlags(new Set(["seeds", "from", "only", "dryRun"]), true);
});
