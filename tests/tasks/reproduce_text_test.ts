import { assertEquals, assertThrows } from "@std/assert";
import { InputError } from "../../kernels/mod.ts";
import { checkStudyFlags, claimsText, publishedText, studiesPlanText } from "../../tasks/reproduce_text.ts";

Deno.test("claimsText() puts yes, no or nothing before a claim, and says where more is", () => {
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

Deno.test("studiesPlanText() gives the time of every piece that is left, of every study, and of all", () => {
  const text = studiesPlanText({
    pieces: [
      { run: "em-2-experts-seed-0", piece: "partition", seconds: 100, done: true },
      { run: "em-2-experts-seed-0", piece: "expert-00", seconds: 3600, done: false },
    ],
    seconds: 3600,
    studies: [{ study: "experts", pieces: 2, seconds: 7200, shortest: 3600, longest: 1800 }],
    assumptions: ["one device"],
  });
  assertEquals(text.split("\n"), [
    "run                  piece      time",
    "em-2-experts-seed-0  partition  done",
    "em-2-experts-seed-0  expert-00  1 h",
    "",
    "study    pieces  one device  a device per piece  longest piece",
    "experts       2         2 h                 1 h  30 min",
    "",
    "in all         1 h of one device, what studies share counted once",
    "",
    "assumed: one device",
  ]);
});

Deno.test("publishedText() counts what holds, study by study, and names the page", () => {
  const claim = { claim: "It wins", paper: "it does", here: "3% lower" };
  const claims = [true, true, false].map((holds) => ({ ...claim, holds }));
  const published = [{
    title: "Routers",
    study: "routers",
    claims,
    table: "a/reproduction.md",
    pictures: [],
  }];
  assertEquals(publishedText({ page: "README.md", published }).split("\n"), [
    "from     no  yes  neither",
    "Routers   1    2  0",
    "",
    "wrote   README.md",
  ]);
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
