import { assertEquals } from "@std/assert";

const MODULE = new URL("../../../../pipeline/serving/server/addresses.ts", import.meta.url);

/**
 * Runs a server in a process of its own that gives up permissions once it listens. Reports what it
 * may reach then, and what it answers.
 */
async function confined(
  upstreams: string[],
): Promise<[may: string[], tried: string, answer: string]> {
  const code = `
    import { keepToUpstreams } from "${MODULE}";
    const server = Deno.serve({ hostname: "127.0.0.1", port: 0, onListen() {} }, () => new Response("still here"));
    keepToUpstreams(${JSON.stringify(upstreams)});
    const asked = ["127.0.0.1", "localhost", "[::1]", "0.0.0.0", "10.0.0.1:80", "10.0.0.2"]
      .map((host) => ({ name: "net", host })).concat({ name: "run", command: "ls" });
    const may = asked.filter((one) => Deno.permissions.querySync(one).state === "granted");
    const tried = await fetch("http://127.0.0.1:" + server.addr.port).then((it) => it.text(), ({ name }) => name);
    console.log(JSON.stringify({ port: server.addr.port, may: may.map(({ host, command }) => host ?? command), tried }));
    setTimeout(() => server.shutdown(), 10_000);
  `;
  const net = "--allow-net=127.0.0.1,[::1],localhost,0.0.0.0,10.0.0.1:80";
  const args = [
    "run",
    "--no-prompt",
    `--config=${new URL("../../../../deno.json", import.meta.url).pathname}`,
    "--allow-run=ls",
    net,
    "-",
  ];
  const process = new Deno.Command(Deno.execPath(), {
    ...{ args, stdin: "piped", stdout: "piped", stderr: "inherit" } as const,
  }).spawn();
  await new Blob([code]).stream().pipeTo(process.stdin);
  try {
    for await (const text of process.stdout.pipeThrough(new TextDecoderStream())) {
      const { port, may, tried } = JSON.parse(text);
      return [may, tried, await (await fetch(`http://127.0.0.1:${port}`)).text()];
    }
    throw new Error("the server did not start");
  } finally {
    process.kill();
    await process.status;
  }
}

Deno.test("keepToUpstreams() leaves a server that listens nothing to reach but its upstreams, and lets it answer", async () => {
  assertEquals(await confined([]), [[], "NotCapable", "still here"]);
  assertEquals(await confined(["http://10.0.0.1:80"]), [
    ["10.0.0.1:80"],
    "NotCapable",
    "still here",
  ]);
  const near = await confined(["http://127.0.0.1:9000", "http://10.0.0.1"]);
  assertEquals(near, [["127.0.0.1", "10.0.0.1:80"], "still here", "still here"]);
});
