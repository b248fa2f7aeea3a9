/** Policies: read strictly, one digest for one meaning; every rule on made-up facts; the page that tells them. */

import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { GUEST_FACTS_COMMAND, parseGuestFacts } from "../dist/certification/policy-facts.js";
import { POLICY_RULES, policyViolations, type GuestFacts, type ImageFacts } from "../dist/certification/policy-rules.js";
import { loadPolicy, parsePolicy, policyDigest, policySchema } from "../dist/certification/policy.js";
import { SteadfastError } from "../dist/foundation/errors.js";
import { DEFAULT_POLICY_PATH } from "../dist/image/paths.js";
import { INIT_LINES, inittab } from "../dist/image/guest.js";

const policy = loadPolicy();
const GOOD: ImageFacts = {
  kernelKind: "stock",
  commandLine: "console=ttyS0 panic=-1 oops=panic softlockup_panic=1 hung_task_panic=1 initcall_blacklist=jent_mod_init",
  configuration: [...policy.configuration.required.map(({ line }) => line), ...policy.drivers.map(({ option }) => `${option}=m`)].join(
    "\n",
  ),
  modules: policy.drivers.map(({ name }) => name),
  files: [{ path: "/tmp", kind: "directory", mode: 0o1777 }],
  inittab: inittab([]).split("\n").slice(1, -1),
  laidOver: ["/etc/motd"],
};

const found = (facts: Partial<ImageFacts>, guest: GuestFacts = {}): string[] =>
  policyViolations(policy, { ...GOOD, ...facts }, guest).map(({ rule, what }) => `${rule} ${what}`);

test("the command line is read as the kernel reads it", () => {
  assert.deepEqual(found({}), []);
  const line = GOOD.commandLine;
  for (const added of ["panic=0", "panic=5", "oops=", "softlockup-panic=0"])
    assert.match(found({ commandLine: `${line} ${added}` })[0] ?? "", /^command-line.required/, added);
  assert.deepEqual(found({ commandLine: `panic=0 ${line}` }), []);
  assert.deepEqual(found({ commandLine: line.replace("panic=-1 ", "") + " -- panic=-1" }), ["command-line.required panic=-1"]);
  for (const word of [
    "init=/bin/sh",
    "rdinit=/x",
    "nowatchdog",
    "virtio-mmio.device=1@2:3",
    "initcall_blacklist=x",
    '"sysctl.kernel.panic=0"',
  ])
    assert.equal(found({ commandLine: `${line} ${word}` })[0], `command-line.forbidden ${word.replaceAll('"', "")}`);
});

test("kernels, drivers, services, files and the running guest", () => {
  assert.deepEqual(found({ kernelKind: "own" }), ["kernel.kind own"]);
  assert.deepEqual(found({ configuration: undefined }), ["kernel.configuration unknown"]);
  const configuration = GOOD.configuration ?? "";
  assert.deepEqual(found({ modules: GOOD.modules.filter((name) => name !== "virtio_net") }), ["driver.missing virtio_net"]);
  assert.deepEqual(found({ modules: GOOD.modules.slice(1), configuration: configuration.replace("MMIO=m", "MMIO=y") }), []);
  assert.deepEqual(found({ configuration: `${configuration}\nCONFIG_DEVKMEM=y` }), ["kernel.configuration CONFIG_DEVKMEM=y"]);
  assert.deepEqual(found({ inittab: [...GOOD.inittab, "::respawn:/usr/bin/x"] }), ["init.table ::respawn:/usr/bin/x"]);
  assert.equal(found({ inittab: [] }).length, INIT_LINES.length);
  assert.deepEqual(found({ files: [{ path: "/tmp", kind: "directory", mode: 0o777 }] }), ["file.world-writable /tmp"]);
  assert.deepEqual(found({ laidOver: ["/etc/steadfast/services/nginx"] }), ["file.protected /etc/steadfast/services/nginx"]);
  const guest = { listeningPorts: [80, 31337], settings: { "kernel.panic": "0", "kernel.panic_on_oops": "1" } };
  assert.deepEqual(found({}, guest), ["port.undeclared 31337", "setting.differs kernel.panic = 0"]);
  assert.deepEqual(found({}, { files: [{ path: "/usr/bin/su", kind: "file", mode: 0o4755 }] }), ["file.set-user-id /usr/bin/su"]);
});

test("what the guest prints is read back, also with an echo around it and not before it is whole", () => {
  const printed =
    "# echo\r\ncommand-line a b\r\nlistens 80\r\nlistens 80\r\nsetting kernel/panic -1\r\nmode 89ed /usr/bin/su\r\nmode 43ff /tmp\r\n";
  assert.equal(parseGuestFacts(printed), undefined);
  assert.deepEqual(parseGuestFacts(`${printed}end-of-facts\r\n`), {
    ...{ commandLine: "a b", listeningPorts: [80], settings: { "kernel.panic": "-1" } },
    files: [
      { path: "/usr/bin/su", kind: "file", mode: 0o4755 },
      { path: "/tmp", kind: "directory", mode: 0o1777 },
    ],
  });
  const syntax = spawnSync("sh", ["-n", "-c", GUEST_FACTS_COMMAND], { encoding: "utf8" });
  assert.equal(syntax.status, 0, syntax.stderr);
});

test("a policy is read strictly, and its digest is that of its meaning", () => {
  const text = readFileSync(DEFAULT_POLICY_PATH, "utf8");
  const wrong = (changed: string): string => {
    try {
      parsePolicy(changed, "p.yaml");
    } catch (error) {
      assert.ok(error instanceof SteadfastError && error.code === "POLICY_WRONG", String(error));
      return error.message;
    }
    assert.fail("accepted");
  };
  assert.match(wrong(`${text}port: 80\n`), /field port \(line \d+\) is not a field/);
  assert.match(wrong(text.replace("ports: [80", "ports: [0")), /field ports\[0\] \(line \d+\)/);
  assert.match(wrong("name: ["), /is not YAML/);
  assert.throws(() => loadPolicy("/nonexistent"), /cannot be read/);
  assert.equal(policyDigest(parsePolicy(text.replace("[80, 6379]", "[6379, 80] # both"), "p")), policyDigest(policy));
  assert.notEqual(policyDigest(parsePolicy(text.replace("[80, 6379]", "[80]"), "p")), policyDigest(policy));
});

test("the page tells every rule and every field, and no others", () => {
  const page = readFileSync(new URL("../docs/reference/policy.md", import.meta.url), "utf8");
  const told = (heading: string): string[] => {
    const section = page.split(`## ${heading}\n`)[1]?.split("\n## ")[0] ?? "";
    return [...section.matchAll(/^\| `([^`]+)`/gm)].map((match) => match[1] ?? "").sort();
  };
  assert.deepEqual(told("Rules"), Object.keys(POLICY_RULES).sort());
  assert.deepEqual(told("Fields"), Object.keys(policySchema.shape).sort());
});
