import { guestPower, type Confirmation } from "../view/actions.js";
import { certificationCard, guestHeadline, headline, supportText } from "../view/chassis.js";
import { durationText } from "../view/duration.js";
import { formatNumber } from "../view/history.js";
import type { ReportView } from "../view/report.js";
import { Lamp } from "./lamp.js";

interface StatusBandProps {
  readonly report: ReportView;
  /** Null: whoever looks may not operate. */
  readonly confirm: ((confirmation: Confirmation) => void) | null;
}

export function StatusBand({ report, confirm }: StatusBandProps) {
  const server = headline(report);
  return (
    <section class="status-band" aria-labelledby="status-title">
      <h2 id="status-title" class="sr-only">
        Status
      </h2>
      <div class={`display is-${server.lamp}`} data-redundancy={report.redundancy}>
        <p class="display-label">Redundancy</p>
        <p class="display-word">
          <Lamp kind={server.lamp} />
          {server.word}
        </p>
        <p class="display-sentence">{server.sentence}</p>
      </div>
      <Guest report={report} confirm={confirm} />
      <Counters report={report} />
      <Certification report={report} />
    </section>
  );
}

function addressText(report: ReportView): string {
  if (report.address !== "") return report.address;
  if (report.network === "none") return "no network";
  const ports = report.published.map(({ hostPort, guestPort, protocol }) => `${hostPort}→${guestPort}/${protocol}`);
  return ports.length === 0 ? "no port published" : ports.join(", ");
}

function Guest({ report, confirm }: StatusBandProps) {
  const guest = guestHeadline(report);
  const { panics, hangs, restarts, serviceFailures } = report.guestFaults;
  const ownFaults = panics + hangs + restarts + serviceFailures;
  const down = Object.keys(report.guestServices).filter((name) => report.guestServices[name] === "down");
  return (
    <div class="guest plate">
      <h3>Guest</h3>
      <p class="state">
        <Lamp kind={guest.lamp} />
        <strong>{guest.word.toUpperCase()}</strong>
      </p>
      <p class="note">{guest.sentence}</p>
      {down.length > 0 && <p class="note">Down now: {down.join(", ")}.</p>}
      <dl class="facts">
        <Fact label="Address" value={addressText(report)} />
        <Fact label="Image" value={report.image.name} />
        <Fact label="Kernel" value={report.image.kernelRelease === "" ? report.engine : report.image.kernelRelease} />
        <Fact label="Memory" value={`${report.memoryMiB} MiB`} />
        <Fact
          label="Own faults"
          value={ownFaults === 0 ? "none" : `${panics} panics, ${hangs} hangs, ${restarts} restarts, ${serviceFailures} services lost`}
        />
      </dl>
      {confirm !== null && (
        <div class="module-buttons">
          <button type="button" onClick={() => confirm(guestPower("off"))}>
            Power button
          </button>
          <button type="button" onClick={() => confirm(guestPower("reset"))}>
            Power-cycle
          </button>
        </div>
      )}
    </div>
  );
}

function Fact({ label, value }: { readonly label: string; readonly value: string }) {
  return (
    <div>
      <dt>{label}</dt>
      <dd>{value}</dd>
    </div>
  );
}

function Counters({ report }: { readonly report: ReportView }) {
  const { counters, disk } = report;
  const support = supportText(report, (ms) => new Date(ms).toISOString().slice(0, 10));
  return (
    <div class="counters plate">
      <h3>Counters</h3>
      <dl class="facts">
        <Fact label="Up" value={durationText(report.uptimeMs)} />
        <Fact label="Configuration" value={formatNumber(report.configuration)} />
        <Fact label="Committed tick" value={formatNumber(report.committed)} />
        <Fact label="Reintegrations" value={`${counters.reintegrations} (last hold ${formatNumber(counters.lastHoldMs)} ms)`} />
        <Fact label="Miscompares" value={formatNumber(counters.miscompares)} />
        <Fact label="Outages" value={formatNumber(counters.outages)} />
        <Fact
          label="Checkpoints"
          value={`${formatNumber(counters.checkpoints)} (worst hold ${formatNumber(counters.worstCheckpointHoldMs)} ms)`}
        />
        <Fact label="Frames dropped" value={formatNumber(counters.droppedFrames)} />
        {support !== null && <Fact label="Support" value={support} />}
        {disk !== null && <Fact label="Disk errors" value={formatNumber(disk.counters.errors)} />}
        {disk !== null && <Fact label="Blocks repaired" value={formatNumber(disk.counters.repairedBlocks)} />}
      </dl>
    </div>
  );
}

/** Only of servers that say something of it. */
function Certification({ report }: { readonly report: ReportView }) {
  const card = certificationCard(report);
  if (card === null) return null;
  return (
    <div class="certification plate">
      <h3>Certified changes</h3>
      <p class="state">
        <Lamp kind={card.lamp} />
        <strong>{card.word.toUpperCase()}</strong>
      </p>
      <dl class="facts">
        {card.details.map(([label, value]) => (
          <Fact key={label} label={label} value={value} />
        ))}
      </dl>
    </div>
  );
}
