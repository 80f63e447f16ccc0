/** Where servers are that hold experts, and what this one may reach apart from them. */

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

/**
 * Reads addresses such as `0=http://10.0.0.1:8000,1=http://10.0.0.2:8000`. Throws an `InputError`
 * where they are something else.
 */
export function parseUpstreams(text: string): Map<number, string> {
  const addresses = new Map<number, string>();
  const parts = text.split(",").filter((part) => part !== "");
  for (const part of parts.length > 0 ? parts : [text]) {
    const [, expert, url] = /^(\d+)=(https?:\/\/[^/\s?#@]+)\/*(?:v1\/*)?$/.exec(part.trim()) ?? [];
    if (expert === undefined || addresses.has(Number(expert)) || !URL.canParse(url)) {
      const rule = "name an expert once, with its address, like 0=http://10.0.0.1:8000";
      throw new InputError(
        say`Cannot forward as each part of ${UPSTREAM} must ${rule}: one is "${part}"`,
      );
    }
    addresses.set(Number(expert), url);
  }
  return addresses;
}

/** Addresses that a server may be permitted to listen on, as permissions name them. */
const OWN = ["127.0.0.1", "[::1]", "localhost", "0.0.0.0"];

/**
 * Gives up the permission of this process to reach or listen on any address but those of `urls`. A
 * server that already listens goes on. If the process may reach every address, that is given up
 * only without `urls`. A host is kept with all its ports: with an upstream on 127.0.0.1 the process
 * may reach all of this machine's ports there. It also gives up `ls`, by which a task looks for
 * graphics cards before it starts.
 */
export function keepToUpstreams(urls: Iterable<string>): void {
  const hosts = [...urls].map((url) => new URL(url).host);
  const isNeeded = (listened: string) =>
    hosts.some((host) => host === listened || host.startsWith(`${listened}:`));
  for (const host of OWN.filter((host) => !isNeeded(host))) {
    Deno.permissions.revokeSync({ name: "net", host });
  }
  Deno.permissions.revokeSync({ name: "run", command: "ls" });
  if (hosts.length === 0) Deno.permissions.revokeSync({ name: "net" });
}
