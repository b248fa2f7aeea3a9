/** Where certificates and keys of this host are, and what the gate needs of them. */
import { hostPublicKeys } from "../certification/base.js";
import { gate, type Decision, type GateFacts } from "../certification/gate.js";
import { KeyStore } from "../certification/keys.js";
import { CertificateStore } from "../certification/store.js";
import { cachePaths } from "../image/paths.js";
import { hostKeysDirectory, keysDirectory } from "./management-paths.js";

export function keyStore(): KeyStore {
  return new KeyStore(keysDirectory());
}

export function hostKeyStore(): KeyStore {
  return new KeyStore(hostKeysDirectory());
}

export function certificateStore(): CertificateStore {
  return new CertificateStore(cachePaths().certificates);
}

export function factsOnHost(imageDigest: string): Pick<GateFacts, "certificates" | "hostKeys" | "trustedKeys" | "revocations"> {
  const keys = keyStore();
  return {
    certificates: certificateStore()
      .find(imageDigest)
      .map(({ content }) => content),
    hostKeys: hostPublicKeys(hostKeyStore()),
    trustedKeys: keys.trusted(),
    revocations: keys.revoked(),
  };
}

/** What a server without demands of its own would say of an image whose files are as they should be. */
export function gateByDefaults(imageDigest: string, certificates?: GateFacts["certificates"]): Decision {
  const facts = factsOnHost(imageDigest);
  return gate({
    ...facts,
    certificates: certificates ?? facts.certificates,
    image: { digest: imageDigest, measured: imageDigest, extraCommandLine: "" },
    demands: { threshold: 1, keys: null, bases: null, policies: null },
    uncertified: null,
    nowMs: Date.now(),
  });
}
