/** Runs a reproduction as a user does, as small as it can be. */
import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { reproduce } from "../pipeline/reproduction/mod.ts";
import {
  hashes,
  inFolder,
  ok,
  sendSignal,
  SMALL,
  smallCorpus,
  taskCommand,
  taskHere,
} from "./tasks/support.ts";

const BRIEF = [
  ...["--expert-hidden", "8", "--expert-layers", "1", "--expert-heads", "2", "--expert-batch", "4"],
  ...[
    "--expert-steps",
    "12",
    "--expert-warmup",
    "4",
    "--validate-every",
    "4",
    "--checkpoint-every",
    "5",
  ],
];

Deno.test("reproduce runs everything, stopped and run again too, and writes claims, table and report", () =>
  inFolder(async (folder) => {
    await Deno.writeTextFile(`${folder}/docs.jsonl`, smallCorpus());
    const args = (
      run: string,
    ) => ["--run", `${folder}/${run}`, "--input", `${folder}/docs.jsonl`, ...SMALL, ...BRIEF];
    const { out } = await ok(taskHere("reproduce", [...args("a"), "--json"]));
    const { claims, search, models, crossing } = JSON.parse(out);
    assertEquals(Object.keys(search), ["experts", "dense", "dense-steps"]);
    for (
      const { rate, trials } of Object.values(search) as {
        rate: number;
        trials: { rate: number; validationLoss: number }[];
      }[]
    ) {
      const best = trials.reduce((a, b) => a.validationLoss <= b.validationLoss ? a : b);
      assertEquals(rate, best.rate);
    }
    assertEquals([models.experts.length, models.dense.batch, models["dense-steps"].steps], [
      2,
      8,
      24,
    ]);
    assertEquals(models.dense.rate, search.dense.rate);
    assertEquals(crossing.trained, 12 * 4 * 32);
    assertEquals(claims.length, 11);
    const markdown = await Deno.readTextFile(`${folder}/a/reproduction.md`);
    for (const { claim, here } of claims) assertStringIncludes(markdown, `| ${claim} | `, here);
    assertStringIncludes(await Deno.readTextFile(`${folder}/a/report.html`), claims[0].here);

    const child = taskCommand("reproduce", args("b"), { stdout: "null", stderr: "piped" }).spawn();
    for await (const text of child.stderr.pipeThrough(new TextDecoderStream())) {
      if (/train-dense +started/.test(text)) sendSignal(child, "SIGKILL");
    }
    assertEquals((await child.status).signal, "SIGKILL");
    const again = await ok(taskHere("reproduce", args("b")));
    assert(/split +up to date/.test(again.err), again.err);
    // What names the folder or holds times is another one.
    const isOwn = (path: string) =>
      /^(report\.html|config\.json|locks|partial|scratch)|^report\/|timing\.jsonl|manifest\.json|files\.json/
        .test(path);
    const [a, b] = (await Promise.all(["a", "b"].map((run) => hashes(`${folder}/${run}`))))
      .map((all) => Object.entries(all).filter(([path]) => !isOwn(path)));
    assertEquals(b, a);
    assertEquals(await devicesOpened(() => reproduce({ run: `${folder}/a` })), 1); // the report's too
  }));

/** Counts the devices that some work opens in this process. */
async function devicesOpened(work: () => Promise<unknown>): Promise<number> {
  const { requestDevice } = GPUAdapter.prototype;
  let opened = 0;
  GPUAdapter.prototype.requestDevice = function (...descriptor) {
    opened++;
    return requestDevice.apply(this, descriptor);
  };
  try {
    await work();
  } finally {
    GPUAdapter.prototype.requestDevice = requestDevice;
  }
  return opened;
}
