/** `tokens`: who may ask a server from outside. */
import { InvalidArgumentError, Option, type Command } from "commander";
import { ROLES, type Role } from "../access/roles.js";
import { createToken, isInForce, readTokens, revokeToken, type TokenRecord } from "../front/token-file.js";
import { paint, printJson, printLines, table } from "./output.js";
import { chosenServer, withServerOptions, type ServerFlags } from "./server-choice.js";

const DAY_MS = 86_400_000;
const DAYS_MAX = 3650;

interface CreateFlags extends ServerFlags {
  readonly role: Role;
  readonly expires?: number;
}

function days(text: string): number {
  const value = Number(text);
  if (!/^\d{1,5}$/.test(text) || value < 1 || value > DAYS_MAX)
    throw new InvalidArgumentError(`It must be a whole number of days from 1 to ${DAYS_MAX}.`);
  return value;
}

function create(name: string, flags: CreateFlags): void {
  const { server, paths } = chosenServer(flags);
  const now = Date.now();
  const expiresAtMs = flags.expires === undefined ? null : now + flags.expires * DAY_MS;
  const token = createToken(paths.tokensFile, name, flags.role, expiresAtMs, now);
  if (flags.json === true) return printJson({ server, name, role: flags.role, expiresAtMs, token });
  // The token alone on standard output, so that a script can keep it.
  printLines([token]);
  const end = expiresAtMs === null ? "it does not expire" : `it expires on ${dayOf(expiresAtMs)}`;
  process.stderr.write(`This is the token ${name} of server ${server}, role ${flags.role}; ${end}. It cannot be shown again.\n`);
}

function list(flags: ServerFlags): void {
  const tokens = readTokens(chosenServer(flags).paths.tokensFile);
  if (flags.json === true) return printJson(tokens.map(({ digest: _digest, ...rest }) => rest));
  if (tokens.length === 0) return printLines(["There are no tokens; `steadfast tokens create NAME --role view` makes one."]);
  const header = ["NAME", "ROLE", "CREATED", "EXPIRES"].map((cell) => paint(cell, "dim"));
  printLines(table([header, ...tokens.map(tokenRow)]));
}

function tokenRow(token: TokenRecord): string[] {
  const { name, role, createdAtMs, expiresAtMs } = token;
  const isOver = !isInForce(token, Date.now());
  return [
    name,
    role,
    dayOf(createdAtMs),
    expiresAtMs === null ? "never" : `${dayOf(expiresAtMs)}${isOver ? paint(" (over)", "yellow") : ""}`,
  ];
}

function dayOf(atMs: number): string {
  return new Date(atMs).toISOString().slice(0, 10);
}

function revoke(name: string, flags: ServerFlags): void {
  const { server, paths } = chosenServer(flags);
  revokeToken(paths.tokensFile, name);
  if (flags.json === true) printJson({ server, name, revoked: true });
  else printLines([`The token ${name} of server ${server} is revoked; what it had open ends within a second or two.`]);
}

export function addTokensCommand(program: Command): void {
  const tokens = program.command("tokens").description("who may ask a server's control API over TLS (see `up --listen`)");
  withServerOptions(tokens.command("create"))
    .description("make a token and print it once")
    .argument("<name>", "whose it is, as the audit log will name it")
    .addOption(new Option("--role <role>", "view: see everything; operate: change things too").choices(ROLES).makeOptionMandatory())
    .option("--expires <days>", "how long it holds (default: until it is revoked)", days)
    .addHelpText(
      "after",
      "\nExamples:\n  steadfast tokens create grafana --role view\n  steadfast tokens create anna --role operate --expires 90",
    )
    .action(create);
  withServerOptions(tokens.command("list")).description("show names, roles and ends of all tokens").action(list);
  withServerOptions(tokens.command("revoke")).description("make a token void, at once").argument("<name>").action(revoke);
}
