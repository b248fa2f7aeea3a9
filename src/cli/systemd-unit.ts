/** The text of a systemd unit that keeps a server running. */

/** How long the guest may take to shut down, and on top of that how long the server may take to end. */
const GUEST_STOP_SECONDS = 60;
const SERVER_STOP_SECONDS = 30;
const RESTART_SECONDS = 2;

export interface UnitPlan {
  readonly server: string;
  /** Absolute paths of Node and of `bin/steadfast`. */
  readonly node: string;
  readonly program: string;
  /** Of `steadfast up`. */
  readonly parameters: readonly string[];
  readonly environment: Readonly<Record<string, string>>;
}

export function unitName(server: string): string {
  return `steadfast-${server}.service`;
}

/** systemd splits at spaces, and expands % and $. */
function quote(word: string): string {
  const plain = word.replaceAll("%", "%%").replaceAll("$", "$$$$");
  return /^[A-Za-z0-9_@%$+=:,./-]+$/.test(plain) ? plain : `"${plain.replaceAll("\\", "\\\\").replaceAll('"', '\\"')}"`;
}

function assignment([name, value]: readonly [string, string]): string {
  return `Environment="${name}=${value.replaceAll("%", "%%").replaceAll("\\", "\\\\").replaceAll('"', '\\"')}"`;
}

/**
 * The unit's process is only a follower of the server: if it is killed, KillMode=process lets the modules serve on, and the restart
 * attaches to them again. If all of the server is gone, the restart starts it anew. A wrong server file is not tried again.
 */
export function makeUnit({ server, node, program, parameters, environment }: UnitPlan): string {
  const steadfast = (...words: string[]): string => [node, program, ...words].map(quote).join(" ");
  return [
    "# Written by `steadfast install`; `steadfast uninstall` removes it.",
    "[Unit]",
    `Description=Steadfast server ${server}`,
    "After=network.target",
    "StartLimitIntervalSec=0",
    "",
    "[Service]",
    "Type=simple",
    ...Object.entries(environment).map(assignment),
    `ExecStart=${steadfast("up", ...parameters, "--attach")}`,
    `ExecStop=${steadfast("down", "--server", server, "--grace", String(GUEST_STOP_SECONDS))}`,
    "KillMode=process",
    "Restart=on-failure",
    `RestartSec=${RESTART_SECONDS}`,
    "RestartPreventExitStatus=2 5",
    `TimeoutStopSec=${GUEST_STOP_SECONDS + SERVER_STOP_SECONDS}`,
    "",
    "[Install]",
    "WantedBy=multi-user.target",
    "",
  ].join("\n");
}
