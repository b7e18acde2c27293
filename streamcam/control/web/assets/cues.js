// The cue list: GO takes the next cue, a press on any other jumps to it.
import { MidiBadge } from "./midi.js";
import { press, rowOf, send, useSession, useValue } from "./store.js";
import { html, useEffect, useRef } from "./ui.js";

export const hasCues = () => Boolean(rowOf("cue/go"));

// A cue is known by its name, or by its number from 1.
const isAt = (value, name, index) => value !== undefined && (value === name || Number(value) === index + 1);

function Cue({ name, index, isCurrent, isNext }) {
  const item = useRef(null);
  useEffect(() => {
    if (isNext) item.current.scrollIntoView({ block: "nearest" });
  }, [isNext]);
  return html`<li ref=${item} class="cue ${isCurrent ? "current" : ""} ${isNext ? "next" : ""}">
    <button type="button" aria-current=${isCurrent ? "step" : undefined} onClick=${() => send("cue/jump", name)}>
      <span class="number">${index + 1}</span><span class="name">${name}</span>
      <small>${isCurrent ? "on air" : isNext ? "next" : ""}</small>
    </button>
  </li>`;
}

export function Cues() {
  useSession();
  const names = useValue("cue/names");
  const [current] = useValue("cue/current");
  const [next] = useValue("cue/next");
  const upcoming = names.find((name, index) => isAt(next, name, index)) ?? next;
  return html`<div class="cues">
    <div class="row">
      <button type="button" class="button go" aria-keyshortcuts="G" disabled=${upcoming === undefined}
        onClick=${() => press("cue/go")}><b>GO</b><small>${upcoming ?? "no cue left"}</small></button>
      <${MidiBadge} row=${rowOf("cue/go")} label="GO" />
      <button type="button" class="button back" aria-keyshortcuts="Shift+G"
        onClick=${() => press("cue/back")}>Back</button>
    </div>
    ${names.length
      ? html`<ol class="cue-list" aria-label="Cues">
          ${names.map((name, index) => html`<${Cue} key=${`${index} ${name}`} name=${name} index=${index}
            isCurrent=${isAt(current, name, index)} isNext=${isAt(next, name, index)} />`)}
        </ol>`
      : html`<p class="quiet">There is no cue list; start with one to step through a show.</p>`}
  </div>`;
}
