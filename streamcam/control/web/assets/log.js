// The last lines of the log.
import { clockTime } from "./format.js";
import { useLines } from "./store.js";
import { html, useLayoutEffect, useRef } from "./ui.js";

export function Log() {
  const lines = useLines();
  const box = useRef(null);
  const atEnd = useRef(true);
  useLayoutEffect(() => {
    if (atEnd.current) box.current.scrollTop = box.current.scrollHeight;
  }, [lines]);
  // Whoever reads further up is left there.
  const follow = ({ target }) => {
    atEnd.current = target.scrollHeight - target.scrollTop - target.clientHeight < 20;
  };
  return html`<ol class="log" role="log" aria-label="Log" tabindex="0" ref=${box} onScroll=${follow}>
    ${lines.map(({ time, level, text }, index) => html`<li key=${`${time} ${index}`} class=${level}>
      <time>${clockTime(time)}</time> ${level !== "info" && html`<b>${level}</b> `}<span>${text}</span></li>`)}
    ${!lines.length && html`<li class="quiet">Nothing has been logged.</li>`}
  </ol>`;
}
