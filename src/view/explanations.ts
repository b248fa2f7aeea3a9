/** What each event means and what to do about it, for a reader who did not build the server. */
import type { EventCode as LockstepEventCode } from "../lockstep/server-types.js";
import type { ManagementEventCode, NetworkEventCode } from "../wire/event-codes.js";

export interface Explanation {
  readonly title: string;
  /** What happened, and what it means for the guest. */
  readonly meaning: string;
  /** Empty: nothing is to be done. */
  readonly advice: string;
}

export type KnownEventCode = LockstepEventCode | ManagementEventCode | NetworkEventCode;

const NOTHING = "";
const REPLACED = "Nothing: it is replaced by itself. If it comes back again and again, look at the host that the enclosure stands for.";
const GUEST_SOFTWARE = "No module is to blame. Look into the guest: its console and its own logs.";

function explained(title: string, meaning: string, advice: string = NOTHING): Explanation {
  return { title, meaning, advice };
}

const CPU_EVENTS = {
  ADJUDICATION_STARTED: explained(
    "Finding out who is wrong",
    "The CPU modules disagree and no majority tells who is right. A third machine runs the same steps again from the last verified checkpoint. The guest waits until it is decided.",
  ),
  CHECKPOINT_FAILED: explained(
    "A checkpoint could not be kept",
    "Without a fresh checkpoint a later disagreement may not be provable.",
    "Look whether the disk of the run directory is full.",
  ),
  CHECKPOINT_VERIFIED: explained("A checkpoint is verified", "All CPU modules agreed on the complete state of the guest at this step."),
  CONFIGURATION: explained(
    "A new membership is in force",
    "From here on exactly these CPU modules count. It changes whenever one is lost or comes back.",
  ),
  JUDGE_PROMOTED: explained(
    "The judge carries on",
    "No module in lockstep was right or left, so the machine that ran the steps again became the guest's. The guest went on.",
    "Wait for the modules to come back.",
  ),
  MEMORY_DAMAGED: explained(
    "Memory changed by itself",
    "The module found a page of the guest's memory changed that nobody had written: a flipped bit.",
    "Nothing, once. If it happens again on the same host, test the memory of that host.",
  ),
  MISCOMPARE: explained(
    "A module computed wrongly",
    "Its result differs from what is proven right. It was isolated before anything wrong left the server; the guest went on without it.",
    "Nothing, once: it is replaced. If the same module is blamed again, suspect its host's processor or memory.",
  ),
  MISCOMPARE_UNADJUDICATED: explained(
    "Modules disagree, and nothing proves who is right",
    "There was no checkpoint to run again from, so the module with the worse record was isolated. The guest went on with the other, which may be the wrong one.",
    "Check the guest's data if it matters to you, and see the miscompare report.",
  ),
  MODULE_HUNG: explained("A module hangs", "It did not answer in time. It is isolated and replaced; the others carry on.", REPLACED),
  MODULE_LOST: explained("A module is lost", "Its connection closed. The others carry on without it.", REPLACED),
  MODULE_RETIRED: explained("A module left the membership", "It is not wanted any more: it was pulled, or the redundancy was changed."),
  MODULE_STALE: explained("A module came back too late", "Its state is no longer the others'. It is started again and gets an exact copy."),
  NEWCOMER_PROMOTED: explained(
    "A newcomer became the only one",
    "Its donor was lost at the end of its copy, which was complete. The guest goes on with it.",
    "Wait for the other module to come back.",
  ),
  OUTAGE: explained(
    "The guest stopped",
    "Nothing was left that could carry it on. It is powered on again as soon as possible, as after a power cut: what it had not written is gone.",
    "Read the events before this one: they say which modules were lost, and why.",
  ),
  PAIR_DROPPED: explained(
    "A pair dropped out",
    "Its two modules disagreed with each other. The other pair carries on; both come back.",
    REPLACED,
  ),
  REINTEGRATED: explained(
    "A module is back in lockstep",
    "It got an exact copy of the guest while that went on, and computes along from here.",
  ),
  REINTEGRATION_CAPTURED: explained("The exact image is taken", "The donor held the guest for a moment to send the last of its memory."),
  REINTEGRATION_FAILED: explained(
    "A module could not be brought back",
    "Its copy did not end well. The guest is not touched; it is tried again.",
    REPLACED,
  ),
  REINTEGRATION_STARTED: explained(
    "A module is being brought back",
    "A running module copies the guest's memory to it while the guest goes on.",
  ),
  STALLED: explained(
    "No CPU module answers",
    "All of them have been silent for seconds and are started again.",
    "Look whether the host is overloaded.",
  ),
} as const;

const IO_EVENTS = {
  ARBITER_UNAVAILABLE: explained(
    "The arbiter does not answer",
    "It decides which membership counts. Until it answers the membership cannot change; the guest goes on as long as nothing fails.",
    "Look at the directory of the arbiter: is it there, is its disk full?",
  ),
  FENCED: explained(
    "An I/O module was overtaken",
    "Another one is in power. This one must not act any more and is started again.",
    REPLACED,
  ),
  IO_TAKEOVER: explained(
    "Another I/O module drives the guest",
    "The former one was lost or hung. The guest's connections go on.",
    REPLACED,
  ),
  RESUMED: explained("The new I/O module goes on", "It collected the steps that the CPU modules had kept and continues from there."),
  USER_NETWORK_DOWN: explained(
    "The guest's network is down",
    "passt, which carries the network without privileges, ended. It is started again.",
    "If it stays down, see the log of the I/O module.",
  ),
  USER_NETWORK_UP: explained("The guest's network is up", "passt runs again; connections from before are lost."),
} as const;

const DISK_EVENTS = {
  BLOCK_BAD: explained(
    "Blocks of a mirror are bad",
    "They could not be read or their checksum is wrong. The guest got them from the other mirror, and they are repaired.",
    "If there are more and more, replace the disk below this mirror.",
  ),
  BLOCK_LOST: explained(
    "A block has no good copy",
    "It is bad on every mirror: its data is gone.",
    "Restore the file that it belongs to from a backup.",
  ),
  BLOCK_REPAIRED: explained("Bad blocks are good again", "They were written anew from the good copy."),
  DISK_ERROR: explained(
    "A disk request failed",
    "The guest was told of an I/O error, or the disk could not grow.",
    "See the event's text, and the disks of the hosts.",
  ),
  DISK_GROWN: explained("The disk is larger", "The guest is asked to grow its file system as well."),
  DISK_WITHOUT_MIRROR: explained(
    "No mirror is left",
    "The guest's disk cannot be read or written; the guest waits.",
    "Bring an enclosure with a mirror that was in sync back.",
  ),
  MIRRORS_DIFFER: explained(
    "Two mirrors differed",
    "Both copies looked valid and were not the same, as after a cut-off write. One was copied over the other.",
    "If it was no takeover or restart, suspect a disk that loses writes.",
  ),
  MIRRORS_SETTLED: explained("The mirrors agree again", "Every place in which a write was cut off has been compared."),
  MIRROR_DROPPED: explained(
    "A mirror is out of sync",
    "The guest's disk goes on with the others; this one is brought in sync again when it is back.",
  ),
  MIRROR_FAILED: explained(
    "A mirror failed",
    "An error, or it was too slow. The other mirror carries on.",
    "See the disk below it if it fails again.",
  ),
  MIRROR_IN_SYNC: explained("A mirror is in sync", "It holds all that the others hold."),
  MIRROR_RECREATED: explained("A mirror begins anew", "It was empty or not of this disk and is copied from the start."),
  RESYNC_STARTED: explained("A mirror is being brought in sync", "What it missed is copied to it while the guest goes on."),
  RESYNC_STOPPED: explained("Bringing a mirror in sync was stopped", "It is tried again when the mirror is back.", REPLACED),
  SCRUB_DONE: explained("The disk was looked through", "Every block of every mirror was read and compared with its checksum."),
} as const;

const GUEST_EVENTS = {
  FILE_SYSTEM_GROWN: explained("The file system is larger", "It has the size that the disk was given."),
  FILE_SYSTEM_NOT_GROWN: explained(
    "The file system is as it was",
    "The disk is larger, but the guest did not make the file system on it larger: it could not, or could not be asked.",
    "Use what the guest's file system needs to grow (`resize2fs /dev/vda`, for example); nothing is lost meanwhile.",
  ),
  GUEST_AGENT_HEARD: explained("The guest's agent is heard again", "Its heartbeats come in again."),
  GUEST_AGENT_SILENT: explained(
    "The guest's agent is silent",
    "Its heartbeats do not come any more, but a service of the guest still answers, so the guest is not restarted.",
    GUEST_SOFTWARE,
  ),
  GUEST_ANSWERS: explained("The guest answers again", "It had given no sign of life."),
  GUEST_HUNG: explained("The guest hangs", "Nothing in it answers, on all modules alike.", GUEST_SOFTWARE),
  GUEST_PANIC: explained("The guest's kernel gave up", "It panicked, and is power-cycled.", GUEST_SOFTWARE),
  GUEST_POWERED_OFF: explained("The guest powered itself off", "The server stops with it."),
  GUEST_POWER_OFF: explained("The guest switches off", "It was asked to, by its own user or by the power button."),
  GUEST_REACHABLE: explained("The guest's network answers", "Its services may still be starting."),
  GUEST_READY: explained("The guest is ready", "Its network and services are up."),
  GUEST_RESET: explained("The guest restarts", "It asked for a reset itself."),
  GUEST_RESTARTED: explained("The guest is power-cycled", "It hung, and the server is set to restart it.", GUEST_SOFTWARE),
  GUEST_RESTARTS_USED_UP: explained("The guest is not restarted any more", "It hung too often within the hour.", GUEST_SOFTWARE),
  GUEST_SERVICE_DOWN: explained("A service of the guest is down", "Its port does not answer any more.", GUEST_SOFTWARE),
  GUEST_SERVICE_UP: explained("A service of the guest is up again", "Its port answers."),
  POWER: explained("The power button", "Somebody pressed it, or asked for a power cycle."),
  POWER_ON: explained("The guest is powered on", "It boots from its image."),
} as const;

const MANAGEMENT_EVENTS = {
  FAULT_DRILL: explained("A fault drill", "Somebody made this module fail on purpose. It does not count as a fault of the module."),
  LEFTOVERS_REMOVED: explained("Leftovers were removed", "An earlier run of this server had not ended cleanly."),
  MANAGEMENT_TAKEOVER: explained(
    "Another management module leads",
    "The former one was lost. The guest does not depend on it and was not touched.",
    REPLACED,
  ),
  MISCOMPARE_REPORT: explained(
    "The report of a miscompare",
    "It holds who claimed what at which step and by what proof one was blamed.",
    "Keep the file if you want to run the disagreement again: `steadfast replay`.",
  ),
  MISCOMPARE_REPORT_FAILED: explained(
    "A miscompare report could not be written",
    "What it says is in this event.",
    "Look whether the disk is full.",
  ),
  MODULE_BROKEN: explained(
    "A module failed too often",
    "It stays out, since starting it again and again would disturb the others. The server has less redundancy until then.",
    "Mend its host, then clear its faults.",
  ),
  MODULE_CLEARED: explained("A module's faults were cleared", "An operator says that it is good again."),
  MODULE_ENDED: explained(
    "A module's process ended",
    "It is started again unless it was pulled. Of one that was taken for hung it is told what its process did last: one that waited for a core, or from which the hypervisor kept it, was late because its host has too little to spare.",
    REPLACED,
  ),
  MODULE_INSERTED: explained("A module was inserted", "It starts, and gets an exact copy of the guest."),
  MODULE_PULLED: explained("A module was pulled", "It is held out until it is inserted again."),
  MODULE_SHOT: explained("A module was isolated", "Its process was ended, so that it can do no harm, and a new one is started.", REPLACED),
  RECORDING_CUT: explained("A recording was cut", "The management module that wrote it was lost.", "Start it again if you need it."),
  RECORDING_ENDED: explained("A recording ended", "Its file runs the guest's steps again, bit by bit."),
  RECORDING_STARTED: explained("A recording began", "Every step of the guest is written down from here."),
  REDUNDANCY_CHANGED: explained("The redundancy was changed", "More or fewer CPU modules carry the guest from here on."),
  SERVER_STARTED: explained("The server starts", "Its modules are started; the guest boots when one is ready."),
  SERVER_STOPPED: explained("The server stopped", "All modules have ended."),
} as const;

const CERTIFICATION_EVENTS = {
  CERTIFICATE_EXPIRED: explained(
    "The image's certificate has expired",
    "The server runs on. It does not start from this image again without a valid certificate.",
    "Have the change certified again, and install the new certificate.",
  ),
  CERTIFIED_AGAIN: explained("The server runs a certified image again", "A certificate that counts here covers what it runs."),
  CHANGE_INSTALLED: explained(
    "A change is installed",
    "The running guest has it, on all modules alike, and the next boot takes the changed image.",
  ),
  CHANGE_REFUSED: explained(
    "A change was not installed",
    "Something stood in its way before the guest was touched.",
    "See the event's text, mend it, and install again.",
  ),
  CHANGE_ROLLBACK_FAILED: explained(
    "A change could not be taken back",
    "The guest may have a part of it.",
    "Look into the guest, or power-cycle it: it boots the image that the server is recorded to run.",
  ),
  CHANGE_ROLLED_BACK: explained(
    "A change was taken back",
    "It did not work in the running guest, or somebody asked for it. The guest is as it was before.",
    "See the event's text for the reason.",
  ),
  CHANGE_STARTED: explained("A change is being installed", "Files go into the running guest; its services go on meanwhile."),
  IMAGE_ALTERED: explained(
    "The image on disk was altered",
    "The files that the guest was loaded from are not what was certified any more. The running guest is not touched by that.",
    "Find out who changed them, and put the image back: build or install it again.",
  ),
  IMAGE_REFUSED: explained(
    "The server did not start",
    "Its image is not covered by a certificate that counts here, or it was altered.",
    "Install the certificate, or start with a reason: `up --uncertified REASON`.",
  ),
  UNCERTIFIED: explained(
    "The server runs an uncertified image",
    "Nobody proved that this image keeps the fault tolerance. The reason that was given stands in the status.",
    "Have the change certified.",
  ),
} as const;

const UPGRADE_EVENTS = {
  UPGRADE_ABORTED: explained(
    "An upgrade was ended before it counted",
    "The server runs what it ran before. Nothing is left of the trial.",
    "If nobody asked for it, see the event's text, mend the change, and begin again.",
  ),
  UPGRADE_COMMITTED: explained("An upgrade was committed", "The server runs the change for good. What was kept for a way back is removed."),
  UPGRADE_CUTOVER: explained(
    "The guest is started anew for an upgrade",
    "It shuts down cleanly and starts with the change. Its users wait meanwhile; how long, the next event says.",
  ),
  UPGRADE_FAILED: explained(
    "An upgrade could not be taken back",
    "The guest was not well with the change, nor did it start without it.",
    "Look at its console; `steadfast power reset` starts it again.",
  ),
  UPGRADE_ROLLED_BACK: explained("An upgrade was taken back", "The guest was started again without the change."),
  UPGRADE_STARTED: explained(
    "A change is tried on a second server",
    "It boots on a copy of the disk. The server itself serves on; while the disk is copied it has one mirror less.",
  ),
  UPGRADE_TRIED: explained(
    "A change was healthy in its trial",
    "Its guest starts, and its services and checks are well. The server itself was not touched.",
    "`steadfast change cutover` starts the server with it; `steadfast change abort` leaves it.",
  ),
  UPGRADE_UNCOMMITTED: explained(
    "The server runs a change on trial",
    "The guest was started with it and is well. The way back stays open.",
    "`steadfast change commit` keeps it; `steadfast change rollback` takes it back.",
  ),
  UPGRADE_UNHEALTHY: explained(
    "An upgrade is taken back by itself",
    "The guest was not well after its start with the change.",
    "See the event's text for what was not well.",
  ),
} as const;

const EXPLANATIONS: Readonly<Record<KnownEventCode, Explanation>> = {
  ...CPU_EVENTS,
  ...IO_EVENTS,
  ...DISK_EVENTS,
  ...GUEST_EVENTS,
  ...MANAGEMENT_EVENTS,
  ...CERTIFICATION_EVENTS,
  ...UPGRADE_EVENTS,
};

export const EXPLAINED_CODES: readonly string[] = Object.keys(EXPLANATIONS);

/** A code that only a newer server knows has its text alone. */
export function explanationOf(code: string): Explanation {
  const known = Object.hasOwn(EXPLANATIONS, code) ? EXPLANATIONS[code as KnownEventCode] : undefined;
  return known ?? explained(code, "This console does not know this kind of event yet; its text says what happened.");
}
