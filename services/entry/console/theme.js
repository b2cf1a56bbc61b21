/** Light or dark: as the system has it, unless somebody says otherwise here. */

const KEY = "constellation.theme";
const ORDER = ["system", "light", "dark"];

/** Return what was chosen. */
export function theme() {
  const said = localStorage.getItem(KEY);
  return ORDER.includes(said) ? said : "system";
}

/** Show what was chosen. */
export function applyTheme() {
  const chosen = theme();
  if (chosen === "system") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = chosen;
}

/** Go on to the next of the three. */
export function nextTheme() {
  localStorage.setItem(KEY, ORDER[(ORDER.indexOf(theme()) + 1) % ORDER.length]);
  applyTheme();
}
