/** The token: kept for this tab alone, and sent as a header. */

const KEY = "constellation.token";

/** Return the token of this tab, empty where nobody is signed in. */
export const token = () => sessionStorage.getItem(KEY) ?? "";
/** Keep a token until the tab is closed. */
export const keep = (said) => sessionStorage.setItem(KEY, said);
/** Forget it. */
export const forget = () => sessionStorage.removeItem(KEY);
