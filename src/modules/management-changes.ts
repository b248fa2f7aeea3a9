/** All changes to a server's guest, as the API and the leader see them: those that are installed while it runs, and upgrades by a start. */
import type { UpgradeStanding } from "../view/upgrade.js";
import { ChangeInstaller, type ChangeHooks, type ChangeRequest, type InstallerView } from "./management-change.js";
import { ActiveUpgrade, type UpgradeOwnHooks, type UpgradeRequest, type UpgradeView } from "./management-upgrade.js";

export interface ChangeView extends InstallerView {
  /** The active upgrade under way; null: none is. */
  readonly upgrade: UpgradeView | null;
}

export interface RollbackRequest {
  readonly uncertified?: string | undefined;
  /** Of an upgrade: with the disk as it was at the cutover; what was written since is lost. */
  readonly formerDisk?: boolean | undefined;
}

interface Begun {
  readonly id: string;
}

type InstallerHooks = Omit<ChangeHooks, "isBusy">;
type UpgradeHooks = Omit<UpgradeOwnHooks, "isBusy" | "remember" | "boots" | "setBoots">;

export class Changes {
  readonly #installer: ChangeInstaller;
  readonly #upgrade: ActiveUpgrade;

  constructor(server: string, installing: InstallerHooks, upgrading: UpgradeHooks) {
    this.#installer = new ChangeInstaller({ ...installing, isBusy: () => this.#upgrade.isBusy });
    this.#upgrade = new ActiveUpgrade(server, {
      ...upgrading,
      isBusy: () => this.#installer.isBusy,
      remember: (past) => this.#installer.remember(past),
      boots: () => this.#installer.boots,
      setBoots: (boots) => this.#installer.setBoots(boots),
    });
  }

  get view(): ChangeView {
    return { ...this.#installer.view, upgrade: this.#upgrade.view };
  }

  /** The active upgrade under way; null: none is. */
  get standing(): UpgradeStanding | null {
    return this.#upgrade.standing;
  }

  /** The guest's power-off is wanted, and does not end the server. */
  get ownsPower(): boolean {
    return this.#upgrade.ownsPower;
  }

  install(request: ChangeRequest): Promise<Begun> {
    return this.#installer.install(request);
  }

  upgrade(request: UpgradeRequest): Promise<Begun> {
    return this.#upgrade.begin(request);
  }

  /** Of an upgrade: cutover, abort, commit. */
  upgradeStep(step: "cutover" | "abort" | "commit"): Begun {
    if (step === "cutover") return this.#upgrade.cutOver();
    return step === "abort" ? this.#upgrade.abort() : this.#upgrade.commit();
  }

  /** Of the upgrade that is not committed, or of the last change that was installed. */
  async rollback({ uncertified, formerDisk = false }: RollbackRequest): Promise<Begun> {
    if (this.#upgrade.isUncommitted || formerDisk) return this.#upgrade.rollback(formerDisk);
    return this.#installer.rollback(uncertified);
  }

  /** Before the disk is opened: an exchange of mirrors that was cut comes to its end. */
  finishDisk(): void {
    this.#upgrade.finishDisk();
  }

  resume(isSameGuest: boolean): void {
    this.#installer.resume(isSameGuest);
    this.#upgrade.resume(isSameGuest);
  }

  guestRestarted(): void {
    this.#installer.guestRestarted();
    this.#upgrade.guestRestarted();
  }

  /** The server ends. */
  async end(): Promise<void> {
    this.#installer.close();
    await this.#upgrade.end();
  }
}
