/**
 * The one registry of operating errors: what an operator may see, with its exit code. A sentence says what, where and how to mend it.
 * `docs/reference/errors.md` lists them; a check compares the two. Programming errors are asserts (assert.ts), never in here.
 */

import { CHANGE_ERRORS } from "./errors-changes.js";

interface ErrorEntry {
  /** Process exit code of a command that ends by this error: 2 usage or configuration, 3 host or environment, 4 server state, 5 guest image. */
  readonly exit: 2 | 3 | 4 | 5;
  /** Template; `{name}` is replaced by the parameter of that name. */
  readonly text: string;
}

export const ERRORS = {
  USAGE: { exit: 2, text: "{what}" },
  MODULE_CONFIG: {
    exit: 2,
    text: "The module configuration {where} has a wrong or missing field {field}; let `steadfast up` write it, or mend that field.",
  },
  MODULE_SOCKET: {
    exit: 3,
    text: "A module cannot listen on its socket {path} ({why}); check that the run directory exists, is writable and has a short path.",
  },
  TUN_MISSING: { exit: 3, text: "{path} is missing: load the kernel's tun module (`modprobe tun`) or give this container the device." },
  TAP_PERMISSION: {
    exit: 3,
    text: "Network device {device} cannot be made or opened without CAP_NET_ADMIN; run as root, or start it with `--network user` or `--network none`.",
  },
  TAP_OPEN: { exit: 3, text: "Network device {device} cannot be opened: {why}." },
  PASST_MISSING: {
    exit: 3,
    text: "The network `user` needs passt, which is not installed; `apt-get install passt` brings it. As root, `--network tap` works without it.",
  },
  PORT_TAKEN: { exit: 3, text: "Port {port} of this host is in use already; end what uses it, or publish another one." },
  PORT_FORBIDDEN: {
    exit: 3,
    text: "Port {port} of this host may not be used without privileges; publish one from 1024 on, or as root lower net.ipv4.ip_unprivileged_port_start by `sysctl`.",
  },
  PORT_UNUSABLE: {
    exit: 3,
    text: "Port {port} of this host cannot be published ({why}); give an address of this host and a port that is free.",
  },
  IP_COMMAND_MISSING: { exit: 3, text: "The `ip` command is missing; install it with `apt-get install iproute2`." },
  NETWORK_SETUP: { exit: 3, text: "Setting up {what} failed: `{command}` said: {why}." },
  NETWORK_BUSY: {
    exit: 3,
    text: "Another Steadfast server has been changing the host's network for {seconds} s; try again when it is done.",
  },
  ADDRESS_INVALID: {
    exit: 2,
    text: "{field} is {value}, which is not an IPv4 address of the form it needs; write for instance 10.77.0.1/24 for the host and 10.77.0.2 for the guest.",
  },
  NO_FREE_ADDRESS: {
    exit: 3,
    text: "No guest address is free in {subnet} on bridge {bridge}; stop a server or set network.hostAddress to a larger subnet.",
  },
  GUEST_ADDRESS_OUTSIDE: {
    exit: 2,
    text: "The guest address {address} must lie in the host's subnet {subnet} and differ from the host's own address; choose another one.",
  },
  GUEST_ADDRESS_TAKEN: {
    exit: 3,
    text: "The guest address {address} on bridge {bridge} belongs to server {owner}; choose another with --address, or leave it out to get a free one.",
  },
  INTERFACE_TAKEN: {
    exit: 3,
    text: "A network interface {device} exists that this server did not make; remove it with `ip link delete {device}` or use another --name.",
  },
  BRIDGE_TAKEN: {
    exit: 3,
    text: "Interface {bridge} exists and is not a bridge; rename it, or set network.bridge in the server file to another name.",
  },
  HOST_ADDRESS_TAKEN: {
    exit: 3,
    text: "The host address {address} is on interface {device} already; set network.hostAddress in the server file to another subnet.",
  },
  BENCH_TOOL_MISSING: { exit: 3, text: "{tool} is not installed; `apt-get install {package}` brings it." },
  BENCH_FAILED: { exit: 4, text: "{what} did not end well: {why}." },
  BENCH_SERVER: {
    exit: 4,
    text: "Server {server} cannot be put under load: {why}; start one with a network, or choose another by `--server NAME`.",
  },
  KERNEL_FORMAT: {
    exit: 5,
    text: "The kernel is not a flat RISC-V Image ({why}); give arch/riscv/boot/Image of a 64-bit little-endian kernel, or leave --kernel away.",
  },
  GUEST_MEMORY: {
    exit: 2,
    text: "{memoryMiB} MiB of guest memory are not possible: {why}; choose a value from {leastMiB} to {mostMiB} MiB.",
  },
  IMAGE_REFUSED: {
    exit: 4,
    text: "The machine image cannot be restored: {why}; both modules must run the same version with the same settings.",
  },
  ELF_FORMAT: {
    exit: 5,
    text: "{path} cannot be run: {why}; give a statically linked 64-bit RISC-V ELF program that is linked at 0x80000000.",
  },
  RUN_DIRECTORY_LONG: {
    exit: 2,
    text: "The run directory {path} is longer than {limit} bytes, which is too long for sockets; set STEADFAST_RUN to a shorter path.",
  },
  DIRECTORY_FAILED: {
    exit: 3,
    text: "{path} cannot be written ({why}); make it writable, or set STEADFAST_RUN and STEADFAST_STATE to other directories.",
  },
  PLAN_MISSING: { exit: 3, text: "{path} is missing or of another server; start the server with `steadfast up`." },
  SERVER_RUNNING: {
    exit: 4,
    text: "A server named {server} is running already; stop it with `steadfast down --server {server}` or choose another --name.",
  },
  API_UNKNOWN: { exit: 2, text: "The control API does not know {what}; CLI and server may be of different versions: restart the server." },
  API_BODY: { exit: 2, text: "The body of this request is not a JSON object of at most {limit} bytes; send one." },
  API_FIELD: {
    exit: 2,
    text: "The field {field} in the body of POST {path} is wrong ({why}); GET /openapi.json says what this request takes.",
  },
  API_UNAUTHORIZED: {
    exit: 2,
    text: "This needs a valid token: send the header `Authorization: Bearer TOKEN`; `steadfast tokens create NAME --role view` makes one.",
  },
  API_FORBIDDEN: { exit: 2, text: "{name} has the role {role}, which may not do this; use a token with the role operate." },
  API_FOREIGN_SITE: { exit: 2, text: "A request that another web site ({origin}) caused is refused; open this server's own console." },
  API_TICKET: { exit: 2, text: "This ticket is unknown, was used already or is too old; POST /console-ticket gives another one." },
  API_TOO_OFTEN: { exit: 4, text: "Too many requests came from {who}; wait {seconds} s." },
  API_CROWDED: { exit: 4, text: "There are {limit} {what} already, the most there can be; end one, or try again later." },
  API_UNANSWERED: {
    exit: 4,
    text: "No management module answers at this moment; ask again, and if it was a change look first whether it was done.",
  },
  CONSOLE_MISSING: {
    exit: 3,
    text: "The web console is not part of this installation; run `npm run build` in it, and start the server again.",
  },
  TOKEN_NAME: { exit: 2, text: "{name} cannot name a token; use 1 to 64 letters, digits, dots, hyphens and underscores." },
  TOKEN_EXISTS: {
    exit: 2,
    text: "There is a token named {name} already; revoke it with `steadfast tokens revoke {name}`, or choose another name.",
  },
  TOKEN_UNKNOWN: { exit: 2, text: "There is no token named {name}; `steadfast tokens list` shows them." },
  TOKEN_MANY: { exit: 4, text: "There are {limit} tokens already, the most there can be; revoke one that nobody uses." },
  TOKEN_FILE: { exit: 3, text: "The tokens in {path} cannot be used ({why}); mend the file, or remove it and make tokens anew." },
  LISTEN_ADDRESS: {
    exit: 2,
    text: "{listen} is no address to listen on; write ADDRESS:PORT with an IP address of this host, such as 0.0.0.0:8443 or [::]:8443.",
  },
  LISTEN_TAKEN: {
    exit: 3,
    text: "The control API cannot listen on {listen} ({why}); give an address of this host and a port that is free.",
  },
  TLS_FILE: {
    exit: 3,
    text: "The TLS certificate {certificate} and its key {key} cannot be used ({why}); give a PEM certificate with its own key.",
  },
  MODULE_UNKNOWN: { exit: 2, text: "Server {server} has no module {module}; it has {names}." },
  FAULT_CPU_ONLY: {
    exit: 2,
    text: "The drill {kind} is for CPU modules, and {module} is none; the drills kill and hang go with every module.",
  },
  MANAGEMENT_CHANGED: {
    exit: 4,
    text: "The leading management module of server {server} was lost while it carried this out, and another one leads now; look at `steadfast status --server {server}`, and say it again if it was not done.",
  },
  MODULE_BROKEN: {
    exit: 4,
    text: "{module} is BROKEN after too many faults; find the cause in `steadfast events`, then bring it back with `steadfast clear {module}`.",
  },
  MODULE_NOT_RUNNING: {
    exit: 4,
    text: "{module} has no running process at the moment; see `steadfast status` and try again when it is back.",
  },
  AGENT_REQUEST: { exit: 2, text: "The agent in the guest is not asked this: {why}." },
  AGENT_BUSY: { exit: 4, text: "{most} requests already wait for the agent in the guest; try again when they are answered." },
  AGENT_UNANSWERED: {
    exit: 4,
    text: "The agent in the guest did not answer request {id}: {why}. It is not known whether it took effect; the same id asks again without doing it twice.",
  },
  NOT_SAFE_TO_PULL: {
    exit: 4,
    text: "{module} is not safe to pull, because no other module could carry on without it; wait for DUPLEX, or say --force.",
  },
  FAULT_IO_ONLY: { exit: 2, text: "The drill {kind} is for I/O modules, which hold the mirrors of the disk, and {module} is none." },
  FAULT_UNKNOWN: { exit: 2, text: "There is no fault {kind}; `steadfast fault --help` lists the drills." },
  FAULT_ADDRESS: {
    exit: 2,
    text: "A flip needs an address below {bytes} (the guest's memory in bytes) and a bit from 0 to 7, or `--random`.",
  },
  RECORDING_UNREADABLE: { exit: 2, text: "{path} cannot be replayed: {why}; record it again, or copy it again if it was cut." },
  RECORDING_STATE: { exit: 4, text: "There is no recording: {why}; look at `steadfast status` and try again." },
  RECORDING_BEHAVIOUR: {
    exit: 2,
    text: "{path} was recorded on a machine {engine} of behaviour {recorded}, this version's is {present}: replay it with the Steadfast that recorded it.",
  },
  REDUNDANCY_UNKNOWN: {
    exit: 2,
    text: "There is no redundancy {redundancy}; write simplex, duplex, triplex or pair-and-spare, or 1, 2 or 3.",
  },
  REDUNDANCY_FIXED: {
    exit: 4,
    text: "A running server cannot go from {from} to {to}, since pairs are made at its start; stop it and start it with `--redundancy {to}`.",
  },
  REDUNDANCY_UNSAFE: {
    exit: 4,
    text: "The redundancy cannot become {to} now: {modules} would have to carry on and is not in lockstep; wait for it, or `steadfast insert` or `clear` it.",
  },
  POWER_ACTION_UNKNOWN: { exit: 2, text: "There is no power action {action}; the actions are off and reset." },
  VERIFY_FAILED: { exit: 4, text: "The machines could not be compared: {why}; look at `steadfast status` and try again." },
  HOST_TOOL_MISSING: { exit: 3, text: "The program {tool} is missing on this host; install it with `apt-get install -y {packages}`." },
  NO_DEBIAN_MIRROR: {
    exit: 3,
    text: "This host's apt names no Debian mirror ({where}); add your Debian mirror there, or set STEADFAST_MIRROR to its address.",
  },
  DEBIAN_KEYRING: {
    exit: 3,
    text: "The Debian keyring {path} is missing or too old to verify Debian 13; mend it with `apt-get update && apt-get install -y debian-archive-keyring`.",
  },
  DEBIAN_MIRROR: {
    exit: 3,
    text: "The Debian mirror {mirror} did not deliver what the image needs ({detail}); check the network and the proxy settings of apt, then try again.",
  },
  PACKAGE_DAMAGED: {
    exit: 3,
    text: "The package {package} arrived with a wrong checksum; run the build again with --refresh, and if it stays so use another mirror.",
  },
  PACKAGE_UNKNOWN: {
    exit: 2,
    text: "Debian 13 for riscv64 has no package {package}; correct the name under `packages` in {recipe}.",
  },
  RECIPE_UNREADABLE: { exit: 2, text: "The recipe {file} cannot be read ({detail}); give the path of a recipe file." },
  RECIPE_WRONG: { exit: 2, text: "The recipe {file} is wrong: {where} {problem}." },
  RECIPE_PATH_UNKNOWN: {
    exit: 2,
    text: "The recipe {file} includes {path}, but none of its packages contains that; correct the path or add the package that has it.",
  },
  LIBRARY_MISSING: {
    exit: 2,
    text: "{program} needs {library}, which no package of the recipe {file} contains; add the Debian package that has it to `packages`.",
  },
  KERNEL_MODULE_UNKNOWN: {
    exit: 2,
    text: "Debian's kernel has no module {module} among those for this machine; correct `modules` or `diskModules` in the recipe.",
  },
  KERNEL_TOOLS_MISSING: {
    exit: 3,
    text: "Building the hardened kernel needs more Debian packages; install them with `apt-get install -y {packages}`, or use --kernel stock.",
  },
  KERNEL_UNREADABLE: { exit: 2, text: "The {what} {path} cannot be read ({detail}); give the path of a readable file." },
  NOT_A_KERNEL: {
    exit: 5,
    text: "{path} is not a RISC-V Linux kernel ({detail}); give the flat or gzip-compressed file arch/riscv/boot/Image of a kernel build.",
  },
  IMAGE_BUSY: {
    exit: 5,
    text: "Another image build (process {holder}) holds the cache directory for too long; end that process, then try again.",
  },
  IMAGE_INTERRUPTED: { exit: 5, text: "The image build was interrupted; nothing of it was kept, run it again." },
  IMAGE_STEP_FAILED: { exit: 5, text: "The image could not be built: {step} failed ({detail})." },
  DISK_FULL: {
    exit: 3,
    text: "The disk that holds {directory} is full; free some space there (an image needs 0.5 GB, the hardened kernel 1.2 GB while it is built), or set STEADFAST_CACHE to a directory with space.",
  },
  CACHE_UNWRITABLE: {
    exit: 3,
    text: "The directory {directory} cannot be written ({detail}); mend its permissions, or set STEADFAST_CACHE to a directory of yours.",
  },
  KERNEL_CONFIG_LOST: {
    exit: 5,
    text: "The kernel's source does not keep {lines}: it refuses or does not know the option, or another one decides it; correct that line of the configuration.",
  },
  IMAGE_ALTERED: {
    exit: 5,
    text: "The files of the image {image} were altered or cannot be read: they do not give its digest. `steadfast image build` makes an image of a recipe anew; of others remove the directory, which is named by the digest, and get them again.",
  },
  IMAGE_COMMAND_LINE: {
    exit: 5,
    text: "The server file adds words to the kernel command line that no certificate covers ({words}); leave image.commandLine out, make them part of a certified change, or start the server with --uncertified and a reason.",
  },
  ARBITER_RECORD: {
    exit: 4,
    text: "The configuration record {path} is damaged; stop the server and remove its arbiter directory: configurations are then counted anew.",
  },
  MIRROR_UNUSABLE: {
    exit: 3,
    text: "The disk mirror in {directory} cannot be used ({why}); mend its disk or permissions, or remove the directory: it is filled again.",
  },
  MKFS_MISSING: {
    exit: 3,
    text: "The disk is to be formatted, and mkfs.ext4 is not there; install it (apt-get install e2fsprogs), or set disk.format to none in the server file.",
  },
  MKFS_FAILED: { exit: 3, text: "The disk could not be formatted ({path}: {why})." },
  DISK_NONE: { exit: 4, text: "Server {server} has no disk; stop it and start it with --disk SIZE to give it one." },
  DISK_ACTION_UNKNOWN: { exit: 2, text: "There is nothing like {action} to do with a disk: write grow or scrub." },
  DISK_GROWTH: {
    exit: 2,
    text: "The disk cannot grow to {size} bytes: it has {present}, and more than that, whole blocks of 4096 and at most {most} is wanted.",
  },
  QEMU_IMG_MISSING: { exit: 3, text: "qcow2 files need qemu-img; install it (apt-get install qemu-utils), or use a raw file." },
  MIRROR_BUSY: { exit: 4, text: "Another process uses the disk mirror in {directory}; stop the server that does, then try again." },
  MIRROR_EXISTS: { exit: 2, text: "{directory} holds a mirror of disk {disk} already; choose another directory, or remove that one." },
  MIRROR_BLANK: { exit: 2, text: "{directory} holds no disk mirror; give the directory of one." },
  DISK_SIZE: { exit: 2, text: "{size} bytes are not a size for a disk; it has a multiple of 4096 bytes, up to {most}." },
  DISK_FILE: { exit: 3, text: "{path} cannot be read or written ({why}); check the path, its permissions and the space there." },
  DISK_DAMAGED: {
    exit: 4,
    text: "{count} blocks of the mirror in {directory} are damaged, the first is {block}; use another mirror, or let the server repair it.",
  },
  MACHINE_FILE: {
    exit: 5,
    text: "The machine cannot read {path} ({why}); check the path given as kernel or initrd, or run `steadfast image build`.",
  },
  SERVER_NAME: { exit: 2, text: "{name} cannot name a server; use 1 to 32 small letters, digits and hyphens, beginning with a letter." },
  SERVER_CHOOSE: { exit: 2, text: "Several servers run here ({names}); say which one with --server NAME." },
  SERVER_NOT_RUNNING: { exit: 4, text: "No server named {server} is running; start it with `steadfast up --name {server}`." },
  SERVER_UNMANAGED: {
    exit: 4,
    text: "Server {server} runs on without management modules; `steadfast up --name {server}` starts them again without an interruption, `steadfast down --server {server}` stops it.",
  },
  SERVER_FORBIDDEN: { exit: 3, text: "Server {server} belongs to another user; run this command as that user or as root." },
  SERVER_ENDED: { exit: 4, text: "Server {server} ended while it was starting; `steadfast events --server {server}` tells why." },
  MANAGEMENT_LOST: {
    exit: 4,
    text: "The management modules of server {server} are gone, its other modules serve on; `steadfast up --name {server}` starts management again, `steadfast down --server {server}` stops the server.",
  },
  START_FAILED: { exit: 3, text: "The server's management module did not start; its log {log} tells why." },
  NOT_THERE_YET: {
    exit: 4,
    text: "Server {server} is not there yet after {seconds} s: {standing}; it goes on, see `steadfast status --server {server}`.",
  },
  SERVER_FILE_UNREADABLE: { exit: 2, text: "The server file {file} cannot be read ({why}); give the path of a readable file." },
  SERVER_FILE_WRONG: { exit: 2, text: "{file}, line {line}: {problem}." },
  MEMORY_RANGE: { exit: 2, text: "--memory {memory} is out of range; a guest has {minimum} to {maximum} MiB." },
  NO_TERMINAL: { exit: 2, text: "This view needs a terminal; without one say --once, or `steadfast status --json`." },
  SUPPORT_NOTHING: {
    exit: 4,
    text: "Nothing is known of a server named {server} ({path} is not there); say which one with --server NAME.",
  },
  SUPPORT_CONFIG: { exit: 2, text: "The support file {file} is wrong: {problem}; docs/how-to/support.md shows one." },
  SUPPORT_FILE: { exit: 3, text: "{path} cannot be written ({why}); choose another file with --out." },
  PLAN_FILE: { exit: 3, text: "The support plan {path} is damaged; put it back from a backup, or remove it and purchase anew." },
  PLAN_LEVEL: { exit: 2, text: "There is no support level {value}; take standard, enhanced or premium." },
  PLAN_DATE: { exit: 2, text: "{option} is {value}; write a day such as 2029-12-31." },
  PLAN_CONTACT: { exit: 2, text: "--contact is longer than {limit} characters or has control characters in it; write one short line." },
  PLAN_WARRANTY_EMPTY: { exit: 2, text: "A warranty until {until} is over before it begins; name a later day with --until." },
  PLAN_THERE: {
    exit: 4,
    text: "Server {server} has a support plan already ({path}), and it is set only once; `steadfast support plan upgrade` raises it.",
  },
  PLAN_NONE: { exit: 4, text: "Server {server} has no support plan; set what was bought with `steadfast support plan purchase`." },
  PLAN_LOWER: { exit: 4, text: "The support plan is {present} and can only be raised, not set to {level}." },
  PLAN_WARRANTY: {
    exit: 4,
    text: "The warranty of server {server} {why}, and a support plan is raised only while it runs; ask the vendor for a new one.",
  },
  INSTALL_ROOT: { exit: 3, text: "Only root may change what starts at boot; run this as root, or say --print to see the unit." },
  SYSTEMD_MISSING: {
    exit: 3,
    text: "systemd does not run on this host, so that nothing would start the unit at boot; say --print and give it to what does.",
  },
  SYSTEMD_FAILED: { exit: 3, text: "`{command}` failed ({why}); `systemctl status {unit}` tells more." },
  UNIT_MISSING: { exit: 4, text: "No unit of server {server} is installed ({path}); `steadfast install --name {server}` installs one." },
  PACKAGES_MISSING: { exit: 3, text: "Debian packages are missing; run: {line}" },
  ...CHANGE_ERRORS,
} as const satisfies Record<string, ErrorEntry>;

export type ErrorCode = keyof typeof ERRORS;

/** An operating error: expected, explained in one sentence, with a stable code. */
export class SteadfastError extends Error {
  readonly code: ErrorCode;
  readonly exit: number;

  constructor(code: ErrorCode, parameters: Readonly<Record<string, string | number>> = {}) {
    const entry: ErrorEntry = ERRORS[code];
    super(entry.text.replace(/\{(\w+)\}/g, (_, name: string) => String(parameters[name] ?? `{${name}}`)));
    this.name = "SteadfastError";
    this.code = code;
    this.exit = entry.exit;
  }
}
