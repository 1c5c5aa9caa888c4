// Answers for the page of one file: out of the documents that stand in it, by their words.

globalThis.offline = (() => {
  const { name, dimensions, documents, passages, near, proof } = JSON.parse(
    document.getElementById("data").textContent,
  );
  const places = new Map(documents.map(({ id }, place) => [id, place]));
  const [K1, B] = [1.2, 0.75];
  let words = null;

  // Places are given in characters; strings here count some of them as two.
  function cut(text, start, end) {
    if (!/[\ud800-\udfff]/.test(text)) return text.slice(start, end);
    return [...text].slice(start, end).join("");
  }

  // As the index has words: composed, and Latin letters without their accents.
  function plain(text) {
    const apart = text.normalize("NFD").replace(/(\p{Script=Latin})\p{Mn}+/gu, "$1");
    return apart.normalize("NFC").toLowerCase();
  }

  function terms(text) {
    return (plain(text).match(/[\p{L}\p{N}\p{M}]+/gu) ?? []).flatMap((word) => {
      if (UNSPACED.test(word)) return [...word];
      return COMMON.has(word) ? [] : [stem(word)];
    });
  }

  // The words of all passages, read when the first search comes.
  function read() {
    const found = new Map();
    const lengths = passages.map(([place, start, end], number) => {
      const { title, text } = documents[place];
      const own = terms(`${title} ${cut(text, start, end)}`);
      const counts = new Map();
      for (const term of own) counts.set(term, (counts.get(term) ?? 0) + 1);
      for (const [term, count] of counts) {
        if (!found.has(term)) found.set(term, []);
        found.get(term).push([number, count]);
      }
      return own.length;
    });
    const mean = lengths.reduce((sum, length) => sum + length, 0) / lengths.length || 1;
    return { found, lengths, mean };
  }

  function result(number, score, rank) {
    const [place, start, end] = passages[number];
    const { id, title, text } = documents[place];
    const shown = cut(text, start, end);
    return { document: id, score, title, text: shown, start, end, dense_rank: null, lexical_rank: rank };
  }

  // The best passage of each document by BM25, best first.
  function search({ query, k }) {
    words ??= read();
    const scores = new Map();
    for (const term of terms(query)) {
      const list = words.found.get(term) ?? [];
      const weight = Math.log(1 + (passages.length - list.length + 0.5) / (list.length + 0.5));
      for (const [number, count] of list) {
        const length = words.lengths[number] / words.mean;
        const part = (count * (K1 + 1)) / (count + K1 * (1 - B + B * length));
        scores.set(number, (scores.get(number) ?? 0) + weight * part);
      }
    }
    const best = new Map();
    for (const [number, score] of scores) {
      const [place] = passages[number];
      if (score > (best.get(place)?.score ?? 0)) best.set(place, { number, score });
    }
    const sorted = [...best.values()].sort((a, b) => b.score - a.score || a.number - b.number);
    const results = sorted.slice(0, k).map(({ number, score }, i) => result(number, score, i + 1));
    return { results };
  }

  return (path, body) => {
    if (path === "models") {
      const passed = { kind: "space", base_of: null, dimensions, passages: passages.length };
      return { data: [{ id: name, ...passed }] };
    }
    if (path === "readyz") return {};
    if (path === "search") return search(body);
    if (path.startsWith("spaces/")) return proof;
    const [, id, rest] = path.match(/^documents\/([^/?]*)(\/neighbours)?/);
    const place = places.get(decodeURIComponent(id));
    if (place === undefined) return null;
    if (!rest) return documents[place];
    return { results: near[place].map(([number, score]) => result(number, score, null)) };
  };
})();
