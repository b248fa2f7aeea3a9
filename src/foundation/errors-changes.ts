/** The part of the error registry (errors.ts) that is about changes to the guest: packages, keys, certificates, policies, the programme. */
export const CHANGE_ERRORS = {
  QUALIFICATION_MACHINE: { exit: 4, text: "A machine in a process of its own (Node {node}) did not come to an end: {why}." },
  CHANGE_NOT_FOR_IMAGE: {
    exit: 2,
    text: "The change {file} is for the base {named}, and not for {given}; make it anew for that base with `steadfast change create --base`.",
  },
  QUALIFICATION_STATE: { exit: 4, text: "The suite's server {server} did not {what}." },
  PROGRAMME_QUEUE_FULL: { exit: 4, text: "{limit} changes wait for their qualification, the most there can be; hand it in again later." },
  PROGRAMME_SHARE_FULL: {
    exit: 4,
    text: "{limit} changes of yours wait or run, the most that one submitter can have; cancel one, or hand it in again later.",
  },
  PROGRAMME_CATALOGUE_FULL: {
    exit: 4,
    text: "The catalogue has room for {limit} certified changes, and there is none left; its operator has to remove old ones.",
  },
  PROGRAMME_STORE_FULL: {
    exit: 4,
    text: "The packages that are kept would be more than {limit} bytes; the operator of the programme has to remove old ones.",
  },
  PROGRAMME_BUSY: {
    exit: 4,
    text: "Another `steadfast certify serve` uses the directory {directory}; end it, or choose another directory.",
  },
  PROGRAMME_STORE: {
    exit: 3,
    text: "The programme's directory {directory} cannot be used ({why}); mend its permissions or its disk, or remove the file that is named.",
  },
  PROGRAMME_NOTHING: { exit: 4, text: "The programme has no {what}; `steadfast certify catalogue` shows what is certified." },
  PROGRAMME_UNREACHABLE: {
    exit: 4,
    text: "The programme at {url} does not answer ({why}); check the address, and the fingerprint if you gave one.",
  },
  PROGRAMME_ADDRESS: { exit: 2, text: "{url} is no address of a programme; write it as https://HOST:PORT." },
  SUBMISSION_THERE: { exit: 4, text: "This change waits or runs already, as submission {id}; follow that one." },
  SUBMISSION_UNKNOWN: { exit: 4, text: "There is no submission {id}; `steadfast certify status` shows those that there are." },
  SUBMISSION_ENDED: { exit: 4, text: "Submission {id} has ended already ({state}), and cannot be cancelled." },
  SUBMISSION_OTHERS: { exit: 4, text: "Submission {id} is {submitter}'s; nobody else may cancel it." },
  SUBMISSION_DIGEST: { exit: 2, text: "What arrived has the digest {arrived} and not {wanted}; send the package again." },
  SUBMISSION_CUT: { exit: 4, text: "The package did not arrive whole; send it again." },
  SUBMISSION_UNCHECKED: { exit: 4, text: "The package could not be looked at ({why}); send it again later." },
  CHANGE_UNREADABLE: { exit: 2, text: "{file} cannot be read ({detail}); give the path of a readable file or directory." },
  CHANGE_WRONG: { exit: 2, text: "The change {file} is wrong: {where} {problem}." },
  CHANGE_EMPTY: { exit: 2, text: "The change {file} changes nothing; add packages, files, services, a kernel or settings to it." },
  CHANGE_PATH: { exit: 2, text: "The change {file} cannot bring {path}: it {problem}." },
  CHANGE_BASE: { exit: 2, text: "{base} is no digest of a base image; give the 64 hexadecimal digits that `steadfast image ls` shows." },
  CHANGE_BASE_UNKNOWN: {
    exit: 5,
    text: "There is no image {base} on this host; build it first, or make the change anew for one that `steadfast image ls` shows.",
  },
  CHANGE_NOT_FOR_SERVER: {
    exit: 5,
    text: "The change is for the image {base}, and the server runs {running}; make it anew with --base {running}.",
  },
  CHANGE_NOT_THAT: {
    exit: 5,
    text: "What was asked for is the change {wanted}, and what is there is of {found}; install it from its package.",
  },
  CHANGE_IMAGE_UNKNOWN: { exit: 5, text: "There is no image {image} on this host; `steadfast change build` makes it." },
  CHANGE_NEEDS_START: {
    exit: 4,
    text: "The change is about {what}, which a running guest cannot change: `steadfast change upgrade --server {server}` tries it beside the guest and starts that anew with it.",
  },
  CHANGE_NOT_LIVE: {
    exit: 4,
    text: "The change cannot be installed on a running guest: {what}; build it with `steadfast change build` and start the server with the new image.",
  },
  CHANGE_UNDER_WAY: {
    exit: 4,
    text: "Another installation or upgrade is under way, or not committed yet; `steadfast change status` tells how far it is.",
  },
  UPGRADE_NONE: { exit: 4, text: "No upgrade of server {server} is under way; `steadfast change upgrade FILE` begins one." },
  UPGRADE_PHASE: { exit: 4, text: "There can be no {what} now (phase {phase}); `steadfast change status` tells what can be." },
  UPGRADE_NOT_WHOLE: {
    exit: 4,
    text: "An upgrade of server {server} needs all its modules in lockstep and, if it has a disk, two mirrors in sync; see `steadfast status --server {server}`.",
  },
  UPGRADE_NAME_TAKEN: {
    exit: 4,
    text: "A server {name} has files on this host, and an upgrade would be tried under that name; remove what is left of it.",
  },
  UPGRADE_NO_ROOM: { exit: 4, text: "An upgrade needs {needed} MiB of {what}, and {free} are free; make room." },
  UPGRADE_DISK_SIZE: {
    exit: 4,
    text: "The change is about the size of the disk, which an upgrade leaves as it is; `steadfast disk grow --server {server}` makes it larger while the guest runs.",
  },
  UPGRADE_ENDED: { exit: 4, text: "The upgrade to the change {name} ended otherwise ({outcome}): {why}." },
  UPGRADE_NO_FORMER_DISK: {
    exit: 4,
    text: "The disk of server {server} as it was at the cutover was not kept; roll back on the present one, without --former-disk.",
  },
  CHANGE_GUEST_NOT_READY: {
    exit: 4,
    text: "The guest of server {server} is not ready, so nothing is installed; `steadfast status` tells how it is.",
  },
  CHANGE_NOTHING_INSTALLED: { exit: 4, text: "The server runs the image {running}, to which no change led that could be taken back." },
  CHANGE_NOT_INSTALLED: { exit: 5, text: "The change {name} was not {what} ({outcome}): {why}." },
  CHANGE_BASE_OPAQUE: {
    exit: 5,
    text: "The image {base} was not built from a recipe, or by an earlier version, so nothing tells what it consists of; build it with `steadfast image build`.",
  },
  CHANGE_BASE_DIFFERENT: {
    exit: 5,
    text: "The image {base} does not consist of what its record says; remove its directory and build it again.",
  },
  CHANGE_PACKAGE_UNKNOWN: {
    exit: 2,
    text: "The change {change} adds {package}, which Debian 13 for riscv64 does not have in that version; correct its name or version.",
  },
  CHANGE_PACKAGE_ABSENT: {
    exit: 2,
    text: "The change {change} removes {package}, which its base image does not have in that version; take it out of the change.",
  },
  CHANGE_PACKAGE_NEEDED: {
    exit: 2,
    text: "The change {change} removes {package}, on which {needers} depends; remove that too, or keep both.",
  },
  CHANGE_PACKAGES_CONFLICT: {
    exit: 2,
    text: "The packages of the change {change} cannot be in one image with its base ({detail}); choose other versions, or remove what is in the way.",
  },
  CHANGE_PACKAGE_WRONG: {
    exit: 2,
    text: "{package} of the change {change} cannot be used ({detail}); bring a Debian package for riscv64 or all.",
  },
  CHANGE_ABSENT: { exit: 2, text: "The change {change} removes {what}, which its base image does not have; take it out of the change." },
  CHANGE_FILE_NEEDED: {
    exit: 2,
    text: "The change {change} removes {path}, which a guest or a program that stays cannot do without; take it out of the change.",
  },
  CHANGE_SERVICE_PROGRAM: {
    exit: 2,
    text: "After the change {change} the service {service} would lack its program {program}; bring it along, or remove the service.",
  },
  CHANGE_KERNEL: { exit: 2, text: "The change {change} cannot configure the kernel: {problem}." },
  CHANGE_LOCK: { exit: 2, text: "{file} is not the lock of this change on this base ({problem}); write it anew with --write-lock." },
  CHANGE_RECIPES: { exit: 2, text: "No change can lead to the recipe {file}: {problem}." },
  CHANGE_DAMAGED: { exit: 2, text: "The change package {file} is damaged or was tampered with: {problem}; get it again." },
  CHANGE_TOO_LARGE: { exit: 2, text: "{what} is larger than {limit} bytes, the most there can be; make it smaller." },
  CHANGE_OUT: { exit: 3, text: "{file} cannot be written ({why}); check the path, its permissions and the space there." },
  POLICY_UNREADABLE: { exit: 2, text: "The policy {file} cannot be read ({detail}); give the path of a policy file." },
  POLICY_WRONG: { exit: 2, text: "The policy {file} is wrong: {where} {problem}." },
  POLICY_IMAGE: { exit: 5, text: "The file system of the image {image} cannot be read ({why}); build it with `steadfast image build`." },
  KEY_NAME: { exit: 2, text: "{name} cannot name a key; use 1 to 64 small letters, digits, hyphens and underscores." },
  KEY_EXISTS: { exit: 2, text: "There is a key named {name} already; choose another name." },
  KEY_UNKNOWN: { exit: 2, text: "There is no key {key}; `steadfast keys list` shows names and key ids." },
  KEY_FILE: { exit: 2, text: "{file} is not the key it should be ({why}); give an Ed25519 key as PEM." },
  KEY_REVOKED: { exit: 2, text: "The key {key} was revoked here, which is for good; use another one." },
  KEY_DIRECTORY: { exit: 3, text: "The keys in {directory} cannot be written ({why}); mend its permissions, or set STEADFAST_STATE." },
  CERTIFICATE_MISSING: {
    exit: 5,
    text: "No certificate for the image {image} is on this host; `steadfast certificate install FILE` brings one, or start the server with --uncertified and a reason.",
  },
  CERTIFICATE_STORE_FULL: { exit: 3, text: "There are too many certificates in {directory}; remove those that hold no longer." },
  CERTIFICATES_UNREADABLE: { exit: 3, text: "Certificates and keys cannot be read ({why}); mend the permissions of their directories." },
  UNCERTIFIED_REASON: { exit: 2, text: "--uncertified needs a reason of 1 to {limit} characters in one line: why this image may run." },
  CERTIFICATE_WRONG: { exit: 2, text: "This is no certificate of a change: {problem}." },
  CERTIFICATE_THRESHOLD: { exit: 2, text: "{threshold} is no number of signers; give a whole number from 1 on." },
  CERTIFICATE_FORGED: { exit: 5, text: "The certificate is forged or damaged: it bears a wrong signature of the key {key}; get it again." },
  CERTIFICATE_REVOKED: { exit: 5, text: "The certificate is signed by the key {key}, which was revoked; have it signed by another one." },
  CERTIFICATE_BELOW_THRESHOLD: {
    exit: 5,
    text: "The certificate has {count} of the {threshold} signatures of trusted keys that it needs; have it signed, or trust its signers with `steadfast keys trust`.",
  },
  CERTIFICATE_EXPIRED: { exit: 5, text: "The certificate expired at {time}; qualify the change again." },
  CERTIFICATE_EARLY: { exit: 5, text: "The certificate is issued only at {time}; check the clock of this host." },
  CERTIFICATE_OTHER_IMAGE: { exit: 5, text: "The certificate is for the image {certified}, not for {wanted}; get the one for that image." },
  CERTIFICATE_OTHER_CHANGE: {
    exit: 5,
    text: "The certificate is for the change {certified}, not for {wanted}; get the one for that change.",
  },
  CERTIFICATE_OTHER_BASE: {
    exit: 5,
    text: "The certificate is for the base {certified}, not for {wanted}; qualify the change on that base.",
  },
  CERTIFICATE_OTHER_POLICY: {
    exit: 5,
    text: "The certificate was issued under the policy {certified}, not under {wanted}; qualify the change under that policy.",
  },
  CERTIFICATE_PARTIAL: {
    exit: 5,
    text: "The certificate is of some checks only ({checks}), by which no server runs an image; have the change qualified whole, or verify with --partial.",
  },
  CERTIFICATE_FAILED_VERDICT: {
    exit: 5,
    text: "The certificate says that the change failed its qualification ({checks}); mend the change.",
  },
} as const;
