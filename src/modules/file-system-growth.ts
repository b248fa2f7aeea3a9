/** After its disk has grown the guest is asked, through its agent, to grow the file system on it as well. */
import { SteadfastError } from "../foundation/errors.js";
import type { Severity } from "../wire/control.js";
import type { ManagementEventCode } from "../wire/event-codes.js";
import { said, type AskAgent } from "./guest-checks.js";
import { resizeProgram } from "./resize-program.js";

/** The kernel does it while the file system is in use; a large disk is a matter of seconds. */
const LIMIT_SECONDS = 120;
/** Exit status of the command. */
const HAD_SIZE = 3;
/** The guest hears of the new size at about the same time as of this: if nothing has grown, it looks again. */
const COMMAND = `
where=$(awk '$1 == "/dev/vda" && $3 == "ext4" { print $2; exit }' /proc/mounts)
[ -n "$where" ] || { echo 'no ext4 on /dev/vda is mounted'; exit 1; }
block=$(stat -f -c %S "$where")
before=$(stat -f -c %b "$where")
program=/run/steadfast/resize
echo ${Buffer.from(resizeProgram()).toString("base64")} | base64 -d > $program && chmod 700 $program || exit
for look in 1 2 3 4 5 6 7 8 9 10; do
  read -r sectors < /sys/block/vda/size
  $program "$where" $((sectors * 512 / block))
  error=$?
  [ $error = 0 ] || break
  [ "$(stat -f -c %b "$where")" = "$before" ] || { rm $program; exit 0; }
  sleep 1
done
rm $program
[ $error = 0 ] && { echo 'it had the size of the disk already'; exit ${HAD_SIZE}; }
echo "its kernel answered with error number $error"
exit 1`;

export type TellEvent = (severity: Severity, code: ManagementEventCode, text: string) => void;

/** Whether the disk has grown and the outcome for the file system was never told. `codes`: of the events of this run. */
export function isGrowthOwed(codes: readonly string[]): boolean {
  const outcome = Math.max(codes.lastIndexOf("FILE_SYSTEM_GROWN"), codes.lastIndexOf("FILE_SYSTEM_NOT_GROWN"));
  return codes.lastIndexOf("DISK_GROWN") > outcome;
}

/**
 * Its outcome is an event; never rejects for what the guest does or does not. `mayBeGrown`: somebody may have asked before who did not live
 * to hear the answer.
 */
export async function growFileSystem(ask: AskAgent, event: TellEvent, mayBeGrown = false): Promise<void> {
  const notGrown = (why: string): void =>
    event("warning", "FILE_SYSTEM_NOT_GROWN", `The disk is larger, the guest's file system is as it was: ${why}.`);
  try {
    const answer = await ask({ verb: "run", command: COMMAND, limitSeconds: LIMIT_SECONDS });
    const isGrown = answer.status === 0 || (mayBeGrown && answer.status === HAD_SIZE);
    if (isGrown) event("info", "FILE_SYSTEM_GROWN", "The guest's file system has the size of its disk now.");
    else notGrown(said(answer));
  } catch (error) {
    if (!(error instanceof SteadfastError)) throw error;
    notGrown(error.message);
  }
}
