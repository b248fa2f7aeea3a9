/**
 * Stable codes of the events that management and the network ports tell of; those of the lockstep and of the disk stand beside their
 * rooms. `src/view/explanations.ts` has a plain-language explanation for each, which the compiler insists on.
 */
export type ManagementEventCode =
  | "CERTIFICATE_EXPIRED"
  | "CERTIFIED_AGAIN"
  | "FAULT_DRILL"
  | "GUEST_AGENT_HEARD"
  | "GUEST_AGENT_SILENT"
  | "GUEST_ANSWERS"
  | "GUEST_HUNG"
  | "GUEST_POWERED_OFF"
  | "GUEST_REACHABLE"
  | "GUEST_READY"
  | "GUEST_RESTARTED"
  | "GUEST_RESTARTS_USED_UP"
  | "GUEST_SERVICE_DOWN"
  | "GUEST_SERVICE_UP"
  | "IMAGE_ALTERED"
  | "IMAGE_REFUSED"
  | "LEFTOVERS_REMOVED"
  | "MANAGEMENT_TAKEOVER"
  | "MISCOMPARE_REPORT"
  | "MISCOMPARE_REPORT_FAILED"
  | "MODULE_BROKEN"
  | "MODULE_CLEARED"
  | "MODULE_ENDED"
  | "MODULE_INSERTED"
  | "MODULE_PULLED"
  | "MODULE_SHOT"
  | "OUTAGE"
  | "POWER"
  | "RECORDING_CUT"
  | "RECORDING_ENDED"
  | "RECORDING_STARTED"
  | "REDUNDANCY_CHANGED"
  | "SERVER_STARTED"
  | "SERVER_STOPPED"
  | "UNCERTIFIED";

export type NetworkEventCode = "USER_NETWORK_DOWN" | "USER_NETWORK_UP";
