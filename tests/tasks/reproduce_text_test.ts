import { assertEquals } from "@std/assert";
import { claimsText, studiesPlanText } from "../../tasks/reproduce_text.ts";

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

Deno.test("studiesPlanText() gives the time of every piece that is left, the sum and the longest", () => {
  const text = studiesPlanText({
    pieces: [
      { run: "em-2-experts-seed-0", piece: "partition", seconds: 100, done: true },
      { run: "em-2-experts-seed-0", piece: "expert-00", seconds: 3600, done: false },
    ],
    seconds: 3600,
    assumptions: ["one device"],
  });
  assertEquals(text.split("\n"), [
    "run                  piece      time",
    "em-2-experts-seed-0  partition  done",
    "em-2-experts-seed-0  expert-00  1 h",
    "",
    "in all         1 h of one device; the longest piece 1 h",
    "",
    "assumed: one device",
  ]);
});
