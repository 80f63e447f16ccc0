/** Where servers are that hold experts. */

import { InputError, say, setting } from "../../../kernels/errors.ts";

/** Servers by the experts that they hold. */
export interface Upstreams {
  /** Their addresses, by expert. */
  addresses: ReadonlyMap<number, string>;
  /** Key to send them. */
  key?: string;
  /** Milliseconds that one may say nothing. */
  timeout: number;
}

const UPSTREAM = setting("upstream");

/** Reads addresses such as `0=http://10.0.0.1:8000,1=http://10.0.0.2:8000`. Throws an `InputError` where they are something else. */
export function parseUpstreams(text: string): Map<number, string> {
  const found = new Map<number, string>();
  const parts = text.split(",").filter((one) => one !== "");
  for (const one of parts.length > 0 || text === "" ? parts : [text]) {
    const [, expert, url] = /^(\d+)=(https?:\/\/[^/\s?#@]+)\/*(?:v1\/*)?$/.exec(one.trim()) ?? [];
    if (expert === undefined || found.has(Number(expert)) || !URL.canParse(url)) {
      const rule = "name an expert once, with its address, like 0=http://10.0.0.1:8000";
      throw new InputError(say`Cannot forward as each part of ${UPSTREAM} must ${rule}: one is "${one}"`);
    }
    found.set(Number(expert), url);
  }
  return found;
}
