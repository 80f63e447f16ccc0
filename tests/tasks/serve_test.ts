import { assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { servingRun } from "../pipeline/serving/support.ts";
import { inFolder, ROOT, task } from "./support.ts";

/** An address of this machine that the task may not reach, as it stands for any other. */
const ELSEWHERE = "127.0.0.2:9";

Deno.test("serve prints the command that starts it with permission for upstreams elsewhere, and that command does", () =>
  inFolder(async (folder) => {
    await servingRun(`${folder}/run`);
    const upstream = `1=http://${ELSEWHERE},2=http://127.0.0.1:9`;
    for (const from of [ROOT, folder]) {
      const run = from === folder ? "run" : `${folder}/run`;
      const args = ["--run", run, "--upstream", upstream, "--port", "0", "--json"];
      const { code, out, err } = await task("serve", args, { env: { INIT_CWD: from } });
      assertEquals([code, out], [2, ""], err);
      assertMatch(err, /^error: [^\n]+\n$/);
      assertStringIncludes(
        err,
        `Cannot forward to ${ELSEWHERE} as a task may reach this machine alone`,
      );
      const command = err.trim().split("; run ")[1];
      const child = new Deno.Command("sh", {
        args: ["-c", `exec env -u INIT_CWD ${command}`],
        cwd: from,
        stdout: "piped",
        stderr: "piped",
        stdin: "null",
      }).spawn();
      const reader = child.stdout.getReader();
      const { value } = await reader.read();
      const said = new TextDecoder().decode(value);
      await reader.cancel();
      child.kill("SIGKILL");
      const reported = await new Response(child.stderr).text();
      await child.status;
      assertStringIncludes(said, '"url": "http://127.0.0.1:', reported);
    }
  }));
