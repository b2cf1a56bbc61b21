/** Questions that are asked again and again, while somebody looks. */

/** Ask now and every `ms` until the function that is returned is called; hidden pages wait. */
export function poll(ask, ms, { onAnswer, onError }) {
  let timer = 0;
  let isOver = false;
  async function turn() {
    try {
      if (!document.hidden) {
        const answer = await ask();
        if (!isOver) onAnswer(answer);
      }
    } catch (error) {
      if (!isOver) onError(error);
    }
    if (!isOver) timer = setTimeout(turn, ms);
  }
  turn();
  return () => {
    isOver = true;
    clearTimeout(timer);
  };
}
