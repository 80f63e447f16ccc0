/** Runs a study as a user does, as small as it can be. */
import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { hashes, inFolder, sendSignal, SMALL, smallCorpus, task, taskCommand } from "./tasks/support.ts";

const BRIEF = [
  ...["--expert-hidden", "8", "--expert-layers", "1", "--expert-heads", "2", "--expert-batch", "4"],
  ...["--expert-steps", "16", "--expert-warmup", "4", "--validate-every", "8", "--checkpoint-every", "0"],
];

Deno.test("a study makes what its runs share once, goes on after a kill to the same bytes, and says what it found", () =>
  inFolder(async (folder) => {
    await Deno.writeTextFile(`${folder}/docs.jsonl`, smallCorpus());
    const args = (root: string, ...more: string[]) => [
      ...["--run", `${folder}/${root}`, "--input", `${folder}/docs.jsonl`, ...SMALL, ...BRIEF],
      ...["--study", "assignment", ...more],
    ];
    const child = taskCommand("reproduce", args("a"), { stdout: "null" }).spawn();
    let told = "";
    for await (const text of child.stderr.pipeThrough(new TextDecoderStream())) {
      told += text;
      if (/em-optimal-seed-0 started/.test(text)) sendSignal(child, "SIGKILL");
    }
    assertEquals((await child.status).signal, "SIGKILL", told);
    const planned = await task("reproduce", args("a", "--dry-run", "--json"));
    const { pieces } = JSON.parse(planned.out);
    const done = pieces.filter(({ done }: { done: boolean }) => done).map(({ piece }: { piece: string }) =>
      piece
    );
    assert(done.includes("partition") && done.includes("dense-steps"), done.join());
    assert(done.length < pieces.length);

    const { code, err, out } = await task("reproduce", args("a"));
    assertEquals(code, 0, err);
    assert(/em-2-experts-seed-0 started[\s\S]*train-dense-steps up to date/.test(err), err);
    assertStringIncludes(out, "Parts at the least cost make a better mixture than greedy ones");
    assertEquals((await task("reproduce", args("b"))).code, 0);
    const [a, b] = [await hashes(`${folder}/a`), await hashes(`${folder}/b`)];
    const bytes = (all: Record<string, string>) =>
      Object.entries(all).filter(([path]) => !path.endsWith("timing.jsonl")).sort(([one], [two]) =>
        one < two ? -1 : 1
      );
    assertEquals(bytes(b), bytes(a));
    // The routers are the same, and so is what they learned from; parts and experts are not.
    const same = Object.keys(a).filter((path) => path.startsWith("em-2-experts-seed-0/"))
      .filter((path) => a[path] === a[path.replace("em-2-experts", "em-argmax")]);
    assert(
      same.some((path) => path.includes("/partitioner/")) && same.some((path) => path.includes("/scores/")),
    );
    assert(!same.some((path) => path.includes("/experts/expert-00/model")));

    const studies = JSON.parse(await Deno.readTextFile(`${folder}/a/studies.json`)).studies;
    const { table } = studies.find(({ name }: { name: string }) => name === "assignment");
    const evaluation = JSON.parse(await Deno.readTextFile(`${folder}/a/em-optimal-seed-0/evaluation.json`));
    assertStringIncludes(table.rows[1][1], evaluation.scores.mixture.perplexity.toFixed(2));
    const markdown = await Deno.readTextFile(`${folder}/a/reproduction.md`);
    assertStringIncludes(markdown, table.rows[1][1]);
    assertStringIncludes(
      await Deno.readTextFile(`${folder}/a/report.html`),
      "Greedy, optimal and unbalanced parts",
    );
    assert((await Deno.stat(`${folder}/a/plots/study-assignment.svg`)).size > 0);

    for (
      const [more, text] of [
        [args("a", "--study", "none"), "must be one of"],
        [
          ["--study", "experts", "--run", `${folder}/a/em-argmax-seed-0`],
          "must be a folder of runs: it is a run itself",
        ],
      ] as const
    ) {
      const refused = await task("reproduce", [...more]);
      assertEquals(refused.code, 2, refused.err);
      assertStringIncludes(refused.err, text);
    }
  }));
