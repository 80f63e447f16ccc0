/** Runs the server as a user does, for its tests: a process of its own on a free port. */

import OpenAI from "openai";
import { inFolder, taskCommand } from "../../../tasks/support.ts";
import { servingRun } from "../support.ts";

/** A server that runs. */
export interface Running {
  url: string; // where it listens
  run: string; // its run folder
  client: OpenAI; // a client of it
  process: Deno.ChildProcess; // its process
  log(): string; // what it wrote to standard error so far
}

/** Posts JSON, or any text. */
export async function post(
  url: string,
  body: unknown,
  headers: Record<string, string> = {},
): Promise<Response> {
  return await fetch(url, {
    method: "POST",
    body: typeof body === "string" ? body : JSON.stringify(body),
    headers: { "content-type": "application/json", ...headers },
  });
}

/** Takes the events of a whole stream apart; one without an end is an error. */
export function eventsOf(text: string) {
  const events = text.split("\n\n").slice(0, -1).map((event) => event.slice("data: ".length));
  if (events.pop() !== "[DONE]") throw new Error("a stream has no end");
  return events.map((event) => JSON.parse(event));
}

/** Reads one of the server's figures. */
export async function metric(url: string, name: string): Promise<number> {
  const text = await (await fetch(`${url}/metrics`)).text();
  return Number(text.split("\n").find((line) => line.startsWith(`${name} `))?.split(" ")[1]);
}

/** Starts a server and waits until it is ready; ends it after the test. */
export async function serving(
  run: string,
  args: string[],
  test: (server: Running) => Promise<void>,
): Promise<void> {
  const process = taskCommand("serve", ["--run", run, "--port", "0", "--json", ...args]).spawn();
  let log = "";
  const logging = (async () => {
    for await (const text of process.stderr.pipeThrough(new TextDecoderStream())) log += text;
  })();
  try {
    let out = "";
    for await (const text of process.stdout.pipeThrough(new TextDecoderStream())) {
      out += text;
      if (out.includes("}")) break;
    }
    if (!out.includes("}")) throw new Error(`the server did not start: ${log}`);
    // All addresses, so this one too.
    const url: string = JSON.parse(out).url.replace("//0.0.0.0:", "//127.0.0.1:");
    while (true) {
      const health = await fetch(`${url}/health`);
      await health.body?.cancel();
      if (health.ok) break;
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
    const client = new OpenAI({ baseURL: `${url}/v1`, apiKey: "a key", maxRetries: 0 });
    await test({ url, run, client, process, log: () => log });
  } finally {
    try {
      process.kill("SIGKILL");
    } catch {
      // it ended by itself
    }
    await process.status;
    await logging;
  }
}

/** Runs a test with a server of a run of random weights. */
export async function withServer(
  { experts = 3, args = [] }: { experts?: number; args?: string[] },
  test: (server: Running) => Promise<void>,
): Promise<void> {
  await inFolder(async (run) => {
    await servingRun(run, experts);
    await serving(run, args, test);
  });
}
