/** What each colo has, added up from what its servers and nodes report. */

import { count, number } from "./format.js";

/** Add up what each colo has: permits, queue, endpoints by health. */
export function placed(colos, loads, instances) {
  return colos.map((colo) => {
    const here = loads.filter((each) => each.colo === colo.name);
    const sum = (field) => here.reduce((total, each) => total + each[field], 0);
    const permits = sum("permits");
    const used = permits - sum("free");
    const sick = sum("backoff");
    const isThere = colo.servers + colo.nodes > 0;
    const health = healthOf({ ...colo, sick, permits, isThere });
    const words = isThere
      ? `${number(used)} of ${count(permits, "permit")} in use, ${number(sum("queued"))} queued, ${count(sick, "endpoint")} in backoff`
      : "nothing runs there";
    const ready = instances.filter(
      (each) => each.colo === colo.name && each.state === "ready",
    ).length;
    return {
      ...colo,
      permits,
      used,
      queued: sum("queued"),
      healthy: sum("healthy"),
      sick,
      share: permits ? used / permits : 0,
      isThere,
      hasPlace: colo.latitude !== 0 || colo.longitude !== 0, // both are 0 unless they are said
      health,
      words,
      ready,
    };
  });
}

function healthOf({ isThere, servers, sick, draining, permits }) {
  if (!isThere) return "idle";
  if (!servers) return "bad";
  if (sick || draining) return "warn";
  return permits ? "good" : "idle";
}
