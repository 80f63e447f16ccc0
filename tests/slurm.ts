/**
 * Starts a Slurm of one node on this machine, without accounting, with all of its files in a
 * scratch folder.
 *
 * @module
 */

/** A Slurm that runs. */
export interface Cluster {
  /** What its commands need to find it. */
  env: Record<string, string>;
  /** Runs one of its commands and returns what it prints; throws where that fails. */
  run(command: string, ...args: string[]): Promise<string>;
  /** Stops it. */
  stop(): Promise<void>;
}

const PATH = `${Deno.env.get("PATH")}:/usr/sbin:/sbin`;
const NEEDED = ["munged", "slurmctld", "slurmd", "sbatch", "squeue", "scancel", "scontrol"];

/** Whether Slurm is installed here. Where `SMALLTALK_REQUIRE_SLURM` is set it must be. */
export const hasSlurm = NEEDED.every((name) =>
  PATH.split(":").some((folder) => {
    try {
      return Deno.statSync(`${folder}/${name}`).isFile;
    } catch {
      return false;
    }
  })
);
if (!hasSlurm) {
  const what = "the test of Slurm needs the packages slurm-wlm and munge: it is left out";
  if (Deno.env.get("SMALLTALK_REQUIRE_SLURM") === "1") throw new Error(what);
  console.log(what);
}

/** Finds a port that nobody listens on. */
function freePort(): number {
  using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  return (listener.addr as Deno.NetAddr).port;
}

async function output(
  command: string,
  args: string[],
  env: Record<string, string>,
): Promise<string> {
  const result = await new Deno.Command(command, { args, env, stdin: "null" }).output();
  const text = (bytes: Uint8Array) => new TextDecoder().decode(bytes);
  if (!result.success) throw new Error(`${command} ${args.join(" ")}: ${text(result.stderr)}`);
  return text(result.stdout).trim();
}

/**
 * Starts Slurm with its files in `folder`: a node with two processors, a partition `gpu`, and one,
 * `urgent`, whose jobs drive those of the former back into the queue.
 */
export async function startSlurm(folder: string, { maxArraySize = 1001 } = {}): Promise<Cluster> {
  const user = await output("id", ["-un"], { PATH });
  const host = Deno.hostname();
  for (const name of ["state", "spool"]) await Deno.mkdir(`${folder}/${name}`);
  await Deno.writeFile(`${folder}/munge.key`, crypto.getRandomValues(new Uint8Array(1024)), {
    mode: 0o600,
  });
  await Deno.writeTextFile(`${folder}/cgroup.conf`, "CgroupPlugin=disabled\n");
  await Deno.writeTextFile(
    `${folder}/slurm.conf`,
    `ClusterName=test
SlurmctldHost=${host}(127.0.0.1)
SlurmctldPort=${freePort()}
SlurmdPort=${freePort()}
SlurmUser=${user}
SlurmdUser=${user}
AuthType=auth/munge
AuthInfo=socket=${folder}/munge.socket,cred_expire=5
StateSaveLocation=${folder}/state
SlurmdSpoolDir=${folder}/spool
SlurmctldPidFile=${folder}/slurmctld.pid
SlurmdPidFile=${folder}/slurmd.pid
SlurmctldLogFile=${folder}/slurmctld.log
SlurmdLogFile=${folder}/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
ReturnToService=2
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SchedulerParameters=sched_interval=1,sched_min_interval=100000,batch_sched_delay=0,bf_interval=1
MaxArraySize=${maxArraySize}
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
KillWait=20
NodeName=${host} NodeAddr=127.0.0.1 CPUs=2 State=UNKNOWN
PartitionName=gpu Nodes=${host} Default=YES State=UP PriorityTier=1 GraceTime=20
PartitionName=urgent Nodes=${host} State=UP PriorityTier=10 PreemptMode=off
`,
  );
  const env = { PATH, SLURM_CONF: `${folder}/slurm.conf` };
  const daemons: Deno.ChildProcess[] = [];
  const start = (command: string, ...args: string[]) =>
    daemons.push(
      new Deno.Command(command, { args, env, stdin: "null", stdout: "null", stderr: "null" })
        .spawn(),
    );
  const cluster: Cluster = {
    env,
    run: (command, ...args) => output(command, args, env),
    async stop() {
      // Jobs outlive the daemons: those of a test that failed are ended first.
      await cluster.run("scancel", "--full", "--signal=KILL", `--user=${user}`).catch(() => {});
      await cluster.run("scancel", `--user=${user}`).catch(() => {});
      await until(
        "the end of all jobs",
        () => cluster.run("squeue", "--noheader").then((text) => text === ""),
      )
        .catch(() => {});
      for (const daemon of daemons.reverse()) {
        try {
          daemon.kill("SIGTERM");
        } catch {
          // It has ended.
        }
        await daemon.status;
      }
    },
  };
  const files = ["socket", "pid", "log", "seed"].map((name) =>
    `--${name}-file=${folder}/munge.${name}`
  );
  files[0] = `--socket=${folder}/munge.socket`;
  start("munged", "--foreground", "--force", `--key-file=${folder}/munge.key`, ...files);
  await until("munged", () => Deno.stat(`${folder}/munge.socket`).then(() => true, () => false));
  start("slurmctld", "-D", "-i");
  start("slurmd", "-D", "-N", host);
  await until("slurmd", async () => {
    const state = await cluster.run("sinfo", "--noheader", "--format=%T").catch(() => "");
    return state.split("\n")[0] === "idle";
  });
  return cluster;
}

/** Waits until something holds. */
export async function until(
  what: string,
  holds: () => Promise<boolean>,
  seconds = 900,
): Promise<void> {
  for (const end = performance.now() + 1000 * seconds; !await holds();) {
    if (performance.now() > end) throw new Error(`${what} did not come in ${seconds} s`);
    await new Promise((done) => setTimeout(done, 100));
  }
}

/** Reads the logs of the jobs of a run whose names begin so. */
export async function logsOf(run: string, start: string): Promise<string> {
  let text = "";
  for (const { name } of Deno.readDirSync(`${run}/jobs/logs`)) {
    if (name.startsWith(start)) text += await Deno.readTextFile(`${run}/jobs/logs/${name}`);
  }
  return text;
}
