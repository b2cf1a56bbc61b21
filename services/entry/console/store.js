/** What the page knows, and who wants to hear when it changes; told once per frame. */

export const state = {
  live: { kind: "connecting", since: 0 },
  world: {
    now: {},
    me: null,
    colos: [],
    models: [],
    loads: [],
    instances: [],
    nodes: [],
    decisions: [],
    entries: [],
    accounts: [],
    codes: {},
    cut: {},
  },
  traffic: null,
  trafficError: null,
  requests: null,
  requestsAt: 0,
  requestsError: null,
  decisions: null,
  decisionsAt: 0,
  decisionsError: null,
  rates: null,
  chosen: { model: "", minutes: 15, filter: "", errors: false, open: "", marked: "", pages: 1 },
  charts: {},
};

const listeners = new Set();
let isDue = false;

/** Hear of changes until the function that is returned is called. */
export function listen(listener) {
  listeners.add(listener);
  return () => listeners.delete(listener);
}

/** Change what is known; everyone hears before the next frame. */
export function update(changes) {
  Object.assign(state, changes);
  if (isDue) return;
  isDue = true;
  requestAnimationFrame(() => {
    isDue = false;
    for (const each of [...listeners]) each();
  });
}

/** Change what is chosen. */
export const choose = (changes) => update({ chosen: { ...state.chosen, ...changes } });
