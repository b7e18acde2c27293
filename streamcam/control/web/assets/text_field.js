// A text that is sent with Enter: a draft stays, marked as not sent, whatever arrives meanwhile.
import { html, useLayoutEffect, useRef, useState } from "./ui.js";

// `offer.current` becomes a function that proposes a text, which is not sent before Enter either.
export function TextField({ label, value, onCommit, placeholder = "", rows = 0, id, offer }) {
  const [draft, setDraft] = useState(null);
  const field = useRef(null);
  if (offer) {
    offer.current = (text) => {
      setDraft(text);
      field.current.focus();
    };
  }
  const shown = draft ?? value;
  const isDraft = draft !== null && draft !== value;

  function commit() {
    if (isDraft) onCommit(draft);
    setDraft(null);
  }

  function onKeyDown(event) {
    if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
      event.preventDefault();
      commit();
    } else if (event.key === "Escape") {
      setDraft(null);
      event.target.blur();
    }
  }

  useLayoutEffect(() => {
    if (!rows) return;
    // As high as its text.
    const box = field.current;
    box.style.height = "auto";
    box.style.height = `${box.scrollHeight + 2}px`;
  }, [shown]);

  const common = {
    ref: field, id, "aria-label": label, placeholder, value: shown, maxlength: 1000,
    onInput: (event) => setDraft(event.target.value.replaceAll("\n", " ")),
    onKeyDown,
  };
  return html`<span class="text-field ${isDraft ? "draft" : ""}">
    ${rows
      ? html`<textarea ...${common} rows=${rows}></textarea>`
      : html`<input type="text" autocomplete="off" ...${common} />`}
    ${isDraft && html`<button type="button" class="send" onClick=${commit} title="Send (Enter)"
      aria-label="Send ${label}">Send ↵</button>`}
  </span>`;
}
