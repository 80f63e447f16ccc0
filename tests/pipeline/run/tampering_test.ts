import { assert, assertEquals } from "@std/assert";
import { wordText } from "../../../kernels/errors.ts";
import { readManifest, writeManifest } from "../../../pipeline/graph/node.ts";
import { adoptExpert } from "../../../pipeline/run/adopt.ts";
import { checkForgotten } from "../../../pipeline/run/certificate.ts";
import { derive } from "../../../pipeline/run/derive.ts";
import { trainExperts } from "../../../pipeline/run/models.ts";
import { partition } from "../../../pipeline/run/partition.ts";
import { verifyRun } from "../../../pipeline/run/verify.ts";
import type { Configuration } from "../../../pipeline/settings/configuration.ts";
import { shareDevice } from "../../device.ts";
import { copyFolder, inFolder } from "../../tasks/support.ts";
import { copiesCorpus, writeCorpus } from "./copies_support.ts";

const FLAGS: Partial<Configuration> = {
  vocabularySize: 300,
  sequenceLength: 64,
  prefix: 16,
  experts: 2,
  partitioner: "random",
  blockBytes: 20_000,
  expertHidden: 8,
  expertLayers: 1,
  expertHeads: 2,
  expertBatch: 4,
  expertSteps: 2,
  expertWarmup: 1,
};
const CERTIFICATE = "forgotten/forget.json";
const EXPERT = "experts/expert-00";

/** Puts a folder of one run in the place of that of another. */
async function putBack(from: string, to: string): Promise<void> {
  await Deno.remove(to, { recursive: true }).catch(() => {});
  copyFolder(from, to);
}

Deno.test("nine ways to tamper with a run that has forgotten are each named", () =>
  inFolder(async (folder) => {
    shareDevice();
    const corpus = copiesCorpus(16, 2);
    await writeCorpus(`${folder}/texts`, corpus);
    const path = (name: string) => `${folder}/${name}`;
    const [all, less, other, child] = ["all", "less", "other", "child"].map(path);
    await partition({ run: all, sources: { flags: { ...FLAGS, input: [`${folder}/texts`] } } });
    await trainExperts([0, 1], { run: all });
    const forget = { paths: ["secret/*"] };
    await derive({ run: less, from: all, forget, copies: { forget: true } });
    await derive({ run: other, from: all, forget: { paths: ["plain/0.txt"] }, noTrain: true });
    await Deno.writeTextFile(
      path("new.txt"),
      "Some words that nobody ever wrote before. ".repeat(40),
    );
    await derive({ run: child, from: all, add: [path("new.txt")] });
    assertEquals([(await checkForgotten(less)).problems, (await verifyRun(less)).problems], [
      [],
      [],
    ]);

    const editCertificate = async (run: string, edit: (text: string) => string) =>
      await Deno.writeTextFile(
        `${run}/${CERTIFICATE}`,
        edit(await Deno.readTextFile(`${run}/${CERTIFICATE}`)),
      );
    const blockWithCopy = async () => {
      for (const { name, isDirectory } of Deno.readDirSync(`${all}/tokens`)) {
        const here = isDirectory && await readManifest(`${less}/tokens/${name}`);
        const there = isDirectory && await readManifest(`${all}/tokens/${name}`);
        if (there && (!here || here.key !== there.key)) return `tokens/${name}`;
      }
      throw new Error("no block has lost a document");
    };
    const block = await blockWithCopy();
    const tamperings: [string, (run: string) => Promise<unknown>, file: string, text: string][] = [
      [
        "the certificate is gone",
        (run) => Deno.remove(`${run}/forgotten`, { recursive: true }),
        CERTIFICATE,
        "the certificate must be there",
      ],
      [
        "the certificate is edited",
        (run) => editCertificate(run, (text) => text.replaceAll("secret/1.txt", "secret/0.txt")),
        CERTIFICATE,
        "it must be as it was made",
      ],
      [
        "the certificate is that of another run",
        (run) => putBack(`${other}/forgotten`, `${run}/forgotten`),
        CERTIFICATE,
        "it must list the documents that the run has forgotten",
      ],
      [
        "an expert of before is put back",
        (run) => putBack(`${all}/${EXPERT}`, `${run}/${EXPERT}`),
        `${EXPERT}/manifest.json`,
        'it must be made of what is there now: "partition/expert-00',
      ],
      [
        "an expert of another part is put in its place",
        async (run) => {
          await putBack(`${run}/experts/expert-01`, `${run}/${EXPERT}`);
          const manifest = (await readManifest(`${run}/${EXPERT}`))!;
          await writeManifest(`${run}/${EXPERT}`, { ...manifest, name: EXPERT }, manifest.made);
        },
        `${EXPERT}/manifest.json`,
        'it must be trained on the part of its expert: it was on "partition/expert-01"',
      ],
      [
        "a part of before is put back",
        (run) => putBack(`${all}/partition/expert-00`, `${run}/partition/expert-00`),
        `${EXPERT}/manifest.json`,
        'it must be made of what is there now: "partition/expert-00',
      ],
      [
        "a copy is put back among the tokens",
        (run) => putBack(`${all}/${block}`, `${run}/${block}`),
        `${block}/documents.arrow`,
        "it must have no row of document",
      ],
      [
        "a table of before lies among the results",
        (run) => putBack(`${all}/${block}`, `${run}/overlap/hashes`),
        "overlap/hashes/documents.arrow",
        "it must have no row of document",
      ],
      [
        "an expert of another run from the same one is adopted",
        (run) => adoptExpert({ run, expert: 0, from: `${child}/${EXPERT}`, force: true }),
        CERTIFICATE,
        "expert 0 must be one that the certificate names: it was adopted from",
      ],
    ];
    for (const [name, tamper, file, text] of tamperings) {
      const run = path("tampered");
      copyFolder(less, run);
      await tamper(run);
      const problems = [
        ...(await checkForgotten(run)).problems,
        ...(await verifyRun(run)).problems,
      ].map(({ file, what }) => `${file}: ${wordText(what)}`);
      const isNamed = problems.some((line) => line.startsWith(`${file}: `) && line.includes(text));
      assert(isNamed, `${name}: ${problems.join("\n")}`);
      await Deno.remove(run, { recursive: true });
    }
    assertEquals(tamperings.length, 9);
  }));
