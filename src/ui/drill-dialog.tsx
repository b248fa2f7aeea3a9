import { useState } from "preact/hooks";
import { drillModule, drillsFor, type Confirmation, type Drill } from "../view/actions.js";
import type { ModuleView, ReportView } from "../view/report.js";
import { Modal } from "./confirm-dialog.js";

interface DrillDialogProps {
  readonly module: ModuleView;
  readonly report: ReportView;
  readonly onChosen: (confirmation: Confirmation) => void;
  readonly onClose: () => void;
}

/** Chooses one; what it does is confirmed in the next dialog. */
export function DrillDialog({ module, report, onChosen, onClose }: DrillDialogProps) {
  const drills = drillsFor(module, report);
  const [chosen, setChosen] = useState<Drill | undefined>(drills[0]);
  return (
    <Modal title={`Fault drill on ${module.name}`} onClose={onClose}>
      <fieldset class="drills">
        <legend>Which fault?</legend>
        {drills.map((drill) => (
          <label key={drill.kind}>
            <input type="radio" name="drill" value={drill.kind} checked={drill === chosen} onChange={() => setChosen(drill)} />
            <span>
              <strong>{drill.title}</strong>
              <small>{drill.what}</small>
            </span>
          </label>
        ))}
      </fieldset>
      <div class="dialog-buttons">
        <button type="button" onClick={onClose}>
          Cancel
        </button>
        <button
          type="button"
          class="primary"
          disabled={chosen === undefined}
          onClick={() => chosen !== undefined && onChosen(drillModule(chosen, module, report))}
        >
          Continue
        </button>
      </div>
    </Modal>
  );
}
