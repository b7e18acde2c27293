// Short messages on what was refused or cut, in the words of the server, shown for a while.
import { emit, useKey } from "./signals.js";

const SHOWN_MS = 9000;
const MAX_SHOWN = 4;
let notices = [];
let count = 0;

export function noticesOf(reply, nameOf) {
  const line = ([address, text], level) => ({
    level,
    text: address ? `${nameOf(address) || address}: ${text}` : text,
  });
  return [
    ...reply.refused.map((item) => line(item, "error")),
    ...reply.warnings.map((item) => line(item, "warning")),
    ...reply.unknown.map((address) => line([address, "there is no such address"], "error")),
  ];
}

// Show notices; one that is there already is only shown longer.
export function addNotices(added) {
  for (const { level, text } of added) {
    notices = notices.filter((notice) => notice.text !== text);
    count += 1;
    const notice = { id: count, level, text };
    notices = [...notices, notice].slice(-MAX_SHOWN);
    setTimeout(() => dismiss(notice.id), SHOWN_MS);
  }
  if (added.length) emit("notices");
}

export function dismiss(id) {
  notices = notices.filter((notice) => notice.id !== id);
  emit("notices");
}

export const useNotices = () => useKey("notices", () => notices);
