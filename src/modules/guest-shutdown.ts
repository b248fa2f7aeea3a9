/**
 * Shuts a guest of ours down while its users wait: what init does for the power button, without the pauses that it makes between its steps
 * (two seconds), but waiting longer for services that need it. The agent in the guest runs it; it is brought there before, since a shell that
 * reads a request does so byte by byte.
 */
import { utf8Encode } from "../foundation/bytes.js";
import { putFile, type AskAgent } from "./guest-checks.js";

const PATH = "/run/steadfast/shut-down";
const LIMIT_SECONDS = 25;

/** How long services may take to end, in steps of 50 ms. */
const STEPS = 200;

/** Its last command does not return. Init does not start anew what ends, and does not bury it either: that is told by its state. */
const SHUT_DOWN = `
kill -TSTP 1
pids=
for state in /run/steadfast/*.state; do
  started= failures= pid=
  [ ! -r "$state" ] || read -r started failures pid < "$state"
  [ -z "$pid" ] || pids="$pids $pid"
done
[ -z "$pids" ] || kill -TERM $pids 2> /dev/null
steps=0
while [ "$steps" -lt ${STEPS} ]; do
  left=
  for pid in $pids; do
    status=Z
    [ ! -r "/proc/$pid/stat" ] || read -r _ _ status _ < "/proc/$pid/stat"
    [ "$status" = Z ] || left=yes
  done
  [ -n "$left" ] || break
  sleep 0.05
  steps=$((steps + 1))
done
sync
umount /data 2> /dev/null || mount -o remount,ro /data 2> /dev/null
sync
echo "steadfast: shut down for an upgrade" > /dev/console
poweroff -f
`;

/** While users are still served. False: the guest does not take it. */
export async function prepareShutDown(ask: AskAgent): Promise<boolean> {
  return (await putFile(ask, PATH, utf8Encode(SHUT_DOWN), () => true))?.status === 0;
}

/** Resolves or is rejected when the guest is gone, or did not do it. */
export async function beginShutDown(ask: AskAgent): Promise<void> {
  await ask({ verb: "run", command: `exec sh ${PATH}`, limitSeconds: LIMIT_SECONDS });
}
