/** `tokens`: who may ask a server from outside. */
import { join } from "node:path";
import { InvalidArgumentError, Option, type Command } from "commander";
import { ROLES, type Role } from "../access/roles.js";
import { DAY_MS } from "../foundation/durations.js";
import { SteadfastError } from "../foundation/errors.js";
import { createToken, isInForce, readTokens, revokeToken, type TokenRecord } from "../front/token-file.js";
import { dayText, paint, printJson, printLines, table } from "./output.js";
import { chosenServer, withServerOptions, type ServerFlags } from "./server-choice.js";

const DAYS_MAX = 3650;

/** Whose tokens: a server's, or a certification programme's. */
interface TokensFlags extends ServerFlags {
  readonly directory?: string;
}

interface CreateFlags extends TokensFlags {
  readonly role: Role;
  readonly expires?: number;
}

function days(text: string): number {
  const value = Number(text);
  if (!/^\d{1,5}$/.test(text) || value < 1 || value > DAYS_MAX)
    throw new InvalidArgumentError(`It must be a whole number of days from 1 to ${DAYS_MAX}.`);
  return value;
}

function chosenFile({ directory, ...flags }: TokensFlags): { readonly owner: string; readonly facts: object; readonly file: string } {
  if (directory !== undefined) {
    if (flags.server !== undefined) throw new SteadfastError("USAGE", { what: "Give --server or --directory, not both." });
    return { owner: `the programme in ${directory}`, facts: { directory }, file: join(directory, "tokens.json") };
  }
  const { server, paths } = chosenServer(flags);
  return { owner: `server ${server}`, facts: { server }, file: paths.tokensFile };
}

function create(name: string, flags: CreateFlags): void {
  const { owner, facts, file } = chosenFile(flags);
  const now = Date.now();
  const expiresAtMs = flags.expires === undefined ? null : now + flags.expires * DAY_MS;
  const token = createToken(file, name, flags.role, expiresAtMs, now);
  if (flags.json === true) return printJson({ ...facts, name, role: flags.role, expiresAtMs, token });
  // The token alone on standard output, so that a script can keep it.
  printLines([token]);
  const end = expiresAtMs === null ? "it does not expire" : `it expires on ${dayText(expiresAtMs)}`;
  process.stderr.write(`This is the token ${name} of ${owner}, role ${flags.role}; ${end}. It cannot be shown again.\n`);
}

function list(flags: TokensFlags): void {
  const tokens = readTokens(chosenFile(flags).file);
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
    dayText(createdAtMs),
    expiresAtMs === null ? "never" : `${dayText(expiresAtMs)}${isOver ? paint(" (over)", "yellow") : ""}`,
  ];
}

function revoke(name: string, flags: TokensFlags): void {
  const { owner, facts, file } = chosenFile(flags);
  revokeToken(file, name);
  if (flags.json === true) printJson({ ...facts, name, revoked: true });
  else printLines([`The token ${name} of ${owner} is revoked; what it had open ends within a second or two.`]);
}

function withTokensOptions(command: Command): Command {
  return withServerOptions(command).option("--directory <directory>", "of a certification programme, instead of a server");
}

export function addTokensCommand(program: Command): void {
  const tokens = program.command("tokens").description("who may ask a server's control API over TLS (see `up --listen`)");
  withTokensOptions(tokens.command("create"))
    .description("make a token and print it once")
    .argument("<name>", "whose it is, as the audit log will name it")
    .addOption(new Option("--role <role>", "view: see everything; operate: change things too").choices(ROLES).makeOptionMandatory())
    .option("--expires <days>", "how long it holds (default: until it is revoked)", days)
    .addHelpText(
      "after",
      "\nExamples:\n  steadfast tokens create grafana --role view\n  steadfast tokens create anna --role operate --expires 90",
    )
    .action(create);
  withTokensOptions(tokens.command("list")).description("show names, roles and ends of all tokens").action(list);
  withTokensOptions(tokens.command("revoke")).description("make a token void, at once").argument("<name>").action(revoke);
}
