import { clearModule, insertTarget, pullEnclosure, pullModule, type Confirmation } from "../view/actions.js";
import { enclosureCards, type EnclosureCard, type MirrorCard, type ModuleCard, type Progress } from "../view/chassis.js";
import type { ModuleView, ReportView } from "../view/report.js";
import { Lamp } from "./lamp.js";

export interface Operator {
  /** Null: whoever looks may not operate. */
  readonly confirm: ((confirmation: Confirmation) => void) | null;
  readonly drill: (module: ModuleView) => void;
}

export function Chassis({ report, operator }: { readonly report: ReportView; readonly operator: Operator }) {
  return (
    <section class="chassis" aria-labelledby="chassis-title">
      <h2 id="chassis-title">Chassis</h2>
      <div class="rack">
        {enclosureCards(report).map((enclosure) => (
          <Enclosure key={enclosure.name} enclosure={enclosure} report={report} operator={operator} />
        ))}
      </div>
    </section>
  );
}

interface EnclosureProps {
  readonly enclosure: EnclosureCard;
  readonly report: ReportView;
  readonly operator: Operator;
}

function Enclosure({ enclosure, report, operator }: EnclosureProps) {
  const { name, modules, mirrors, isOut, safeToPull } = enclosure;
  const { confirm } = operator;
  return (
    <article class={isOut ? "enclosure is-out" : "enclosure"} aria-label={name}>
      <header class="ear">
        <h3>{name}</h3>
        <PullLight isSafe={safeToPull} isOut={isOut} />
        {confirm !== null && (
          <button type="button" onClick={() => confirm(isOut ? insertTarget(name) : pullEnclosure(enclosure))}>
            {isOut ? "Insert" : "Pull"} <span class="sr-only">all of {name}</span>
            <span aria-hidden="true">all</span>
          </button>
        )}
      </header>
      <ul class="slots">
        {modules.map((card) => (
          <Module key={card.module.name} card={card} report={report} operator={operator} />
        ))}
        {mirrors.map((mirror) => (
          <Mirror key={mirror.name} mirror={mirror} />
        ))}
      </ul>
    </article>
  );
}

/** The light that tells on real hardware whether one may pull. */
function PullLight({ isSafe, isOut }: { readonly isSafe: boolean; readonly isOut: boolean }) {
  const text = isOut ? "Out" : isSafe ? "Safe to pull" : "Do not pull";
  return (
    <span class={`pull-light ${isOut ? "pull-out" : isSafe ? "pull-safe" : "pull-unsafe"}`}>
      <svg viewBox="0 0 16 16" aria-hidden="true" focusable="false">
        {isOut ? (
          <path d="M3 7h10v2H3z" />
        ) : isSafe ? (
          <path d="M8 1l5 6H10v5H6V7H3zM3 14h10v1.5H3z" />
        ) : (
          <path d="M4 7V5a4 4 0 0 1 8 0v2h1v8H3V7zm2 0h4V5a2 2 0 0 0-4 0z" />
        )}
      </svg>
      {text}
    </span>
  );
}

interface ModuleProps {
  readonly card: ModuleCard;
  readonly report: ReportView;
  readonly operator: Operator;
}

function Module({ card, report, operator }: ModuleProps) {
  const { module, title, lamp, stateText, note, progress, badge, facts } = card;
  return (
    <li class={`module module-${module.kind} is-${lamp}`} data-module={module.name}>
      <div class="handle" aria-hidden="true" />
      <p class="module-kind">{title}</p>
      <h4>
        {module.name} {badge !== "" && <span class="badge">{badge}</span>}
      </h4>
      <p class="state">
        <Lamp kind={lamp} />
        <strong>{stateText}</strong>
      </p>
      <PullLight isSafe={module.safeToPull} isOut={module.held} />
      <div class="remark">{progress === null ? <p class="note">{note}</p> : <ProgressBar of={module.name} progress={progress} />}</div>
      <dl class="facts">
        {facts.map(([label, value]) => (
          <div key={label}>
            <dt>{label}</dt>
            <dd>{value}</dd>
          </div>
        ))}
      </dl>
      {operator.confirm !== null && <ModuleButtons module={module} report={report} confirm={operator.confirm} drill={operator.drill} />}
    </li>
  );
}

interface ModuleButtonsProps {
  readonly module: ModuleView;
  readonly report: ReportView;
  readonly confirm: (confirmation: Confirmation) => void;
  readonly drill: (module: ModuleView) => void;
}

function ModuleButtons({ module, report, confirm, drill }: ModuleButtonsProps) {
  const { name, held, pid, faults, state } = module;
  const ofModule = <span class="sr-only">{name}</span>;
  return (
    <div class="module-buttons">
      {/* One button, so that the focus stays where it was after a pull. */}
      <button type="button" onClick={() => confirm(held ? insertTarget(name) : pullModule(module, report))}>
        {held ? "Insert" : "Pull"} {ofModule}
      </button>
      <button type="button" disabled={pid === 0} onClick={() => drill(module)}>
        Drill… {ofModule}
      </button>
      <button type="button" disabled={faults === 0 && state !== "BROKEN"} onClick={() => confirm(clearModule(module))}>
        Clear {ofModule}
      </button>
    </div>
  );
}

function Mirror({ mirror }: { readonly mirror: MirrorCard }) {
  const { name, lamp, stateText, faults, progress } = mirror;
  return (
    <li class={`module module-mirror is-${lamp}`} data-mirror={name}>
      <div class="platter" aria-hidden="true" />
      <p class="module-kind">Disk mirror</p>
      <h4>of {name}</h4>
      <p class="state">
        <Lamp kind={lamp} />
        <strong>{stateText}</strong>
      </p>
      {progress !== null && <ProgressBar of={`the mirror of ${name}`} progress={progress} />}
      <dl class="facts">
        <div>
          <dt>Faults</dt>
          <dd>{faults}</dd>
        </div>
      </dl>
    </li>
  );
}

function ProgressBar({ of, progress: { label, share } }: { readonly of: string; readonly progress: Progress }) {
  const percent = share === null ? null : Math.floor(100 * share);
  return (
    <div class="progress">
      <progress aria-label={`${of}: ${label}`} {...(percent !== null && { value: percent })} max={100} />
      <span>
        {label}
        {percent !== null && `, ${percent} %`}
      </span>
    </div>
  );
}
