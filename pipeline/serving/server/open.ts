/** Opens what serves a mixture: everything that is read once, before the first answer. */

import * as v from "valibot";
import { InputError, say } from "../../../kernels/errors.ts";
import { NAMES, readManifest } from "../../graph/node.ts";
import { readJsonIfThere } from "../../run/schema.ts";
import type { Mixture } from "../mixture.ts";
import type { Admission } from "./admission.ts";
import { jinjaTemplate, PLAIN } from "./chat.ts";
import { createMetrics } from "./metrics.ts";
import { TextReader } from "./reading.ts";
import type { ServeOptions, Service } from "./service.ts";
import { SpecialTokens } from "./special.ts";

/** The part of a `tokenizer_config.json` that is used. A template that is no text is ignored. */
const TOKENIZER_CONFIG = v.object({ chat_template: v.optional(v.unknown()) });

/** Opens the tokenizer and the partitioner of a run, and reads what answers say of its experts and chats. */
export async function openService(
  mixture: Mixture,
  admission: Admission,
  { run, serveExperts, upstreams, onWarning }: ServeOptions,
): Promise<Service> {
  const tokenizer = await mixture.tokenizer();
  if (mixture.routes) await mixture.partitioner();
  const words = await readWords(run, onWarning);
  const texts = await mixture.texts();
  const special = new SpecialTokens(tokenizer, await texts.text(tokenizer.eos));
  const path = `${run}/tokenizer_config.json`;
  const source = (await readJsonIfThere(path, TOKENIZER_CONFIG, "a tokenizer's settings"))?.chat_template;
  return {
    ...{ mixture, tokenizer, special, texts, words, admission, serveExperts, upstreams },
    template: typeof source === "string" ? jinjaTemplate(source, special, path) : PLAIN,
    reader: new TextReader(tokenizer),
    metrics: createMetrics(mixture, admission),
  };
}

const WORDS = v.array(v.array(v.string()));

/**
 * Reads the words that set the experts of a run apart. They are not known where they were not copied with what a
 * server needs, nor where they are damaged; then `onWarning` is called.
 */
async function readWords(run: string, onWarning: ServeOptions["onWarning"]): Promise<string[][] | null> {
  const found = await readManifest(`${run}/${NAMES}`).catch((error) => {
    if (!(error instanceof InputError)) throw error;
    onWarning?.(say`experts are listed without their words: ${error.what}`);
    return null;
  });
  return v.is(WORDS, found?.result.words) ? found.result.words : null;
}
