/** A change that an operator brings to a server that runs: its package, its certificate and the image that it makes, put where the server looks. */
import { buildChangedImage } from "../certification/build-changed.js";
import { encodePackage, readLimited, type ChangePackage } from "../certification/change-package.js";
import { decodeEnvelope, type Envelope } from "../certification/dsse.js";
import { ENVELOPE_BYTES_LIMIT } from "../certification/limits.js";
import { verifyCertificate } from "../certification/verify.js";
import { SteadfastError } from "../foundation/errors.js";
import { makeDirectory, replaceDurably } from "../image/files.js";
import { cachePaths } from "../image/paths.js";
import { readImages, type ImageRecord } from "../image/store.js";
import { certificateStore, keyStore } from "../modules/certificates-on-host.js";
import { packageDirectory, packageFile } from "../modules/change-records.js";
import type { ChangeRequest } from "../modules/management-change.js";
import type { ServerClient } from "./client.js";
import { withProgress } from "./image.js";
import type { ServerFlags } from "./server-choice.js";

export interface TargetFlags extends ServerFlags {
  readonly certificate?: string;
  readonly uncertified?: string;
}

/** A certificate that holds here and now, for this change on this base; the digest of the image that it is for. */
function certifiedImage(envelope: Envelope, change: ChangePackage): string {
  const keys = keyStore();
  const expected = { imageDigest: null, changeDigest: change.digest, base: change.manifest.base.sha256, policyDigest: null };
  const trust = { trustedKeys: keys.trusted(), revocations: keys.revoked(), threshold: 1 };
  const outcome = verifyCertificate({ envelope, ...trust, nowMs: Date.now(), expected });
  if (!outcome.ok) throw outcome.reason;
  return outcome.statement.subject[0].digest.sha256;
}

async function targetImage(change: ChangePackage, certified: string | null): Promise<ImageRecord> {
  const base = change.manifest.base.sha256;
  const isOfChange = ({ provenance, digest }: ImageRecord): boolean =>
    provenance?.base === base && provenance.change === change.digest && (certified === null || certified === digest);
  const found = readImages(cachePaths()).find(isOfChange) ?? (await withProgress((hooks) => buildChangedImage(change, hooks)));
  if (certified !== null && found.digest !== certified)
    throw new SteadfastError("CERTIFICATE_OTHER_IMAGE", { certified, wanted: found.digest });
  return found;
}

/** @throws SteadfastError what can be refused before the server is asked */
export async function broughtChange(client: ServerClient, change: ChangePackage, file: string, flags: TargetFlags): Promise<ChangeRequest> {
  const envelope = flags.certificate === undefined ? null : decodeEnvelope(readLimited(flags.certificate, ENVELOPE_BYTES_LIMIT));
  const image = await targetImage(change, envelope === null ? null : certifiedImage(envelope, change));
  if (envelope !== null) certificateStore().install(image.digest, envelope);
  makeDirectory(packageDirectory(client.paths));
  replaceDurably(packageFile(client.paths, change.digest), encodePackage(change.manifest, change.contents, file));
  return {
    ...{ image: image.digest, change: change.digest },
    ...(flags.uncertified !== undefined && { uncertified: flags.uncertified }),
  };
}

/** @throws SteadfastError CHANGE_NOT_FOR_SERVER */
export async function demandBase(client: ServerClient, { manifest: { base } }: ChangePackage): Promise<void> {
  const { running } = await client.changes();
  if (base.sha256 !== running) throw new SteadfastError("CHANGE_NOT_FOR_SERVER", { base: base.sha256, running });
}
