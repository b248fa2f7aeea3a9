import { useEffect, useRef, useState } from "preact/hooks";
import type { Confirmation } from "../view/actions.js";
import { sentenceOf } from "./session.js";

interface ConfirmDialogProps {
  readonly confirmation: Confirmation;
  readonly perform: (confirmation: Confirmation) => Promise<void>;
  readonly onClose: () => void;
}

/** Says what will happen before it does. The browser's own modal dialog traps the focus, and Escape closes it. */
export function ConfirmDialog({ confirmation, perform, onClose }: ConfirmDialogProps) {
  const { title, consequences, confirmLabel, risk } = confirmation;
  const [isAccepted, setAccepted] = useState(false);
  const [problem, setProblem] = useState("");
  const [isBusy, setBusy] = useState(false);
  const confirm = async (): Promise<void> => {
    setBusy(true);
    try {
      await perform(confirmation);
      onClose();
    } catch (error) {
      setProblem(`It was not done: ${sentenceOf(error)}`);
      setBusy(false);
    }
  };
  return (
    <Modal title={title} onClose={onClose}>
      {consequences.map((text) => (
        <p key={text}>{text}</p>
      ))}
      {risk !== null && (
        <label class="risk">
          <input type="checkbox" checked={isAccepted} onChange={(event) => setAccepted(event.currentTarget.checked)} />
          {risk}
        </label>
      )}
      <p class="problem" role="alert">
        {problem}
      </p>
      <div class="dialog-buttons">
        <button type="button" onClick={onClose}>
          Cancel
        </button>
        <button
          type="button"
          class={risk === null ? "primary" : "danger"}
          disabled={isBusy || (risk !== null && !isAccepted)}
          onClick={() => void confirm()}
        >
          {confirmLabel}
        </button>
      </div>
    </Modal>
  );
}

interface ModalProps {
  readonly title: string;
  readonly onClose: () => void;
  readonly children: preact.ComponentChildren;
}

export function Modal({ title, onClose, children }: ModalProps) {
  const dialog = useRef<HTMLDialogElement>(null);
  useEffect(() => {
    const before = document.activeElement;
    dialog.current?.showModal();
    return () => {
      // The button may be gone: after a pull, "insert" stands in its place.
      if (before instanceof HTMLElement && before.isConnected) before.focus();
    };
  }, []);
  return (
    <dialog ref={dialog} class="faceplate" aria-labelledby="dialog-title" onClose={onClose}>
      <h2 id="dialog-title">{title}</h2>
      {children}
    </dialog>
  );
}
