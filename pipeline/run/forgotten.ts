/**
 * The certificate of what a run has forgotten, and its check: that no row of the run is of a
 * document which is gone, and that every folder is made of what is there now.
 *
 *     forgotten/   forget.json
 *
 * @module
 */

import * as v from "valibot";
import { InputError, say, setting, task, type Text } from "../../kernels/errors.ts";
import { writePages } from "../graph/folder.ts";
import { hashFiles, nodesIn, partNode, readManifest } from "../graph/node.ts";
import { changedInput } from "../graph/walk.ts";
import { columnNames, needColumn, readArrow } from "../rows/arrow.ts";
import { readIntegers, readStrings } from "../rows/column_values.ts";
import { jsonText } from "../graph/files.ts";
import { canonical, count, MANIFEST, readJsonIfThere } from "../graph/schema.ts";
import { type Derivation, type Forgotten, readDerivation } from "../stages/derivation.ts";
import { nodeFolders } from "./settings.ts";
import type { Problem } from "./partition.ts";
import { expertTarget } from "../stages/targets.ts";

const FORGOTTEN = "forgotten";
const FILE = "forget.json";

const CERTIFICATE = v.object({
  documents: v.array(v.unknown()),
  experts: v.array(v.object({ expert: count, key: v.object({ now: v.nullable(v.string()) }) })),
});

/** Lists the documents that a run has forgotten, on the way to the other run as well. */
export const listForgotten = (derivation: Derivation | null): Forgotten[] =>
  [derivation?.forgottenBefore ?? [], derivation?.change.forgotten ?? []].flat();

/**
 * Writes the certificate of a run whose partition is made: what left, what became of every expert,
 * and what has seen the text and stays.
 */
export async function writeCertificate(
  run: string,
  derivation: Derivation,
  descends: readonly string[],
): Promise<void> {
  const { from, version, kept, experts: { length } } = derivation;
  const experts = await Promise.all(derivation.experts.map(async ({ trained }, expert) => {
    const part = hashFiles((await readManifest(`${run}/${partNode(expert, length)}`))!, "train-");
    const manifest = await readManifest(`${run}/${expertTarget(expert, { experts: length }).node}`);
    const before = trained && kept[trained.node];
    const now = manifest?.key ?? null;
    const origins = ["kept", "adopted", "before"]; // of weights that were there, or go on from such
    const isNew = manifest !== null &&
      origins.every((name) => manifest.settings[name] === undefined);
    const trainedAgain = before !== null && isNew;
    return {
      expert,
      part: { before: trained?.part ?? null, now: part },
      trainedAgain,
      key: { before, now },
    };
  }));
  const text = jsonText({ from, version, documents: listForgotten(derivation), experts, descends });
  await writePages(run, FORGOTTEN, { [FILE]: text });
}

/**
 * Checks what a run has forgotten: that no table or shard has a row of such a document, and that
 * its text stands in no other one. Also that every folder was made of what is there now, so that
 * none of before was put back. Throws an `InputError` where nothing was forgotten.
 */
export async function checkForgotten(run: string): Promise<Problem[]> {
  const derivation = await readDerivation(run);
  const forgotten = listForgotten(derivation);
  if (!derivation || forgotten.length === 0) {
    const rule = say`it must derive with ${setting("forget")}: it does not`;
    throw new InputError(say`Cannot check what "${run}" has forgotten as ${rule}`, { where: run });
  }
  const ids = new Set(forgotten.map(({ document }) => BigInt(document)));
  const texts = new Set(forgotten.map(({ sha256 }) => sha256));
  const found: Problem[] = [];
  await checkCertificate(run, forgotten, found);
  const remedy = say`remove it, or ${
    task("derive", { run, from: derivation.from })
  } into another folder`;
  for (const folder of nodeFolders()) {
    for await (const name of nodesIn(run, folder)) {
      const manifest = (await readManifest(`${run}/${name}`))!;
      const changed = await changedInput(run, manifest.inputs);
      const what = `it must be made of what is there now: "${changed}" is another`;
      if (changed !== undefined) found.push({ file: `${name}/${MANIFEST}`, what, remedy });
      for (const file of Object.keys(manifest.files)) {
        if (!file.endsWith(".arrow")) continue;
        const row = await findRow(`${run}/${name}/${file}`, ids, texts);
        if (row) {
          found.push({ file: `${name}/${file}`, what: row.what, remedy: row.remedy ?? remedy });
        }
      }
    }
  }
  return found;
}

/** Compares the certificate with what the run derives from, and with the models that are there. */
async function checkCertificate(
  run: string,
  forgotten: readonly Forgotten[],
  found: Problem[],
): Promise<void> {
  const file = `${FORGOTTEN}/${FILE}`;
  const about = "the certificate of what is forgotten";
  const remedy = "derive it once more, by the same command, which writes it again";
  const note = (what: string) => void found.push({ file, what, remedy });
  const certificate = await readJsonIfThere(`${run}/${file}`, CERTIFICATE, about);
  if (!certificate) return note("the certificate must be there: it is not");
  if (canonical(certificate.documents) !== canonical(forgotten)) {
    note("it must list the documents that the run has forgotten: it lists others");
  }
  for (const { expert, key: { now } } of certificate.experts) {
    const { node } = expertTarget(expert, { experts: certificate.experts.length });
    const there = (await readManifest(`${run}/${node}`))?.key;
    if (there && now && there !== now) {
      note(`it must name the expert ${expert} that is there: it names another one`);
    }
  }
}

/**
 * Finds a row of a document with one of these ids or texts; undefined where there is none. A text
 * that was kept elsewhere has a remedy.
 */
async function findRow(
  path: string,
  ids: ReadonlySet<bigint>,
  texts: ReadonlySet<string>,
): Promise<{ what: string; remedy?: Text } | undefined> {
  for await (const batch of readArrow(path)) {
    const names = columnNames(batch);
    const documents = names.includes("document")
      ? readIntegers(needColumn(batch, "document"), BigUint64Array)
      : [];
    const hashes = names.includes("sha256") ? readStrings(needColumn(batch, "sha256")) : [];
    for (const id of documents) {
      if (ids.has(id)) return { what: `it must have no row of document ${id}: it has one` };
    }
    const copy = hashes.findIndex((hash) => texts.has(hash));
    if (copy >= 0) {
      const what = `it must not hold the text of a forgotten document: document ${
        documents[copy]
      } has it`;
      return { what, remedy: say`forget that as well: ${setting("forgetIds")} ${documents[copy]}` };
    }
  }
}
