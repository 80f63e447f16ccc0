import { assertEquals } from "@std/assert";
import { FORMS } from "../../../../pipeline/text/corpora/forms.ts";

const CASES: [string, string, string][] = [
  [
    "spaces",
    "The/at jury/nn ,/, it/pps said/vbd (/( on/in Friday/nr )/) ,/, acted/vbd ./.",
    "The jury, it said (on Friday), acted.",
  ],
  [
    "quotes",
    "``/`` Yes/rb ''/'' ,/, he/pps said/vbd ./. ``/`` No/rb ''/'' ./.",
    `"Yes," he said. "No."`,
  ],
  ["questions", "``/`` Who/wps ''/'' ?/. ?/.\nAnd/cc why/wrb ?/. ?/.", `"Who?" And why?`],
  [
    "single quotes",
    "more/ap '/' pro/jj '/' letters/nns than/in '/' con/jj '/' ./.",
    "more 'pro' letters than 'con.'",
  ],
  ["doubled marks", "widen/vb ;/. ;/.\nnew/jj men/nns emerge/vb !/. !/.", "widen; new men emerge!"],
  ["dashes", "one/cd --/-- two/cd", "one -- two"],
  ["slashes", "and/or/cc 1/2/cd Input/Output/jj-tl mg/l/nn", "and/or 1/2 Input/Output mg/l"],
  ["contractions", "I'll/ppss+md go/vb ,/, George's/np$ car/nn", "I'll go, George's car"],
  ["codes", "a/at **zg/nn b/nn", "a b"],
  ["paragraphs", "\n\n\tOne/cd ./.\nTwo/cd ./.\n\n\n\tThree/cd ./.\n", "One. Two.\n\nThree."],
  ["headings", "Ambiguity/nn-hl ./.-hl\nNothing/pn is/bez ./.", "Ambiguity.\n\nNothing is."],
  ["nothing", "\n\n", ""],
];

Deno.test("FORMS.prose restores what print has of tagged text", () => {
  for (const [what, tagged, expected] of CASES) assertEquals(FORMS.prose(tagged), [expected], what);
});
