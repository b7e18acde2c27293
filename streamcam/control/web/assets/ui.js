// Preact with htm, in one place: what every component needs.
import { Fragment, h, render } from "./vendor/preact.js";
import htm from "./vendor/htm.js";

export { Fragment, render };
export {
  useEffect, useLayoutEffect, useMemo, useReducer, useRef, useState,
} from "./vendor/preact-hooks.js";
export const html = htm.bind(h);
