/** Builds images, and gives those of this release's own recipes their base certificate. */
import { PACKAGE_VERSION } from "../api/version.js";
import { hostKey, signBase } from "../certification/base.js";
import { keyId } from "../certification/keys.js";
import { buildImage, releaseRecipe, type BuildOptions, type ImageRecord } from "../image/index.js";
import { certificateStore, gateByDefaults, hostKeyStore, keyStore } from "../modules/certificates-on-host.js";

/** Whether a server with the usual demands would run it, as far as certificates tell. */
export function isVouchedFor({ digest }: ImageRecord): boolean {
  return gateByDefaults(digest).allowed;
}

/**
 * Like buildImage. An image of this release's recipes that nobody vouches for is composed anew even if it is there, since this host can
 * only say of what it has just made that it made it.
 */
export async function buildCertified(options: BuildOptions): Promise<ImageRecord> {
  const recipe = releaseRecipe(options);
  if (recipe === undefined) return buildImage(options);
  const image = await buildImage({ ...options, accept: isVouchedFor });
  if (isVouchedFor(image)) return image;
  const key = hostKey(hostKeyStore(), keyStore().revoked());
  const facts = { imageDigest: image.digest, release: PACKAGE_VERSION, recipe, kernel: image.kernelKind, nowMs: Date.now() };
  certificateStore().installBase(image.digest, keyId(key), signBase(facts, key));
  return image;
}
